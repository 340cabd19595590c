package peers;

import io.confluent.parallelconsumer.ParallelConsumer;
import io.confluent.parallelconsumer.ParallelConsumerOptions;
import io.confluent.parallelconsumer.ParallelConsumerOptions.CommitMode;
import io.confluent.parallelconsumer.ParallelConsumerOptions.ProcessingOrder;
import java.time.Duration;
import java.util.List;
import org.apache.kafka.clients.consumer.KafkaConsumer;

/** What the three engines of Parallel Consumer share: options, subscription and stop. */
final class ParallelConsumerPeer {
  private ParallelConsumerPeer() {}

  /**
   * KEY keeps the order of a key; asynchronous commits are the default, the fastest and what its README suggests. All
   * else is left to it: its buffer tunes itself, and `max.poll.records` changes nothing by its own page.
   *
   * @param concurrency records, or batches, in work at once
   */
  static ParallelConsumerOptions<String, byte[]> options(Task task, int concurrency, int batch) {
    return ParallelConsumerOptions.<String, byte[]>builder()
        .consumer(new KafkaConsumer<>(task.consumer()))
        .ordering(ProcessingOrder.KEY)
        .commitMode(CommitMode.PERIODIC_CONSUMER_ASYNCHRONOUS)
        .maxConcurrency(concurrency)
        .batchSize(batch)
        .build();
  }

  static void subscribe(ParallelConsumer<String, byte[]> consumer, Task task, Progress progress) {
    consumer.subscribe(List.of(task.topic()), new WhenAssigned(progress));
    // What is in work is finished and committed; what is only queued is left to the next member.
    progress.onTerminate(() -> consumer.closeDontDrainFirst(Duration.ofSeconds(25)));
  }
}

package peers;

import io.confluent.parallelconsumer.ParallelStreamProcessor;
import io.confluent.parallelconsumer.PollContext;
import io.confluent.parallelconsumer.RecordContext;
import java.util.ArrayList;
import java.util.List;

/** Confluent Parallel Consumer, its core module: a pool of threads, each of which handles a record. */
final class ParallelConsumerThreads {
  /** Records of a batch, each of another key: with KEY order a key has one record in work. */
  private static final int BATCH = 500;

  public static void main(String[] args) throws Exception {
    Task task = Task.fromEnvironment();
    Task.Work work = task.work();
    Progress progress = new Progress();
    // More threads than connections would only queue for one of them.
    int threads = work.usesDatabase() ? task.connections() : task.concurrency();
    ParallelStreamProcessor<String, byte[]> consumer =
        ParallelStreamProcessor.createEosStreamProcessor(
            ParallelConsumerPeer.options(task, threads, work.isBatch() ? BATCH : 1));
    ParallelConsumerPeer.subscribe(consumer, task, progress);
    if (work.isBatch()) {
      Store store = new Store(task.postgres(), task.connections());
      consumer.poll(records -> handleBatch(store, records, progress));
    } else {
      Handler handler = Handler.of(task);
      consumer.poll(record -> handle(handler, record, progress));
    }
  }

  /** What throws is tried again, without end, and holds back its key: Parallel Consumer's way. */
  private static void handle(Handler handler, PollContext<String, byte[]> record, Progress progress) {
    try {
      handler.handle(record.value());
    } catch (Exception error) {
      throw new IllegalStateException(error);
    }
    progress.finished(1);
  }

  private static void handleBatch(Store store, PollContext<String, byte[]> records, Progress progress) {
    try {
      List<Message> messages = new ArrayList<>();
      for (RecordContext<String, byte[]> record : records) messages.add(Message.parse(record.value()));
      store.batch(messages);
      progress.finished(messages.size());
    } catch (Exception error) {
      throw new IllegalStateException(error);
    }
  }
}

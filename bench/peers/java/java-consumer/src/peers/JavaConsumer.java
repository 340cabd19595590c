package peers;

import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * A consumer that does nothing: the limit of what the client can read, and no more than that. It commits once a second,
 * without waiting.
 */
final class JavaConsumer {
  public static void main(String[] args) throws Exception {
    Task task = Task.fromEnvironment();
    if (!task.work().isNothing()) throw new IllegalArgumentException("This peer does nothing");
    Progress progress = new Progress();
    Map<String, Object> settings = task.consumer();
    settings.remove("key.deserializer");
    settings.remove("value.deserializer");
    // A poll gives what one fetch of a partition brought, about 3,600 records of 290 bytes, in place of 500 of them.
    settings.put("max.poll.records", 5_000);

    KafkaConsumer<byte[], byte[]> consumer =
        new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    CountDownLatch closed = new CountDownLatch(1);
    progress.onTerminate(
        () -> {
          consumer.wakeup();
          closed.await();
        });
    try {
      consumer.subscribe(List.of(task.topic()), new WhenAssigned(progress));
      long committed = System.nanoTime();
      for (; ; ) {
        progress.finished(consumer.poll(Duration.ofSeconds(1)).count());
        if (System.nanoTime() - committed < 1_000_000_000L) continue;
        committed = System.nanoTime();
        consumer.commitAsync();
      }
    } catch (WakeupException stop) {
      consumer.commitSync();
      consumer.close();
      closed.countDown();
    } catch (Exception error) {
      Progress.fail(error);
    }
  }
}

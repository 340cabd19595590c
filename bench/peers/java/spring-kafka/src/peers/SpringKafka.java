package peers;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.springframework.kafka.core.DefaultKafkaConsumerFactory;
import org.springframework.kafka.listener.BatchMessageListener;
import org.springframework.kafka.listener.ConcurrentMessageListenerContainer;
import org.springframework.kafka.listener.ContainerProperties;
import org.springframework.kafka.listener.ContainerProperties.AckMode;
import org.springframework.kafka.listener.DefaultErrorHandler;
import org.springframework.kafka.listener.MessageListener;
import org.springframework.util.backoff.FixedBackOff;

/** spring-kafka's listener containers: `record` or `batch` as the only argument. */
final class SpringKafka {
  public static void main(String[] args) throws Exception {
    Task task = Task.fromEnvironment();
    Progress progress = new Progress();
    ContainerProperties properties = new ContainerProperties(task.topic());
    properties.setGroupId(task.group());
    // The default: offsets are committed once all records of a poll are processed. RECORD would ask the broker for each
    // message, and is not needed where keys in the database catch what comes again.
    properties.setAckMode(AckMode.BATCH);
    // SIGTERM ends after the record in work rather than after all that was polled.
    properties.setStopImmediate(true);
    properties.setShutdownTimeout(25_000);
    properties.setConsumerRebalanceListener(new WhenAssigned(progress));
    boolean batches = args[0].equals("batch");
    properties.setMessageListener(batches ? batchListener(task, progress) : recordListener(task, progress));

    Map<String, Object> settings = task.consumer();
    // A batch, or nothing done, gains by all that a fetch brought (about 3,600 records of 290 bytes in a partition).
    if (batches || task.work().isNothing()) settings.put("max.poll.records", 5_000);
    ConcurrentMessageListenerContainer<String, byte[]> container =
        new ConcurrentMessageListenerContainer<>(new DefaultKafkaConsumerFactory<>(settings), properties);
    // One thread and consumer a partition is the most that a container makes use of.
    container.setConcurrency(task.partitions());
    // By default a record is skipped after ten failures. Here none may be.
    DefaultErrorHandler again = new DefaultErrorHandler(new FixedBackOff(1_000, FixedBackOff.UNLIMITED_ATTEMPTS));
    again.setClassifications(Map.of(), true);
    container.setCommonErrorHandler(again);
    progress.onTerminate(container::stop);
    container.start();
  }

  private static MessageListener<String, byte[]> recordListener(Task task, Progress progress) {
    Handler handler = Handler.of(task);
    return record -> {
      try {
        handler.handle(record.value());
      } catch (Exception error) {
        throw new IllegalStateException(error);
      }
      progress.finished(1);
    };
  }

  private static BatchMessageListener<String, byte[]> batchListener(Task task, Progress progress) {
    if (task.work().isNothing()) return records -> progress.finished(records.size());
    if (!task.work().isBatch()) throw new IllegalArgumentException("The batch listener has no work " + task.work().kind());
    Store store = new Store(task.postgres(), task.connections());
    return records -> {
      try {
        store.batch(parse(records));
      } catch (Exception error) {
        throw new IllegalStateException(error);
      }
      progress.finished(records.size());
    };
  }

  private static List<Message> parse(List<ConsumerRecord<String, byte[]>> records) throws Exception {
    List<Message> messages = new ArrayList<>(records.size());
    for (ConsumerRecord<String, byte[]> record : records) messages.add(Message.parse(record.value()));
    return messages;
  }
}

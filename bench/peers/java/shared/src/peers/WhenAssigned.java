package peers;

import java.util.Collection;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.common.TopicPartition;

/** Says that a peer is ready once it has a partition; what one loses is left to its library. */
public record WhenAssigned(Progress progress) implements ConsumerRebalanceListener {
  @Override
  public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
    if (!partitions.isEmpty()) progress.ready();
  }

  @Override
  public void onPartitionsRevoked(Collection<TopicPartition> partitions) {}
}

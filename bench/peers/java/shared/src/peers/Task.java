package peers;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.net.URI;
import java.util.HashMap;
import java.util.Map;

/** What the bench asks of a peer: the JSON in its environment. */
@JsonIgnoreProperties(ignoreUnknown = true)
public record Task(
    String kafka,
    String topic,
    String group,
    String postgres,
    Work work,
    int concurrency,
    int partitions,
    int connections) {

  /** `ms` and `times` belong to the waits, `url` to http. */
  public record Work(String kind, int ms, int times, String url) {

    public boolean isNothing() {
      return kind.equals("nothing");
    }

    public boolean isBatch() {
      return kind.equals("batch");
    }

    public boolean usesDatabase() {
      return kind.equals("row") || kind.equals("transaction") || kind.equals("batch");
    }

    public URI uri() {
      return URI.create(url);
    }
  }

  public static Task fromEnvironment() throws IOException {
    return new ObjectMapper().readValue(System.getenv("PEER"), Task.class);
  }

  /** Settings of every consumer, so that a killed member is replaced at the same pace everywhere. */
  public Map<String, Object> consumer() {
    Map<String, Object> settings = new HashMap<>();
    settings.put("bootstrap.servers", kafka);
    settings.put("group.id", group);
    settings.put("auto.offset.reset", "earliest");
    settings.put("enable.auto.commit", false);
    settings.put("session.timeout.ms", Integer.getInteger("peer.sessionMs"));
    settings.put("heartbeat.interval.ms", Integer.getInteger("peer.heartbeatMs"));
    // Parallel Consumer compares keys: arrays of bytes would all differ. Values are parsed from their bytes.
    settings.put("key.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
    settings.put("value.deserializer", "org.apache.kafka.common.serialization.ByteArrayDeserializer");
    return settings;
  }
}

package peers;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import java.io.IOException;
import java.time.Instant;
import java.util.UUID;

/** A message of the bench, all of it: it is parsed as far as tenantry parses and checks it. */
@JsonIgnoreProperties(ignoreUnknown = true)
public record Message(
    @JsonProperty(value = "message_id", required = true) UUID id,
    @JsonProperty(value = "tenant_id", required = true) String tenant,
    @JsonProperty("trace_id") String trace,
    @JsonProperty(value = "occurred_at", required = true) String occurred,
    @JsonProperty("schema_version") int schemaVersion,
    @JsonProperty(value = "type", required = true) String type,
    @JsonProperty(value = "payload", required = true) Payload payload) {

  @JsonIgnoreProperties(ignoreUnknown = true)
  public record Payload(long n, long amount, String note) {}

  /** Threads may share it, and should: it is dear to make. */
  private static final ObjectReader READER = new ObjectMapper().readerFor(Message.class);

  public static Message parse(byte[] value) throws IOException {
    Message message = READER.readValue(value);
    Instant.parse(message.occurred);
    return message;
  }
}

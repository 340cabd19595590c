package peers;

import java.io.IOException;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.concurrent.CompletableFuture;

/** What a peer does with a record, in the thread that calls it. */
public interface Handler {
  void handle(byte[] value) throws Exception;

  static Handler of(Task task) {
    Task.Work work = task.work();
    switch (work.kind()) {
      case "nothing":
        return value -> {};
      case "wait", "waits":
        return value -> {
          for (int time = 0; time < work.times(); time++) Thread.sleep(work.ms());
        };
      case "http":
        HttpClient client = httpClient();
        return value -> requireSuccess(client.send(post(work, value), HttpResponse.BodyHandlers.discarding()));
      case "row":
        Store rows = new Store(task.postgres(), task.connections());
        return value -> rows.row(Message.parse(value));
      case "transaction":
        Store store = new Store(task.postgres(), task.connections());
        return value -> store.transaction(Message.parse(value));
      default:
        throw new IllegalArgumentException("This peer has no work " + work.kind());
    }
  }

  /** The same POST without a thread that waits for its answer. */
  static CompletableFuture<HttpResponse<Void>> postAsync(HttpClient client, Task.Work work, byte[] value) {
    return client
        .sendAsync(post(work, value), HttpResponse.BodyHandlers.discarding())
        .thenApply(
            response -> {
              try {
                return requireSuccess(response);
              } catch (IOException error) {
                throw new java.io.UncheckedIOException(error);
              }
            });
  }

  static HttpClient httpClient() {
    return HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
  }

  private static HttpRequest post(Task.Work work, byte[] value) {
    return HttpRequest.newBuilder(work.uri())
        .header("content-type", "application/json")
        .POST(HttpRequest.BodyPublishers.ofByteArray(value))
        .build();
  }

  private static HttpResponse<Void> requireSuccess(HttpResponse<Void> response) throws IOException {
    if (response.statusCode() / 100 == 2) return response;
    throw new IOException("HTTP answer " + response.statusCode());
  }
}

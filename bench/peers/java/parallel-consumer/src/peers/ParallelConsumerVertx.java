package peers;

import io.confluent.parallelconsumer.vertx.VertxParallelEoSStreamProcessor;
import io.vertx.core.Future;
import io.vertx.core.Vertx;
import io.vertx.core.buffer.Buffer;
import io.vertx.ext.web.client.HttpResponse;
import io.vertx.ext.web.client.WebClient;
import io.vertx.ext.web.client.WebClientOptions;
import java.net.URI;

/** Confluent Parallel Consumer, its Vert.x module: timers and requests run on Vert.x's event loops. */
final class ParallelConsumerVertx {
  public static void main(String[] args) throws Exception {
    Task task = Task.fromEnvironment();
    Progress progress = new Progress();
    Vertx vertx = Vertx.vertx();
    // As many connections as requests at once: what the module sets on the client that it makes itself.
    WebClient client = WebClient.create(vertx, new WebClientOptions().setMaxPoolSize(task.concurrency()));
    VertxParallelEoSStreamProcessor<String, byte[]> consumer =
        new VertxParallelEoSStreamProcessor<>(
            vertx, client, ParallelConsumerPeer.options(task, task.concurrency(), 1));
    ParallelConsumerPeer.subscribe(consumer, task, progress);
    consumer.vertxFuture(
        record -> handle(vertx, client, task.work(), record.value()).onSuccess(end -> progress.finished(1)));
  }

  private static Future<?> handle(Vertx vertx, WebClient client, Task.Work work, byte[] value) {
    if (!work.kind().equals("http")) return waits(vertx, work.ms(), work.times());
    URI uri = work.uri();
    return client
        .post(uri.getPort(), uri.getHost(), uri.getPath())
        .putHeader("content-type", "application/json")
        .sendBuffer(Buffer.buffer(value))
        .compose(ParallelConsumerVertx::requireSuccess);
  }

  private static Future<?> requireSuccess(HttpResponse<Buffer> response) {
    if (response.statusCode() / 100 == 2) return Future.succeededFuture();
    return Future.failedFuture("HTTP answer " + response.statusCode());
  }

  private static Future<Void> waits(Vertx vertx, int ms, int times) {
    Future<Void> once = vertx.timer(ms);
    return times == 1 ? once : once.compose(end -> waits(vertx, ms, times - 1));
  }
}

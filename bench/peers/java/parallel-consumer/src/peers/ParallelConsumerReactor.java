package peers;

import io.confluent.parallelconsumer.reactor.ReactorProcessor;
import java.net.http.HttpClient;
import java.time.Duration;
import reactor.core.publisher.Mono;

/**
 * Confluent Parallel Consumer, its Reactor module: works that wait hold no thread. A publisher must give exactly one
 * value, as each value counts as the record's end.
 */
final class ParallelConsumerReactor {
  public static void main(String[] args) throws Exception {
    Task task = Task.fromEnvironment();
    Progress progress = new Progress();
    ReactorProcessor<String, byte[]> consumer =
        new ReactorProcessor<>(ParallelConsumerPeer.options(task, task.concurrency(), 1));
    ParallelConsumerPeer.subscribe(consumer, task, progress);
    HttpClient client = Handler.httpClient();
    consumer.react(record -> handle(client, task.work(), record.value()).doOnSuccess(end -> progress.finished(1)));
  }

  private static Mono<?> handle(HttpClient client, Task.Work work, byte[] value) {
    if (work.kind().equals("http")) return Mono.fromFuture(() -> Handler.postAsync(client, work, value));
    return waits(Duration.ofMillis(work.ms()), work.times());
  }

  private static Mono<Long> waits(Duration time, int times) {
    Mono<Long> once = Mono.delay(time);
    return times == 1 ? once : once.then(Mono.defer(() -> waits(time, times - 1)));
  }
}

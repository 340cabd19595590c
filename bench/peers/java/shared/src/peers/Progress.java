package peers;

import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.LongAdder;

/** Tells the bench on standard output how far a peer has come. */
public final class Progress {
  private final LongAdder done = new LongAdder();
  private final AtomicBoolean ready = new AtomicBoolean();
  private long told;

  public Progress() {
    Thread teller = new Thread(this::tellOnAndOn, "progress");
    teller.setDaemon(true);
    teller.start();
  }

  /** A partition was assigned. */
  public void ready() {
    if (ready.compareAndSet(false, true)) print("{\"ready\":" + System.currentTimeMillis() + "}");
  }

  /** Further records are finished. */
  public void finished(long records) {
    done.add(records);
  }

  private void tellOnAndOn() {
    try {
      for (; ; ) {
        Thread.sleep(100);
        tell(false);
      }
    } catch (InterruptedException end) {
      Thread.currentThread().interrupt();
    }
  }

  private synchronized void tell(boolean last) {
    long now = done.sum();
    if (now == told && !last) return;
    told = now;
    print("{\"done\":" + now + ",\"at\":" + System.currentTimeMillis() + "}");
  }

  private static void print(String line) {
    System.out.println(line);
    System.out.flush();
  }

  /**
   * On SIGTERM runs `stop`, which finishes what was begun and commits its offsets, then ends the process with 0; with 1
   * if it throws. A JVM would end with 143 by itself.
   */
  public void onTerminate(Stop stop) {
    Runtime.getRuntime()
        .addShutdownHook(
            new Thread(
                () -> {
                  int code = 0;
                  try {
                    stop.run();
                  } catch (Throwable error) {
                    error.printStackTrace();
                    code = 1;
                  }
                  tell(true);
                  Runtime.getRuntime().halt(code);
                },
                "stop"));
  }

  /** Ends the process with 1, without the orderly stop: what failed must not be committed past. */
  public static void fail(Throwable error) {
    error.printStackTrace();
    Runtime.getRuntime().halt(1);
  }

  public interface Stop {
    void run() throws Exception;
  }
}

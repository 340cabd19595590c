import { type EventLoopUtilization, performance } from 'node:perf_hooks'
import type { Worker } from 'node:worker_threads'

/** How busy threads' event loops were between two readings. Bun does not tell. */
export class WorkerUtilisation {
  readonly #last = new WeakMap<Worker, EventLoopUtilization>()

  /** From 0 to 1, in the threads' order; a thread's first reading counts from its start. Empty where it cannot be told. */
  read(threads: readonly Worker[]): readonly number[] {
    if (process.versions['bun'] !== undefined) return []
    return threads.map((thread) => {
      const now = thread.performance.eventLoopUtilization()
      const before = this.#last.get(thread)
      this.#last.set(thread, now)
      return before === undefined ? now.utilization : performance.eventLoopUtilization(now, before).utilization
    })
  }
}

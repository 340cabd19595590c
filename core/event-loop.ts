import { type EventLoopUtilization, monitorEventLoopDelay, performance } from 'node:perf_hooks'

export type LoopReading = {
  /** Seconds that timers were late, since the last reading. */
  readonly p50: number
  readonly p99: number
  readonly max: number
  /** Share of the time the loop was busy, 0 to 1; undefined where the runtime cannot tell (Bun). */
  readonly utilisation: number | undefined
}

const resolutionMs = 10

/** How late and how busy this thread's event loop was between two readings. */
export class EventLoopWatch {
  readonly #delay = monitorEventLoopDelay({ resolution: resolutionMs })
  #since: EventLoopUtilization = performance.eventLoopUtilization()

  start(): void {
    this.#delay.enable()
  }

  stop(): void {
    this.#delay.disable()
  }

  read(): LoopReading {
    const delay = this.#delay
    // The histogram counts whole intervals: an idle loop shows the resolution itself.
    const late = (ns: number) =>
      Number.isFinite(ns) && delay.count > 0 ? Math.max(0, ns / 1e9 - resolutionMs / 1_000) : 0
    const reading = { p50: late(delay.percentile(50)), p99: late(delay.percentile(99)), max: late(delay.max) }
    delay.reset()
    const now = performance.eventLoopUtilization()
    const { utilization } = performance.eventLoopUtilization(now, this.#since)
    this.#since = now
    return { ...reading, utilisation: now.active > 0 ? utilization : undefined }
  }
}

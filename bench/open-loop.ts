import { setTimeout as pause } from 'node:timers/promises'
import type { KafkaPublisher } from '../core/kafka/producer.ts'
import { deliver } from './backlog.ts'
import type { Messages } from './content.ts'
import { round } from './measure.ts'

export type OpenLoopOptions = {
  readonly publisher: KafkaPublisher
  readonly topic: string
  readonly messages: Messages
  readonly ratePerSecond: number
  /** The first message's number. */
  readonly first?: number
  /** As many are sent, the ones before the first included, unless it is stopped before. */
  readonly records: number
}

/** Sends message n at (n - first) / rate seconds, whether or not anybody keeps up. */
export class OpenLoop {
  /** When the first message should be sent, in milliseconds since 1970. */
  readonly startAt: number
  /** The number after the last message, once all have arrived in Kafka. */
  readonly finished: Promise<number>
  readonly #options: OpenLoopOptions
  readonly #everyMs: number
  readonly #start: number
  readonly #first: number
  readonly #late: Float32Array
  readonly #taken: Float32Array
  #next: number
  #stopped = false

  private constructor(options: OpenLoopOptions, { wall, monotonic }: Awaited<ReturnType<typeof aligned>>) {
    this.#options = options
    this.#first = options.first ?? 0
    this.#next = this.#first
    this.#everyMs = 1_000 / options.ratePerSecond
    this.#late = new Float32Array(options.records - this.#first)
    this.#taken = new Float32Array(options.records - this.#first)
    this.startAt = wall + 100
    this.#start = monotonic + 100
    this.finished = this.#run()
    this.finished.catch(() => {}) // whoever waits for it hears of it
  }

  static async start(options: OpenLoopOptions): Promise<OpenLoop> {
    return new OpenLoop(options, await aligned())
  }

  /** The number after the last message that was sent. */
  get next(): number {
    return this.#next
  }

  /** Seconds since the first message should have been sent. */
  get second(): number {
    return (performance.now() - this.#start) / 1_000
  }

  /** Ends it; resolves as `finished`. */
  stop(): Promise<number> {
    this.#stopped = true
    return this.finished
  }

  /** What the producer's part in the latency is, from message `from` on. */
  figures(from: number) {
    const part = (values: Float32Array) => values.slice(from - this.#first, this.#next - this.#first).sort()
    const [late, taken] = [part(this.#late), part(this.#taken)]
    const at = (sorted: Float32Array, share: number) => round(sorted[Math.floor((sorted.length - 1) * share)] ?? 0, 2)
    return { late_p99: at(late, 0.99), taken_p50: at(taken, 0.5), taken_p99: at(taken, 0.99) }
  }

  async #run(): Promise<number> {
    const { records } = this.#options
    const pending = new Set<Promise<void>>()
    let failure: { readonly error: unknown } | undefined
    while (this.#next < records && !this.#stopped && failure === undefined) {
      const now = performance.now() - this.#start
      const due = Math.min(records, this.#first + Math.floor(now / this.#everyMs) + 1)
      if (due > this.#next) {
        const sent: Promise<void> = this.#send(this.#next, due, now)
          .catch((error: unknown) => {
            failure = { error }
          })
          .finally(() => pending.delete(sent))
        pending.add(sent)
        this.#next = due
      }
      await pause(1)
    }
    await Promise.all(pending)
    if (failure !== undefined) throw failure.error
    return this.#next
  }

  async #send(from: number, to: number, at: number): Promise<void> {
    const { publisher, topic, messages } = this.#options
    const batch = []
    for (let n = from; n < to; n++) {
      this.#late[n - this.#first] = at - (n - this.#first) * this.#everyMs
      batch.push({ topic, ...messages.message(n), headers: [] })
    }
    const sent = performance.now()
    await deliver(publisher, batch)
    this.#taken.fill(performance.now() - sent, from - this.#first, to - this.#first)
  }
}

/** The same moment on both clocks: PostgreSQL's is the machine's, which tells milliseconds only at their beginning. */
async function aligned(): Promise<{ readonly wall: number; readonly monotonic: number }> {
  await pause(1)
  const before = Date.now()
  let wall = before
  while (wall === before) wall = Date.now()
  return { wall, monotonic: performance.now() }
}

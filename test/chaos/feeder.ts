import { setTimeout as pause } from 'node:timers/promises'
import { systemClock } from '../../core/clock.ts'
import { KafkaPublisher } from '../../core/kafka/producer.ts'
import { silentLog } from '../../core/log.ts'
import type { Plan } from './plan.ts'

const sliceMs = 20
/** So many slices may be unanswered: a partition whose leader is away holds only its own records up. */
const maxOpenSlices = 100

/** Sends a plan's records in their order, until it is told to stop. */
export class Feeder {
  readonly #publisher: KafkaPublisher
  readonly #plan: Plan
  readonly #topic: string
  readonly #running: Promise<void>
  readonly #open = new Set<Promise<void>>()
  readonly #failed = Promise.withResolvers<never>()
  #stopped = false
  #next: number
  perSecond: number
  /** Records that Kafka has acknowledged. */
  sent: number

  constructor(
    options: { readonly kafka: string; readonly topic: string; readonly plan: Plan; readonly from: number },
    perSecond: number,
  ) {
    this.#plan = options.plan
    this.#topic = options.topic
    this.sent = options.from
    this.#next = options.from
    this.perSecond = perSecond
    this.#publisher = new KafkaPublisher({
      bootstrap: options.kafka.split(','),
      clientId: 'chaos-feeder',
      clock: systemClock,
      log: silentLog,
      // Who has not answered by then is frozen.
      requestTimeoutMs: 5_000,
      // A broker that is away must not make a gap in the plan.
      deliveryTimeoutMs: 600_000,
    })
    this.#running = Promise.race([this.#failed.promise, this.#run()])
    this.#running.catch(() => {}) // thrown by stop()
  }

  /** Resolves when Kafka has all that was begun, which it may take long over. */
  async stop(): Promise<void> {
    this.#stopped = true
    try {
      await this.#running
    } finally {
      await this.#publisher.stop()
    }
  }

  /** Ends at once, whatever Kafka has of it: nobody asks any more. */
  async abandon(): Promise<void> {
    this.#stopped = true
    await this.#publisher.stop(0)
  }

  async #run(): Promise<void> {
    for (let due = performance.now(); !this.#stopped; due += sliceMs) {
      const slice = Math.max(1, Math.round((this.perSecond * sliceMs) / 1_000))
      const sending = this.#send(slice).finally(() => this.#open.delete(sending))
      this.#open.add(sending)
      // Whoever asks for the load is told: a record that Kafka does not take makes a gap in the plan.
      sending.catch((error: unknown) => this.#failed.reject(error))
      if (this.#open.size >= maxOpenSlices) await Promise.race(this.#open)
      // After an outage, not all of it at once.
      due = Math.max(due, performance.now() - 1_000)
      await pause(Math.max(0, due + sliceMs - performance.now()))
    }
    await Promise.all(this.#open)
  }

  /** What is given to the publisher first is first in its partition. */
  async #send(count: number): Promise<void> {
    const messages = Array.from({ length: count }, (_, i) => ({
      topic: this.#topic,
      ...this.#plan.message(this.#next + i),
      headers: [],
    }))
    this.#next += count
    for (const delivery of await this.#publisher.send(messages))
      if (delivery.kind !== 'delivered') throw new Error(`Kafka did not take a record of the load: ${delivery.reason}`)
    this.sent += count
  }
}

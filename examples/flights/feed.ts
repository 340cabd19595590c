import { setTimeout as pause } from 'node:timers/promises'
import { systemClock } from '../../core/clock.ts'
import { TenantryError } from '../../core/errors.ts'
import { KafkaPublisher, type OutgoingMessage } from '../../core/kafka/producer.ts'
import { silentLog } from '../../core/log.ts'
import type { FlightMessages } from './messages.ts'

const slice = 10_000
/** One flight in so many is sent twice, as producers do that lost an answer: with the same message id. */
const copyEvery = 1_000

/** Sends flights in the order of the file, some of them twice. */
export class Feed {
  /** Acknowledged by Kafka, copies included. */
  sent = 0
  copies = 0
  readonly #messages: FlightMessages
  readonly #publisher: KafkaPublisher

  constructor(kafka: readonly string[], messages: FlightMessages) {
    this.#messages = messages
    this.#publisher = new KafkaPublisher({
      bootstrap: kafka,
      clientId: 'flights-demo-feed',
      clock: systemClock,
      log: silentLog,
    })
  }

  /** As fast as Kafka takes them. Copies follow a slice later, far behind their originals. */
  async backlog(from: number, to: number): Promise<void> {
    let sent = Promise.resolve()
    let due: number[] = []
    for (let row = from; row < to; ) {
      const messages: OutgoingMessage[] = []
      const copied: number[] = []
      for (; row < to && messages.length < slice; row++) {
        messages.push(this.#messages.message(row))
        if (row % copyEvery === 0) copied.push(row)
      }
      for (const copy of row < to ? due : [...due, ...copied]) messages.push(this.#messages.message(copy))
      this.copies += copied.length
      due = copied
      await sent
      sent = this.#send(messages)
      sent.catch(() => {}) // awaited by the next round
      // Sending and receiving share this thread with the display.
      await new Promise(setImmediate)
    }
    await sent
  }

  /** At a steady rate. Answers when each row should have been sent, in milliseconds since 1970. */
  async steady(from: number, to: number, perSecond: number): Promise<Float64Array> {
    const due = new Float64Array(to - from)
    const started = Date.now()
    const open: Promise<void>[] = []
    for (let row = from; row < to; ) {
      const until = Math.min(to, from + Math.floor(((Date.now() - started) / 1000) * perSecond))
      const messages: OutgoingMessage[] = []
      for (; row < until; row++) {
        due[row - from] = started + ((row - from) / perSecond) * 1000
        messages.push(this.#messages.message(row))
      }
      if (messages.length > 0) open.push(this.#send(messages))
      await pause(2)
    }
    await Promise.all(open)
    return due
  }

  async stop(): Promise<void> {
    await this.#publisher.stop()
  }

  async #send(messages: readonly OutgoingMessage[]): Promise<void> {
    for (const delivery of await this.#publisher.send(messages)) {
      if (delivery.kind !== 'delivered')
        throw new TenantryError('TENANTRY_DEMO_NOT_SENT', `Kafka did not take a flight: ${delivery.reason}.`)
    }
    this.sent += messages.length
  }
}

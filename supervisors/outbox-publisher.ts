import type { Clock } from '../core/clock.ts'
import { messageOf } from '../core/errors.ts'
import type { Delivery, Publisher } from '../core/kafka/publisher.ts'
import type { OutboxPosition, OutboxRow } from '../core/postgres/transactions.ts'
import type { Partition } from './partition.ts'

/** One send takes this many messages at most: about 10 ms of a broker's time, and little to repeat. */
const maxMessagesPerSend = 2_000

/** `refusing`: Kafka will never take it, which is not recorded yet. */
type Pending = {
  readonly partition: Partition
  readonly row: OutboxRow
  state: 'waiting' | 'delivered' | 'refusing' | 'refused'
}

export type OutboxEvents = {
  /** Kafka will never take this message. Resolves when that is recorded; until then the row must not be deleted. */
  refused(partition: Partition, row: OutboxRow, reason: string): Promise<void>
  delivered(count: number): void
  /** Everything of this partition up to `position` is out, and its rows may be deleted. */
  published(partition: Partition, position: OutboxPosition): void
  trouble(reason: string | null): void
}

export type OutboxSettings = { readonly backoffMinMs: number; readonly backoffMaxMs: number }

/**
 * Publishes committed messages in the order of their commits, one send at a time. A failed one goes again, and after it
 * all later ones of the same tenant and partition, so that the order of first copies is the order of the tenant.
 */
export class OutboxPublisher {
  readonly #publisher: Publisher
  readonly #clock: Clock
  readonly #settings: OutboxSettings
  readonly #events: OutboxEvents
  #pending: Pending[] = []
  #sending = false
  #failures = 0
  #stopped = false

  constructor(publisher: Publisher, clock: Clock, settings: OutboxSettings, events: OutboxEvents) {
    this.#publisher = publisher
    this.#clock = clock
    this.#settings = settings
    this.#events = events
  }

  /** Committed and not yet known to be delivered. */
  get pending(): number {
    return this.#pending.length
  }

  push(partition: Partition, rows: readonly OutboxRow[]): void {
    for (const row of rows) this.#pending.push({ partition, row, state: 'waiting' })
    this.#pump()
  }

  /** The partition has another owner, who publishes from the table. */
  drop(partition: Partition): void {
    this.#pending = this.#pending.filter((pending) => pending.partition !== partition)
  }

  stop(): void {
    this.#stopped = true
  }

  #pump(): void {
    if (this.#sending || this.#stopped || this.#pending.length === 0) return
    const batch = this.#pending.slice(0, maxMessagesPerSend).filter((pending) => pending.state === 'waiting')
    if (batch.length === 0) return
    this.#sending = true
    void this.#publisher.send(batch.map((pending) => pending.row)).then((deliveries) => this.#sent(batch, deliveries))
  }

  #sent(batch: readonly Pending[], deliveries: readonly Delivery[]): void {
    if (this.#stopped) return
    const failed = this.#apply(batch, deliveries)
    this.#sweep()
    if (failed === null) {
      if (this.#failures > 0) this.#events.trouble(null)
      this.#failures = 0
      this.#sending = false
      this.#pump()
      return
    }
    this.#events.trouble(failed)
    const { backoffMinMs, backoffMaxMs } = this.#settings
    this.#clock.after(Math.min(backoffMaxMs, backoffMinMs * 2 ** this.#failures++), () => {
      this.#sending = false
      this.#pump()
    })
  }

  /** Marks what is out; returns why something failed, or null. */
  #apply(batch: readonly Pending[], deliveries: readonly Delivery[]): string | null {
    let reason: string | null = null
    let delivered = 0
    /** Tenants of which something failed in this send: what follows of them goes again, even if it got out. */
    const held = new Map<Partition, Set<string>>()
    batch.forEach((pending, i) => {
      const delivery: Delivery = deliveries[i] ?? { kind: 'failed', reason: 'the driver gave no answer' }
      const tenants = held.get(pending.partition)
      if (delivery.kind === 'failed') {
        reason ??= delivery.reason
        if (tenants) tenants.add(pending.row.tenant)
        else held.set(pending.partition, new Set([pending.row.tenant]))
      } else if (!tenants?.has(pending.row.tenant)) {
        if (delivery.kind === 'refused') {
          this.#refuse(pending, delivery.reason, 0)
        } else {
          pending.state = 'delivered'
          delivered++
        }
      }
    })
    this.#events.delivered(delivered)
    return reason
  }

  #refuse(pending: Pending, reason: string, failures: number): void {
    pending.state = 'refusing'
    this.#events.refused(pending.partition, pending.row, reason).then(
      () => {
        pending.state = 'refused'
        if (failures > 0) this.#events.trouble(null)
        this.#sweep()
      },
      (thrown: unknown) => {
        if (this.#stopped || !this.#pending.includes(pending)) return
        this.#events.trouble(`a refused message could not be recorded: ${messageOf(thrown)}`)
        const { backoffMinMs, backoffMaxMs } = this.#settings
        this.#clock.after(Math.min(backoffMaxMs, backoffMinMs * 2 ** failures), () =>
          this.#refuse(pending, reason, failures + 1),
        )
      },
    )
  }

  /** Takes off what is done, and tells each partition how far it is published without a hole. */
  #sweep(): void {
    const holes = new Set<Partition>()
    const published = new Map<Partition, OutboxPosition>()
    this.#pending = this.#pending.filter(({ partition, row, state }) => {
      if (state === 'waiting' || state === 'refusing') holes.add(partition)
      else if (!holes.has(partition)) published.set(partition, row.position)
      return holes.has(partition)
    })
    for (const [partition, position] of published) this.#events.published(partition, position)
  }
}

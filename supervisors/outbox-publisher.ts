import type { Clock } from '../core/clock.ts'
import { messageOf } from '../core/errors.ts'
import type { Delivery, Publisher } from '../core/kafka/publisher.ts'
import type { Ledger, OutboxPosition, OutboxRow } from '../core/postgres/transactions.ts'
import { OutboxFeed } from './outbox-feed.ts'
import type { Partition } from './partition.ts'

/** One send takes this many messages at most: about 10 ms of a broker's time, and little to repeat. */
const maxMessagesPerSend = 2_000
/** Of messages in memory. What is committed beyond stays in the table until there is room. */
const maxHeldBytes = 64 * 1024 * 1024
/** What a message takes besides its key and its value, about. */
const rowBytes = 300

/** `refusing`: Kafka will never take it, which is not recorded yet. */
type Pending = {
  readonly partition: Partition
  readonly row: OutboxRow
  readonly bytes: number
  state: 'waiting' | 'delivered' | 'refusing' | 'refused'
}

export type OutboxEvents = {
  /** Kafka will never take this message. Resolves when that is recorded; until then the row must not be deleted. */
  refused(partition: Partition, row: OutboxRow, reason: string): Promise<void>
  delivered(count: number): void
  /** Everything of this partition up to `position` is out, and its rows may be deleted. */
  published(partition: Partition, position: OutboxPosition): void
  trouble(key: 'kafka.outbox' | 'postgres.outbox' | 'postgres.refused', reason: string | null): void
}

export type OutboxSettings = {
  readonly backoffMinMs: number
  readonly backoffMaxMs: number
  /** Unpublished messages past which intake pauses, and no more are taken into memory. */
  readonly outboxMaxPending: number
}

/**
 * Publishes committed messages in the order of their commits, one send at a time. A failed one goes again, and after it
 * all later ones of the same tenant and partition, so that the order of first copies is the order of the tenant.
 */
export class OutboxPublisher {
  readonly #publisher: Publisher
  readonly #ledger: Ledger
  readonly #clock: Clock
  readonly #settings: OutboxSettings
  readonly #events: OutboxEvents
  readonly #feeds = new Map<Partition, OutboxFeed>()
  #pending: Pending[] = []
  #bytes = 0
  #sending = false
  #failures = 0
  #reading = false
  #readFailures = 0
  #stopped = false

  constructor(publisher: Publisher, ledger: Ledger, clock: Clock, settings: OutboxSettings, events: OutboxEvents) {
    this.#publisher = publisher
    this.#ledger = ledger
    this.#clock = clock
    this.#settings = settings
    this.#events = events
  }

  /** Committed and not yet known to be delivered, as far as is known. */
  get pending(): number {
    let pending = this.#pending.length
    for (const { unread } of this.#feeds.values()) pending += unread
    return pending
  }

  /** The partition is ours: what its last owner left unpublished goes first. */
  open(partition: Partition): void {
    this.#feeds.set(partition, new OutboxFeed(partition))
    this.#fill()
  }

  /** Just committed. */
  push(partition: Partition, rows: readonly OutboxRow[]): void {
    const feed = this.#feeds.get(partition)
    if (feed === undefined) return
    this.#hold(partition, feed.committed(rows, this.#hasRoom))
    this.#fill()
    this.#pump()
  }

  /** The partition has another owner, who publishes from the table. */
  drop(partition: Partition): void {
    this.#feeds.delete(partition)
    this.#keep((pending) => pending.partition !== partition)
  }

  stop(): void {
    this.#stopped = true
  }

  get #hasRoom(): boolean {
    return this.#pending.length < this.#settings.outboxMaxPending && this.#bytes < maxHeldBytes
  }

  #hold(partition: Partition, rows: readonly OutboxRow[]): void {
    for (const row of rows) {
      const bytes = row.key.length + row.value.length + rowBytes
      this.#bytes += bytes
      this.#pending.push({ partition, row, bytes, state: 'waiting' })
    }
  }

  #keep(stays: (pending: Pending) => boolean): void {
    this.#pending = this.#pending.filter((pending) => {
      if (stays(pending)) return true
      this.#bytes -= pending.bytes
      return false
    })
  }

  /** Reads what only the table has, a page at a time, while there is room. */
  #fill(): void {
    if (this.#reading || this.#stopped || !this.#hasRoom) return
    for (const [partition, feed] of this.#feeds) {
      if (!feed.behind) continue
      // Behind the others, for the next time.
      this.#feeds.delete(partition)
      this.#feeds.set(partition, feed)
      this.#reading = true
      void this.#read(partition, feed)
      return
    }
  }

  async #read(partition: Partition, feed: OutboxFeed): Promise<void> {
    feed.asked()
    let pauseMs = 0
    try {
      const page = await this.#ledger.readOutbox(partition.ref, feed.last)
      if (this.#stopped) return
      if (this.#feeds.get(partition) === feed) this.#hold(partition, feed.read(page))
      if (this.#readFailures > 0) this.#events.trouble('postgres.outbox', null)
      this.#readFailures = 0
    } catch (thrown) {
      if (this.#stopped) return
      feed.failed()
      this.#events.trouble('postgres.outbox', messageOf(thrown))
      pauseMs = this.#backoffMs(this.#readFailures++)
    }
    const next = () => {
      this.#reading = false
      this.#fill()
    }
    if (pauseMs > 0) this.#clock.after(pauseMs, next)
    else next()
    this.#pump()
  }

  #backoffMs(failures: number): number {
    const { backoffMinMs, backoffMaxMs } = this.#settings
    return Math.min(backoffMaxMs, backoffMinMs * 2 ** failures)
  }

  #pump(): void {
    if (this.#sending || this.#stopped || this.#pending.length === 0) return
    const batch = this.#next()
    if (batch.length === 0) return
    this.#sending = true
    void this.#publisher.send(batch.map((pending) => pending.row)).then((deliveries) => this.#sent(batch, deliveries))
  }

  /** The oldest that wait. */
  #next(): Pending[] {
    const batch: Pending[] = []
    for (const pending of this.#pending) {
      if (pending.state === 'waiting') batch.push(pending)
      if (batch.length === maxMessagesPerSend) break
    }
    return batch
  }

  #sent(batch: readonly Pending[], deliveries: readonly Delivery[]): void {
    if (this.#stopped) return
    const failed = this.#apply(batch, deliveries)
    this.#sweep()
    if (failed === null) {
      if (this.#failures > 0) this.#events.trouble('kafka.outbox', null)
      this.#failures = 0
      this.#sending = false
      this.#pump()
      return
    }
    this.#events.trouble('kafka.outbox', failed)
    this.#clock.after(this.#backoffMs(this.#failures++), () => {
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
        if (failures > 0) this.#events.trouble('postgres.refused', null)
        this.#sweep()
        this.#pump()
      },
      (thrown: unknown) => {
        if (this.#stopped || !this.#pending.includes(pending)) return
        this.#events.trouble('postgres.refused', `a refused message could not be recorded: ${messageOf(thrown)}`)
        this.#clock.after(this.#backoffMs(failures), () => this.#refuse(pending, reason, failures + 1))
      },
    )
  }

  /** Takes off what is done, and tells each partition how far it is published without a hole. */
  #sweep(): void {
    const holes = new Set<Partition>()
    const published = new Map<Partition, OutboxPosition>()
    this.#keep(({ partition, row, state }) => {
      if (state === 'waiting' || state === 'refusing') holes.add(partition)
      else if (!holes.has(partition)) published.set(partition, row.position)
      return holes.has(partition)
    })
    this.#fill()
    for (const [partition, position] of published) this.#events.published(partition, position)
  }
}

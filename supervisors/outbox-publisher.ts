import { type BackOff, backOffMs, type Clock, sleep } from '../core/clock.ts'
import { messageOf } from '../core/errors.ts'
import type { Delivery, Publisher } from '../core/kafka/publisher.ts'
import type { Inherited, Ledger, OutboxRow } from '../core/postgres/ownership.ts'
import type { OutboxPosition, PartitionRef } from '../core/postgres/transactions.ts'
import { AwayTopics } from './away-topics.ts'
import { detachedRow, heldBytes } from './detached-row.ts'
import { OutboxFeed } from './outbox-feed.ts'
import { OutboxRoom } from './outbox-room.ts'
import { nextSends, type Pending, Tenants } from './outbox-sends.ts'
import type { Partition } from './partition.ts'

/** Topics that are named of those that a group's messages wait for. */
const maxNamedTopics = 5

export type OutboxEvents = {
  /** Kafka will never take this message. Told once, however often recording it is tried. */
  refused(ref: PartitionRef, row: OutboxRow, reason: string): void
  delivered(count: number): void
  /** Everything of this partition up to `position` is out, and its rows may be deleted. */
  published(partition: Partition, position: OutboxPosition): void
  /** Somebody else has taken over what the partition inherits; whoever takes the partition over has it again. */
  disinherited(partition: Partition): void
  trouble(key: 'kafka.outbox' | 'postgres.outbox' | 'postgres.refused', reason: string | null): void
}

export type OutboxSettings = {
  readonly backoffMinMs: number
  readonly backoffMaxMs: number
  /** Unpublished messages of a group past which its intake pauses, and no more of them are taken into memory. */
  readonly outboxMaxPending: number
}

/**
 * Publishes committed messages in the order of their commits. All that a tenant of a partition has on its way is in one
 * send. A failed message goes again when its topic has rested, and after it all later ones of that tenant, to whatever
 * topic, so that the order of first copies is the order of the tenant. Who publishes to other topics is in other sends,
 * so that nobody waits for the answer of a topic that is not theirs. Each group has its own share of memory.
 */
export class OutboxPublisher {
  readonly #publisher: Publisher
  readonly #ledger: Ledger
  readonly #clock: Clock
  readonly #settings: OutboxSettings
  readonly #events: OutboxEvents
  readonly #pause: BackOff
  /** Of each partition in the order in which they go out, its own last. */
  readonly #feeds = new Map<Partition, readonly OutboxFeed[]>()
  #pending: Pending[] = []
  readonly #room: OutboxRoom
  /** The topics of each send that is not yet answered. */
  readonly #sending = new Set<string>()
  #woken = false
  readonly #away: AwayTopics
  #reading = false
  #readFailures = 0
  #stopped = false

  constructor(publisher: Publisher, ledger: Ledger, clock: Clock, settings: OutboxSettings, events: OutboxEvents) {
    this.#publisher = publisher
    this.#ledger = ledger
    this.#clock = clock
    this.#settings = settings
    this.#events = events
    this.#room = new OutboxRoom(settings.outboxMaxPending)
    this.#pause = { first: settings.backoffMinMs, most: settings.backoffMaxMs }
    this.#away = new AwayTopics(clock, this.#pause, {
      rested: () => this.#pump(),
      trouble: (reason) => events.trouble('kafka.outbox', reason),
    })
  }

  /** Committed and not yet known to be delivered, as far as is known. */
  get pending(): number {
    let pending = this.#pending.length
    for (const feeds of this.#feeds.values()) for (const { unread } of feeds) pending += unread
    return pending
  }

  /** Groups with more messages on their way than they may have. */
  get full(): ReadonlySet<string> {
    const { outboxMaxPending } = this.#settings
    if (this.pending <= outboxMaxPending) return noGroups
    const pending = this.#room.messages()
    for (const [{ group }, feeds] of this.#feeds)
      for (const { unread } of feeds) pending.set(group.name, (pending.get(group.name) ?? 0) + unread)
    return new Set([...pending].filter(([, messages]) => messages > outboxMaxPending).map(([group]) => group))
  }

  /** Where a group's messages in memory go, and what is known to be wrong there, for people to read. */
  waitsFor(group: string): string {
    const topics = new Map<string, number>()
    for (const { feed, row } of this.#pending)
      if (feed.partition.group.name === group) topics.set(row.topic, (topics.get(row.topic) ?? 0) + 1)
    return [...topics]
      .sort(([, a], [, b]) => b - a)
      .slice(0, maxNamedTopics)
      .map(([topic, count]) => `${count} for ${this.#away.reasonOf(topic) ?? topic}`)
      .join('; ')
  }

  /** The partition is ours: what it inherits, and what its last owner left unpublished, go first. */
  open(partition: Partition, inherited: readonly Inherited[]): void {
    this.#room.open(partition)
    this.#feeds.set(
      partition,
      [...inherited, null].map((from) => new OutboxFeed(partition, from)),
    )
    this.#fill()
  }

  /** Just committed. */
  push(partition: Partition, rows: readonly OutboxRow[]): void {
    const feed = this.#feeds.get(partition)?.at(-1)
    if (feed === undefined) return
    this.#hold(feed, feed.committed(rows, this.#room.isLeft(partition)))
    this.#fill()
    this.#pump()
  }

  /** The partition has another owner, who publishes from the table. */
  drop(partition: Partition): void {
    this.#feeds.delete(partition)
    this.#keep(({ feed }) => feed.partition !== partition)
    this.#fill()
    this.#pump()
  }

  stop(): void {
    this.#stopped = true
  }

  #hold(feed: OutboxFeed, rows: readonly OutboxRow[]): void {
    for (const row of rows) {
      const bytes = heldBytes(row)
      this.#room.count(feed.partition, 1, bytes)
      this.#pending.push({ feed, row: detachedRow(row), bytes, state: 'waiting' })
    }
  }

  #keep(stays: (pending: Pending) => boolean): void {
    this.#pending = this.#pending.filter((pending) => {
      if (stays(pending)) return true
      this.#room.count(pending.feed.partition, -1, -pending.bytes)
      return false
    })
    if (!this.#away.none) this.#away.keep(new Set(this.#pending.map(({ row }) => row.topic)))
  }

  /** Reads what only the table has, a page at a time, of groups that have room. */
  #fill(): void {
    if (this.#reading || this.#stopped) return
    for (const [partition, feeds] of this.#feeds) {
      if (!this.#room.isLeft(partition)) continue
      const feed = feeds.find(({ behind }) => behind)
      if (feed === undefined) continue
      // Behind the others, for the next time.
      this.#feeds.delete(partition)
      this.#feeds.set(partition, feeds)
      this.#reading = true
      void this.#read(feed)
      return
    }
    this.#hasRead()
  }

  /** A page came, or none is wanted any more. */
  #hasRead(): void {
    if (this.#readFailures > 0) this.#events.trouble('postgres.outbox', null)
    this.#readFailures = 0
  }

  #isOpen(feed: OutboxFeed): boolean {
    return !this.#stopped && this.#feeds.get(feed.partition)?.includes(feed) === true
  }

  async #read(feed: OutboxFeed): Promise<void> {
    feed.asked()
    let pauseMs = 0
    try {
      const page = await this.#ledger.readOutbox(feed.ref, feed.last)
      if (this.#stopped) return
      if (this.#isOpen(feed)) this.#hold(feed, feed.read(page))
      this.#hasRead()
    } catch (thrown) {
      if (this.#stopped) return
      feed.failed()
      this.#events.trouble('postgres.outbox', messageOf(thrown))
      pauseMs = backOffMs(++this.#readFailures, this.#pause)
    }
    const next = () => {
      this.#reading = false
      this.#fill()
    }
    if (pauseMs > 0) this.#clock.after(pauseMs, next)
    else next()
    this.#pump()
  }

  /** Sends what may go, once all that is told at this moment is known. */
  #pump(): void {
    if (this.#woken || this.#stopped) return
    this.#woken = true
    queueMicrotask(() => {
      this.#woken = false
      if (!this.#stopped) this.#sendNext()
    })
  }

  #sendNext(): void {
    for (const [topics, batch] of nextSends(this.#pending, this.#sending, this.#away)) this.#send(topics, batch)
  }

  #send(topics: string, batch: readonly Pending[]): void {
    this.#sending.add(topics)
    for (const pending of batch) pending.state = 'sending'
    const rows = batch.map(({ row }) => row)
    void this.#publisher.send(rows).then((deliveries) => this.#sent(topics, batch, deliveries))
  }

  #sent(topics: string, batch: readonly Pending[], deliveries: readonly Delivery[]): void {
    if (this.#stopped) return
    this.#sending.delete(topics)
    const failed = this.#apply(batch, deliveries)
    for (const [topic, reason] of failed) this.#away.failed(topic, reason)
    for (const { row } of batch) if (!failed.has(row.topic)) this.#away.cameBack(row.topic)
    this.#sweep()
    this.#pump()
  }

  /** Marks what is out; returns the topics to which something failed, and why. */
  #apply(batch: readonly Pending[], deliveries: readonly Delivery[]): ReadonlyMap<string, string> {
    const failed = new Map<string, string>()
    let delivered = 0
    // Held: of whom something failed. What follows of them goes again, even if it got out.
    const tenants = new Tenants()
    batch.forEach((pending, i) => {
      const delivery: Delivery = deliveries[i] ?? { kind: 'failed', reason: 'the driver gave no answer' }
      const { topic } = pending.row
      const tenant = tenants.of(pending)
      pending.state = 'waiting'
      if (delivery.kind === 'failed') {
        if (!failed.has(topic)) failed.set(topic, delivery.reason)
        tenant.held = true
      } else if (!tenant.held) {
        if (delivery.kind === 'refused') {
          this.#events.refused(pending.feed.ref, pending.row, delivery.reason)
          this.#refuse(pending, delivery.reason, 0)
        } else {
          pending.state = 'delivered'
          delivered++
        }
      }
    })
    this.#events.delivered(delivered)
    return failed
  }

  #refuse(pending: Pending, reason: string, failures: number): void {
    pending.state = 'refusing'
    const over = () => {
      if (failures > 0) this.#events.trouble('postgres.refused', null)
    }
    const { feed, row } = pending
    // Until it is recorded, the row must not be deleted.
    this.#ledger.refuseOutbox(feed.ref, row.position, reason).then(
      () => {
        pending.state = 'refused'
        over()
        this.#sweep()
        this.#pump()
      },
      (thrown: unknown) => {
        if (this.#stopped) return
        // Its next owner is refused, too.
        if (!this.#pending.includes(pending)) return over()
        this.#events.trouble('postgres.refused', `a refused message could not be recorded: ${messageOf(thrown)}`)
        this.#clock.after(backOffMs(failures + 1, this.#pause), () => this.#refuse(pending, reason, failures + 1))
      },
    )
  }

  /** Takes off what is done, and tells each partition how far it is published without a hole. */
  #sweep(): void {
    const holes = new Set<OutboxFeed>()
    const published = new Map<OutboxFeed, OutboxPosition>()
    this.#keep(({ feed, row, state }) => {
      if (state !== 'delivered' && state !== 'refused') holes.add(feed)
      else if (!holes.has(feed)) published.set(feed, row.position)
      return holes.has(feed)
    })
    this.#fill()
    for (const [feed, position] of published) {
      if (feed.inherited === null) {
        this.#events.published(feed.partition, position)
      } else {
        feed.published = position
        void this.#delete(feed, feed.inherited)
      }
    }
  }

  /** Nothing is committed for an inherited partition any more that could take its rows along. */
  async #delete(feed: OutboxFeed, inherited: Inherited): Promise<void> {
    if (feed.deleting) return
    feed.deleting = true
    let failures = 0
    while (feed.published !== null && this.#isOpen(feed)) {
      const upTo = feed.published
      try {
        const deleted = await this.#ledger.deleteOutbox(inherited, upTo)
        if (!deleted) {
          if (this.#isOpen(feed)) this.#events.disinherited(feed.partition)
          return
        }
        if (feed.published === upTo) feed.published = null
        failures = 0
      } catch {
        // Kept, they would only be sent once more after the next takeover.
        await sleep(this.#clock, backOffMs(++failures, this.#pause))
      }
    }
    feed.deleting = false
  }
}

const noGroups: ReadonlySet<string> = new Set()

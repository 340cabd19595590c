import { type BackOff, backOffMs, type Clock, sleep } from '../core/clock.ts'
import { messageOf } from '../core/errors.ts'
import type { Delivery, Publisher } from '../core/kafka/publisher.ts'
import type { Inherited, Ledger, OutboxRow } from '../core/postgres/ownership.ts'
import type { OutboxPosition, PartitionRef } from '../core/postgres/transactions.ts'
import { AwayTopics } from './away-topics.ts'
import { detachedRow, heldBytes } from './detached-row.ts'
import { OutboxFeed } from './outbox-feed.ts'
import type { Partition } from './partition.ts'

/** One send takes this many messages at most: about 10 ms of a broker's time, and little to repeat. */
const maxMessagesPerSend = 2_000
/** Of messages in memory, of all groups together. What is committed beyond stays in the table until there is room. */
const maxHeldBytes = 64 * 1024 * 1024
/** Topics that are named of those that a group's messages wait for. */
const maxNamedTopics = 5

/** `refusing`: Kafka will never take it, which is not recorded yet. */
type Pending = {
  readonly feed: OutboxFeed
  readonly row: OutboxRow
  readonly bytes: number
  state: 'waiting' | 'sending' | 'delivered' | 'refusing' | 'refused'
}

export type OutboxEvents = {
  /** Kafka will never take this message. */
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
 * so that nobody waits for the answer of a topic that is not theirs. Each group has its own share of memory: what one
 * group's messages wait for keeps no other group's.
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
  /** What memory has of each group that has had a partition. */
  readonly #held = new Map<string, { messages: number; bytes: number }>()
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
    const pending = new Map([...this.#held].map(([group, { messages }]) => [group, messages]))
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
    const { name } = partition.group
    if (!this.#held.has(name)) this.#held.set(name, { messages: 0, bytes: 0 })
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
    this.#hold(feed, feed.committed(rows, this.#hasRoomFor(partition)))
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

  #hasRoomFor({ group }: Partition): boolean {
    const { messages = 0, bytes = 0 } = this.#held.get(group.name) ?? {}
    return messages < this.#settings.outboxMaxPending && bytes < maxHeldBytes / this.#held.size
  }

  #hold(feed: OutboxFeed, rows: readonly OutboxRow[]): void {
    for (const row of rows) {
      const bytes = heldBytes(row)
      this.#count(feed, 1, bytes)
      this.#pending.push({ feed, row: detachedRow(row), bytes, state: 'waiting' })
    }
  }

  #count({ partition }: OutboxFeed, messages: number, bytes: number): void {
    const held = this.#held.get(partition.group.name)
    if (held === undefined) return
    held.messages += messages
    held.bytes += bytes
  }

  #keep(stays: (pending: Pending) => boolean): void {
    this.#pending = this.#pending.filter((pending) => {
      if (stays(pending)) return true
      this.#count(pending.feed, -1, -pending.bytes)
      return false
    })
    if (!this.#away.none) this.#away.keep(new Set(this.#pending.map(({ row }) => row.topic)))
  }

  /** Reads what only the table has, a page at a time, of groups that have room. */
  #fill(): void {
    if (this.#reading || this.#stopped) return
    for (const [partition, feeds] of this.#feeds) {
      if (!this.#hasRoomFor(partition)) continue
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
      if (!this.#stopped) for (const [topics, batch] of this.#next()) this.#send(topics, batch)
    })
  }

  #send(topics: string, batch: readonly Pending[]): void {
    this.#sending.add(topics)
    for (const pending of batch) pending.state = 'sending'
    const rows = batch.map(({ row }) => row)
    void this.#publisher.send(rows).then((deliveries) => this.#sent(topics, batch, deliveries))
  }

  /** What may go now, the oldest first, by the topics of its tenants; one send to the same topics at a time. */
  #next(): ReadonlyMap<string, readonly Pending[]> {
    const tenants = new Tenants()
    const ready: { readonly pending: Pending; readonly tenant: Tenant }[] = []
    for (const pending of this.#pending) {
      if (pending.state !== 'waiting' && pending.state !== 'sending') continue
      const tenant = tenants.of(pending)
      if (tenant.held) continue
      tenant.held = pending.state === 'sending' || this.#mustWait(pending.row.topic, tenant)
      if (tenant.held) continue
      if (!tenant.topics.includes(pending.row.topic)) tenant.topics.push(pending.row.topic)
      ready.push({ pending, tenant })
    }
    const batches = new Map<string, Pending[]>()
    for (const { pending, tenant } of ready) {
      const topics = tenant.topics.length === 1 ? pending.row.topic : tenant.topics.join(' ')
      if (this.#sending.has(topics)) continue
      const batch = batches.get(topics)
      if (batch === undefined) batches.set(topics, [pending])
      else if (batch.length < maxMessagesPerSend) batch.push(pending)
    }
    return batches
  }

  /** While the topic rests, or all there is to it now is on its way. A topic that is away is tried alone. */
  #mustWait(topic: string, { topics }: Tenant): boolean {
    const first = topics[0]
    if (first === undefined && this.#sending.has(topic)) return true
    if (this.#away.none) return false
    if (this.#away.rests(topic)) return true
    return first !== undefined && first !== topic && (this.#away.has(topic) || this.#away.has(first))
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
    this.#events.refused(feed.ref, row, reason)
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

/** In one look at what is pending: nothing further of it goes, and the topics of what may go. */
type Tenant = { held: boolean; readonly topics: string[] }

/** Tenants of partitions. */
class Tenants {
  readonly #tenants = new Map<Partition, Map<string, Tenant>>()

  of({ feed: { partition }, row }: Pending): Tenant {
    let tenants = this.#tenants.get(partition)
    if (tenants === undefined) {
      tenants = new Map()
      this.#tenants.set(partition, tenants)
    }
    let tenant = tenants.get(row.tenant)
    if (tenant === undefined) {
      tenant = { held: false, topics: [] }
      tenants.set(row.tenant, tenant)
    }
    return tenant
  }
}

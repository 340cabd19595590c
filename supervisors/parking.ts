import type { Clock } from '../core/clock.ts'
import type { EngineMetrics } from '../core/metrics.ts'
import type { Dispatcher } from './dispatcher.ts'
import type { FeedBack, FeedBackSettings } from './feed-back.ts'
import { type Intake, relievedAt } from './intake.ts'
import { Decided, type Item } from './item.ts'
import type { Mailbox } from './mailbox.ts'
import type { Mailboxes } from './mailboxes.ts'
import { Parked } from './parked.ts'
import type { Partition } from './partition.ts'
import { nobody } from './route.ts'

export type ParkingSettings = FeedBackSettings & {
  readonly mailboxMaxRecords: number
  readonly mailboxMaxBytes: number
  /** Parked records of one tenant of a partition, and of all of this daemon; past it, their partitions pause. */
  readonly parkedMaxPerTenant: number
  readonly parkedMaxRecords: number
  /** A tenant that has held its partition's watermark for so many commits is parked. */
  readonly parkAfterCommits: number
  /** So are those that hold it when progress has so many ranges above the watermark. */
  readonly parkAfterRanges: number
  /** And those that have held it for so long on a partition where nothing else is left to commit. */
  readonly parkAfterMs: number
}

export type ParkingOptions = {
  readonly clock: Clock
  readonly metrics: EngineMetrics
  readonly settings: ParkingSettings
  readonly dispatcher: Dispatcher
  readonly mailboxes: Mailboxes
  readonly intake: Intake
  readonly feedBack: FeedBack
  readonly push: (decided: Decided) => void
  /** The end of what a timer began. */
  readonly settled: () => void
}

/** Looking for mailboxes to relieve the budget of goes through all of them. */
const lookEveryMs = 250
/**
 * Served at full speed, half of a mailbox's bound is committed in 20 ms, and its partition goes on: to park a record and
 * to read it back costs more than to process it.
 */
const fullPatienceMs = 200

/**
 * Moves records of tenants that cannot go on, or that send faster than they are served, to PostgreSQL, so that neither
 * memory nor the partition's progress waits for them. Order holds because a mailbox's parts have an order (see `Parked`)
 * and a record is only ever added to the last of them that is not empty.
 */
export class Parking {
  readonly #options: ParkingOptions
  /** Of what is on its way to PostgreSQL. */
  #leavingBytes = 0
  #leavingRecords = 0
  #looking = false
  /** Full mailboxes and when they became so, the first of them first. */
  readonly #fullSince = new Map<Mailbox, number>()

  constructor(options: ParkingOptions) {
    this.#options = options
  }

  /** Parked records of all our partitions, about: rows not in memory, and those on their way to PostgreSQL. */
  get rows(): number {
    return this.#options.feedBack.rows + this.#leavingRecords
  }

  /** A new record for the mailbox: it goes to the end of what the mailbox has, wherever that is. */
  take(mailbox: Mailbox, item: Item): void {
    const { parked, partition } = mailbox
    if (parked === null) mailbox.add(item)
    // It may have its place among what an earlier owner parked: PostgreSQL sorts it in.
    else if (item.record.offset < partition.aheadEnd) this.#leaveBefore(mailbox, parked, item)
    else if (this.#joining(mailbox, parked)) parked.addArrival(item)
    else this.#leave(mailbox, parked, item)
    if (this.#isPast(mailbox, 1)) this.#pastBound(mailbox)
    if (parked === null) this.#options.dispatcher.enqueue(mailbox)
  }

  /** A commit that wrote the record's row is durable. */
  written(mailbox: Mailbox, item: Item): void {
    item.rowWrites--
    const { parked } = mailbox
    if (item.rowWrites > 0 || mailbox.closed || parked === null) return
    const { feedBack, intake } = this.#options
    parked.barriers.delete(item)
    if (parked.leaving.delete(item)) {
      feedBack.behind(parked, item)
      this.#leavingBytes -= item.bytes
      this.#leavingRecords--
      intake.gave(item.bytes)
    }
    feedBack.consider(mailbox)
  }

  /** What of the mailbox is not in its queue is not ours any more. */
  dropped(mailbox: Mailbox): void {
    const { parked } = mailbox
    if (parked === null) return
    const { feedBack, intake } = this.#options
    for (const { bytes } of parked.takeArrivals()) intake.gave(bytes)
    for (const { bytes } of parked.leaving) {
      this.#leavingBytes -= bytes
      this.#leavingRecords--
      intake.gave(bytes)
    }
    parked.leaving.clear()
    feedBack.dropped(mailbox, parked)
    mailbox.parked = null
  }

  /** What came and was not parked yet is dropped: it comes again. */
  dropArrivals(mailbox: Mailbox): void {
    for (const { bytes } of mailbox.parked?.takeArrivals() ?? []) this.#options.intake.gave(bytes)
  }

  /** Of a full mailbox something was committed: whether its partition goes on. */
  eased(mailbox: Mailbox): void {
    if (!this.#isPast(mailbox, 1 / 2)) this.#unfull(mailbox)
  }

  /** The mailbox has come to wait, perhaps with what was decided before: past its bound it is parked. */
  stuck(mailbox: Mailbox): void {
    if (mailbox.full || this.#isPast(mailbox, 1)) this.#pastBound(mailbox)
  }

  /**
   * Full mailboxes that have not moved since the last time, or for which there is room again, are parked after all, and so
   * are those that hold the watermark of a partition that has become quiet. Called about once a second.
   */
  look(): void {
    const now = this.#options.clock.monotonic()
    const due: Mailbox[] = []
    for (const mailbox of this.#options.mailboxes.values()) {
      if (mailbox.full) {
        if (mailbox.stuck || mailbox.committedCount === mailbox.lookedAt) due.push(mailbox)
        else if (this.#fits(mailbox)) this.#parkArrivals(mailbox)
        mailbox.lookedAt = mailbox.committedCount
      } else if (this.#holdsQuiet(mailbox, now)) due.push(mailbox)
    }
    // Only now: to park one gives its partition something to commit, and it would not look quiet to the next.
    for (const mailbox of due) this.#parkIfRoom(mailbox, true)
  }

  /** After a commit of the partition: those that have held its watermark for too long are parked. */
  advance(partition: Partition): void {
    const before = partition.laggards(this.#options.settings)
    if (before === null) return
    for (const mailbox of partition.mailboxes.values()) {
      const oldest = oldestUnparked(mailbox)
      if (oldest !== undefined && oldest.record.offset < before) this.#parkIfRoom(mailbox, true)
    }
  }

  /** Called at the end of every event: looks for what should be parked as long as anything is full, or memory short. */
  flush(): void {
    const { intake, clock, settled } = this.#options
    if (this.#looking || (this.#fullSince.size === 0 && !intake.short)) return
    this.#looking = true
    this.#parkSlow()
    if (intake.short) this.#relieve()
    // Nothing else may come to pass: what waits does so for a retry, and the partitions are paused.
    clock.after(lookEveryMs, () => {
      this.#looking = false
      settled()
    })
  }

  /** The largest mailboxes that wait are parked until enough is free. */
  #relieve(): void {
    const { mailboxes, intake } = this.#options
    const waiting: Mailbox[] = []
    for (const mailbox of mailboxes.values())
      if (mailbox.stuck && (mailbox.queuedCount > 0 || (mailbox.parked?.arrivals.length ?? 0) > 0))
        waiting.push(mailbox)
    waiting.sort((a, b) => b.bytes - a.bytes)
    for (const mailbox of waiting) {
      if (intake.usedWithout(this.#leavingBytes, this.#leavingRecords) <= relievedAt) return
      this.#parkIfRoom(mailbox, false)
    }
  }

  /** There is room again for what came when there was none, and it would wait for long. */
  #fits({ parked }: Mailbox): boolean {
    const { parkedMaxPerTenant, parkedMaxRecords, parkedPageRows } = this.#options.settings
    if (parked === null) return false
    const { length } = parked.arrivals
    const behind = parked.rows + parked.leaving.size
    return behind > parkedPageRows && behind + length <= parkedMaxPerTenant && this.rows + length <= parkedMaxRecords
  }

  /** Others have passed the mailbox's oldest record, and no further commit will come and find it a laggard. */
  #holdsQuiet(mailbox: Mailbox, now: number): boolean {
    const { parkAfterMs } = this.#options.settings
    const { uncommitted, progress, advancedAt } = mailbox.partition
    if (uncommitted > 0 || progress.ranges === 0 || now - advancedAt < parkAfterMs) return false
    const oldest = oldestUnparked(mailbox)
    return oldest !== undefined && oldest.record.offset < progress.end && now - oldest.cameAt >= parkAfterMs
  }

  /** Whether it has more than this part of what it may have. */
  #isPast({ parked, undecidedCount, bytes }: Mailbox, part: number): boolean {
    const { mailboxMaxRecords, mailboxMaxBytes } = this.#options.settings
    return parked === null
      ? undecidedCount > mailboxMaxRecords * part || bytes > mailboxMaxBytes * part
      : parked.arrivals.length > mailboxMaxRecords * part || parked.arrivalBytes > mailboxMaxBytes * part
  }

  #pastBound(mailbox: Mailbox): void {
    if (mailbox.stuck && this.#parkIfRoom(mailbox, false)) return
    if (mailbox.full) return
    mailbox.full = true
    mailbox.partition.fullMailboxes++
    this.#fullSince.set(mailbox, this.#options.clock.monotonic())
  }

  /**
   * A partition that keeps up waits for a full mailbox this long at most. Behind by much, it is no worse off when it waits,
   * and parking costs what catching up could use.
   */
  #parkSlow(): void {
    const longSince = this.#options.clock.monotonic() - fullPatienceMs
    for (const [mailbox, since] of this.#fullSince) {
      if (since > longSince) return
      if (mailbox.closed) this.#fullSince.delete(mailbox)
      else if (mailbox.partition.live) this.#parkIfRoom(mailbox, false)
    }
  }

  #parkIfRoom(mailbox: Mailbox, running: boolean): boolean {
    const { parkedMaxPerTenant, parkedMaxRecords } = this.#options.settings
    const { parked } = mailbox
    const own = parked === null ? 0 : parked.rows + parked.leaving.size
    if (mailbox.key === nobody || own >= parkedMaxPerTenant || this.rows >= parkedMaxRecords) return false
    this.#park(mailbox, running)
    return true
  }

  /**
   * Parks what waits in the mailbox. With `running` also what is at its worker and undecided, which stays there: its
   * decision is that of a parked record then. Does not raise the run.
   */
  #park(mailbox: Mailbox, running: boolean): void {
    if (mailbox.closed || mailbox.partition.phase !== 'owned') return
    const { feedBack, intake } = this.#options
    if (running) {
      for (let i = mailbox.decidedCount; i < mailbox.decidedCount + mailbox.inFlightCount; i++) {
        const item = mailbox.items.at(i)
        if (item !== undefined && item.row === null) this.#push(mailbox, item)
      }
    }
    const dropped = mailbox.dropQueued()
    const [head] = dropped
    if (head !== undefined) {
      const generation = head.row?.generation ?? 0
      const parked = mailbox.parked ?? new Parked(null, head.waitsSince)
      mailbox.parked = parked
      parked.since = head.waitsSince
      // From here: what was read ahead of it is forgotten with it.
      parked.readAgain({ generation, offset: head.record.offset - 1 })
      parked.pageRows = 1
      for (const item of dropped) {
        if (item.row === null || item.rowWrites > 0) {
          this.#leaveBefore(mailbox, parked, item)
        } else {
          feedBack.behind(parked, item)
          intake.gave(item.bytes)
        }
      }
    }
    this.#parkArrivals(mailbox)
    feedBack.consider(mailbox)
  }

  #parkArrivals(mailbox: Mailbox): void {
    const { parked } = mailbox
    if (parked !== null) for (const item of parked.takeArrivals()) this.#leave(mailbox, parked, item)
    this.#unfull(mailbox)
  }

  #unfull(mailbox: Mailbox): void {
    if (!mailbox.full) return
    mailbox.full = false
    mailbox.partition.fullMailboxes--
    this.#fullSince.delete(mailbox)
  }

  /** All before it is about to be back, or must not be added to any more: new records wait in memory. */
  #joining(mailbox: Mailbox, parked: Parked): boolean {
    const { parkedMaxPerTenant, parkedMaxRecords, parkedPageRows } = this.#options.settings
    const behind = parked.rows + parked.leaving.size
    if (parked.arrivals.length > 0 || behind >= parkedMaxPerTenant || this.rows >= parkedMaxRecords) return true
    if (parked.replayed && parked.more) return false
    return !mailbox.stuck && behind <= parkedPageRows
  }

  #leave(mailbox: Mailbox, parked: Parked, item: Item): void {
    if (parked.rows <= 0 && parked.leaving.size === 0) parked.since = item.waitsSince
    parked.leaving.add(item)
    this.#leavingBytes += item.bytes
    this.#leavingRecords++
    if (item.row === null) this.#push(mailbox, item)
  }

  /** It goes where others may be, or may be sooner, that come after it. */
  #leaveBefore(mailbox: Mailbox, parked: Parked, item: Item): void {
    parked.barriers.add(item)
    this.#leave(mailbox, parked, item)
  }

  #push(mailbox: Mailbox, item: Item): void {
    const { topicId, partition, group } = mailbox.partition
    const { clock } = this.#options
    this.#options.push(
      new Decided(mailbox, item, {
        kind: 'parked',
        since: Math.round(clock.now() - (clock.monotonic() - item.waitsSince)),
      }),
    )
    item.row = { generation: 0, topicId, partition, replays: 0 }
    item.rowWrites++
    item.retried = false
    this.#options.metrics.parked(group.name)
  }
}

/** The first of its undecided records that holds the watermark: a parked one that is back in memory does not. */
function oldestUnparked({ items, decidedCount, parked }: Mailbox): Item | undefined {
  for (let i = decidedCount; i < items.length; i++) {
    const item = items.at(i)
    if (item?.row === null) return item
  }
  return parked?.arrivals.at(0)
}

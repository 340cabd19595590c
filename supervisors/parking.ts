import type { Clock } from '../core/clock.ts'
import { messageOf } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import type { EngineMetrics } from '../core/metrics.ts'
import type { Ledger, ParkedPage, ParkedPosition, ParkedRow, ParkedTenant } from '../core/postgres/transactions.ts'
import type { Dispatcher } from './dispatcher.ts'
import { type Intake, relievedAt } from './intake.ts'
import { Decided, Item, type Mailbox } from './mailbox.ts'
import type { Mailboxes } from './mailboxes.ts'
import { Parked } from './parked.ts'
import type { Partition } from './partition.ts'
import { nobody, sizeOf } from './router.ts'
import type { States } from './states.ts'

export type ParkingSettings = {
  readonly mailboxMaxRecords: number
  readonly mailboxMaxBytes: number
  /** Parked records of one tenant of a partition, and of all of this daemon; past it, their partitions pause. */
  readonly parkedMaxPerTenant: number
  readonly parkedMaxRecords: number
  /** Read back at once for one tenant, at most. */
  readonly parkedPageRows: number
  /** A tenant that has held its partition's watermark for so many commits is parked. */
  readonly parkAfterCommits: number
  /** So are those that hold it when progress has so many ranges above the watermark. */
  readonly parkAfterRanges: number
  /** And those that have held it for so long on a partition where nothing else is left to commit. */
  readonly parkAfterMs: number
}

export type ParkingOptions = {
  readonly clock: Clock
  readonly log: Log
  readonly metrics: EngineMetrics
  readonly settings: ParkingSettings
  readonly ledger: Ledger
  readonly dispatcher: Dispatcher
  readonly mailboxes: Mailboxes
  readonly intake: Intake
  readonly states: States
  readonly push: (decided: Decided) => void
  readonly trouble: (reason: string | null) => void
  readonly settled: () => void
}

/** Tenants whose parked records are read in one query. */
const tenantsPerQuery = 200
/** Queries under way. */
const maxQueries = 2
/** Bytes of one answer, about. */
const maxPageBytes = 4 * 1024 * 1024
const retryMs = 500
/** Looking for mailboxes to relieve the budget of goes through all of them. */
const relieveEveryMs = 250

/**
 * Moves records of tenants that cannot go on, or that send faster than they are served, to PostgreSQL and back, so that
 * neither memory nor the partition's progress waits for them. Order holds because a mailbox's parts have an order (see
 * `Parked`) and a record is only ever added to the last of them that is not empty.
 */
export class Parking {
  readonly #options: ParkingOptions
  /** Mailboxes whose rows are to be read, by partition, the longest waiting first. */
  readonly #wanted = new Map<Partition, Set<Mailbox>>()
  #queries = 0
  /** The one whose next record was read although there was no room, so that somebody goes on. */
  #extra: Mailbox | null = null
  /** That record is being read. */
  #readingExtra = false
  #failing = false
  #held = false
  /** Parked rows of all our partitions, about. */
  #rows = 0
  /** Of what is on its way to PostgreSQL. */
  #leavingBytes = 0
  #leavingRecords = 0
  #relievedAt = Number.NEGATIVE_INFINITY

  constructor(options: ParkingOptions) {
    this.#options = options
  }

  /** Parked records of all our partitions, about: rows not in memory, and those on their way to PostgreSQL. */
  get rows(): number {
    return this.#rows
  }

  /** Nothing is read back any more: the daemon drains. */
  hold(): void {
    this.#held = true
  }

  /** The tenants of a partition that was taken over whose records an earlier owner parked. */
  inherit(mailbox: Mailbox, { rows, replayed }: ParkedTenant): void {
    const parked = new Parked(null, this.#options.clock.monotonic())
    parked.rows = rows
    parked.replayed = replayed
    this.#rows += rows
    this.#options.mailboxes.wake(mailbox)
    mailbox.parked = parked
    this.consider(mailbox)
  }

  /** Somebody has put dead letters among the mailbox's rows, the first of them at `first`: are they known? */
  noticed(mailbox: Mailbox, first: ParkedPosition): void {
    if (mailbox.closed || mailbox.holds(first)) return
    const parked = mailbox.parked ?? new Parked(null, this.#options.clock.monotonic())
    mailbox.parked = parked
    parked.replayed = true
    if (parked.readTo !== null && !isBefore(parked.readTo, first)) parked.readAgain()
    this.consider(mailbox)
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
    parked.barriers.delete(item)
    if (parked.leaving.delete(item)) {
      this.#rows--
      this.#behind(parked, item)
      this.#leavingBytes -= item.bytes
      this.#leavingRecords--
      this.#options.intake.gave(item.bytes)
    }
    this.consider(mailbox)
  }

  /**
   * Parks what waits in the mailbox. With `running` also what is at its worker and undecided, which stays there: its
   * decision is that of a parked record then. Does not raise the run.
   */
  park(mailbox: Mailbox, running: boolean): void {
    if (mailbox.key === nobody || mailbox.closed || mailbox.partition.phase !== 'owned') return
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
      // Read again from here: what was read ahead of it is forgotten with it.
      const parked = mailbox.parked ?? new Parked(null, this.#options.clock.monotonic())
      parked.readTo = { generation, offset: head.record.offset - 1 }
      mailbox.parked = parked
      parked.turn++
      parked.asking = false
      parked.pageRows = 1
      for (const item of dropped) {
        if (item.row === null || item.rowWrites > 0) {
          this.#leaveBefore(mailbox, parked, item)
        } else {
          this.#behind(parked, item)
          this.#options.intake.gave(item.bytes)
        }
      }
    }
    const { parked } = mailbox
    if (parked !== null) for (const item of parked.takeArrivals()) this.#leave(mailbox, parked, item)
    this.#unfull(mailbox)
    this.consider(mailbox)
  }

  /** All has come again that was not done when the partition was taken over. */
  caughtUp(partition: Partition): void {
    for (const mailbox of partition.mailboxes.values()) if (mailbox.parked !== null) this.consider(mailbox)
  }

  /** Reads rows back where the mailbox can go on and has little left. To be called when either may have become true. */
  consider(mailbox: Mailbox): void {
    const { parked, partition } = mailbox
    if (parked === null || parked.asking || mailbox.closed || this.#held) return
    if (mailbox.stuck || partition.phase !== 'owned' || !partition.caughtUp) return
    if (parked.barriers.size > 0) return
    if (parked.rows <= 0 && !parked.replayed) {
      if (parked.leaving.size === 0) this.#join(mailbox, parked)
      return
    }
    const queued = mailbox.items.length
    if (parked.readTo === null ? queued > 0 : queued > parked.pageRows / 2) return
    parked.asking = true
    const wanted = this.#wanted.get(partition)
    if (wanted) wanted.add(mailbox)
    else this.#wanted.set(partition, new Set([mailbox]))
  }

  /** The head of the mailbox has ended well, or has not: how much to read at once. */
  paced(mailbox: Mailbox, well: boolean): void {
    const { parked } = mailbox
    if (parked !== null)
      parked.pageRows = well ? Math.min(parked.pageRows * 2, this.#options.settings.parkedPageRows) : 1
  }

  /** What of the mailbox was to be read back or added is not ours any more. */
  dropped(mailbox: Mailbox): void {
    const { parked } = mailbox
    if (parked === null) return
    const { intake } = this.#options
    for (const { bytes } of parked.takeArrivals()) intake.gave(bytes)
    for (const { bytes } of parked.leaving) {
      this.#leavingBytes -= bytes
      this.#leavingRecords--
      intake.gave(bytes)
      this.#rows--
    }
    parked.leaving.clear()
    this.#rows -= parked.rows
    mailbox.parked = null
    this.#wanted.get(mailbox.partition)?.delete(mailbox)
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
   * Full mailboxes that have not moved since the last time are parked after all, and so are those that hold the watermark
   * of a partition that has become quiet. Called about once a second.
   */
  look(): void {
    const now = this.#options.clock.monotonic()
    for (const mailbox of this.#options.mailboxes.values()) {
      if (mailbox.full) {
        if (mailbox.stuck || mailbox.committedCount === mailbox.lookedAt) this.#parkIfRoom(mailbox, true)
        mailbox.lookedAt = mailbox.committedCount
      } else if (this.#holdsQuiet(mailbox, now)) this.#parkIfRoom(mailbox, true)
    }
  }

  /** Others have passed the mailbox's oldest record, and no further commit will come and find it a laggard. */
  #holdsQuiet(mailbox: Mailbox, now: number): boolean {
    const { parkAfterMs } = this.#options.settings
    const { uncommitted, progress, advancedAt } = mailbox.partition
    if (uncommitted > 0 || progress.ranges === 0 || now - advancedAt < parkAfterMs) return false
    const oldest = oldestUnparked(mailbox)
    return oldest !== undefined && oldest.record.offset < progress.end && now - oldest.cameAt >= parkAfterMs
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

  /** Called at the end of every event: makes room where memory is short, and reads where there is room. */
  flush(): void {
    const { intake, clock } = this.#options
    if (intake.short && clock.monotonic() - this.#relievedAt >= relieveEveryMs) this.#relieve()
    if (this.#failing && this.#queries === 0) {
      // Whether it works again is seen by the next reading, where there is one.
      this.#failing = false
      this.#options.trouble(null)
    }
    for (const [partition, mailboxes] of this.#wanted) {
      if (this.#queries >= maxQueries) return
      if (mailboxes.size === 0) {
        this.#wanted.delete(partition)
        continue
      }
      if (partition.reading) continue
      const { room, roomRecords } = intake
      if (room > 0 && roomRecords > 0) {
        void this.#read(partition, mailboxes, tenantsPerQuery, Math.min(room, maxPageBytes), roomRecords)
      } else if (
        !this.#readingExtra &&
        (this.#extra === null || this.#extra.closed || this.#extra.items.length === 0)
      ) {
        // What fills the memory may wait for what is parked.
        const [first = null] = mailboxes
        this.#extra = first
        void this.#read(partition, mailboxes, 1, 1, 1)
      }
    }
  }

  /** The item's row is there, and the item is not in memory. */
  #behind(parked: Parked, { row }: Item): void {
    if (row !== null && row.replays > 0) {
      parked.replayed = true
      return
    }
    parked.rows++
    this.#rows++
  }

  /** Whether it has more than this part of what it may have. */
  #isPast({ parked, undecidedCount, bytes }: Mailbox, part: number): boolean {
    const { mailboxMaxRecords, mailboxMaxBytes } = this.#options.settings
    return parked === null
      ? undecidedCount > mailboxMaxRecords * part || bytes > mailboxMaxBytes * part
      : parked.arrivals.length > mailboxMaxRecords * part || parked.arrivalBytes > mailboxMaxBytes * part
  }

  #pastBound(mailbox: Mailbox): void {
    // Behind by much, the partition is no worse off when it waits, and parking costs what catching up could use.
    if ((mailbox.stuck || mailbox.partition.live) && this.#parkIfRoom(mailbox, false)) return
    if (mailbox.full) return
    mailbox.full = true
    mailbox.partition.fullMailboxes++
  }

  #parkIfRoom(mailbox: Mailbox, running: boolean): boolean {
    const { parkedMaxPerTenant, parkedMaxRecords } = this.#options.settings
    const { parked } = mailbox
    const own = parked === null ? 0 : parked.rows + parked.leaving.size
    if (mailbox.key === nobody || own >= parkedMaxPerTenant || this.#rows >= parkedMaxRecords) return false
    this.park(mailbox, running)
    return true
  }

  #unfull(mailbox: Mailbox): void {
    if (!mailbox.full) return
    mailbox.full = false
    mailbox.partition.fullMailboxes--
  }

  /** All before it is about to be back, or must not be added to any more: new records wait in memory. */
  #joining(mailbox: Mailbox, parked: Parked): boolean {
    const { parkedMaxPerTenant, parkedMaxRecords, parkedPageRows } = this.#options.settings
    const behind = parked.rows + parked.leaving.size
    if (parked.arrivals.length > 0 || behind >= parkedMaxPerTenant || this.#rows >= parkedMaxRecords) return true
    if (parked.replayed && parked.more) return false
    return !mailbox.stuck && behind <= parkedPageRows
  }

  #leave(mailbox: Mailbox, parked: Parked, item: Item): void {
    parked.leaving.add(item)
    this.#leavingBytes += item.bytes
    this.#leavingRecords++
    this.#rows++
    if (item.row === null) this.#push(mailbox, item)
  }

  /** It goes where others may be, or may be sooner, that come after it. */
  #leaveBefore(mailbox: Mailbox, parked: Parked, item: Item): void {
    parked.barriers.add(item)
    this.#leave(mailbox, parked, item)
  }

  #push(mailbox: Mailbox, item: Item): void {
    const { topicId, partition, group } = mailbox.partition
    this.#options.push(new Decided(mailbox, item, { kind: 'parked' }))
    item.row = { generation: 0, topicId, partition, replays: 0 }
    item.rowWrites++
    item.retried = false
    this.#options.metrics.parked(group.name)
  }

  /** Everything is back: what came meanwhile follows. */
  #join(mailbox: Mailbox, parked: Parked): void {
    for (const item of parked.takeArrivals()) mailbox.add(item)
    mailbox.parked = null
    this.eased(mailbox)
    if (mailbox.items.length === 0) this.#options.mailboxes.rest(mailbox)
    else this.#options.dispatcher.enqueue(mailbox)
  }

  /** The largest mailboxes that wait are parked until enough is free. */
  #relieve(): void {
    const { mailboxes, intake, clock } = this.#options
    this.#relievedAt = clock.monotonic()
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

  async #read(
    partition: Partition,
    mailboxes: Set<Mailbox>,
    tenants: number,
    bytes: number,
    records: number,
  ): Promise<void> {
    const { ledger, trouble, settled, clock, intake } = this.#options
    const asked: Asked[] = []
    for (const mailbox of mailboxes) {
      if (asked.length >= Math.min(tenants, records)) break
      mailboxes.delete(mailbox)
      const { parked } = mailbox
      if (parked === null || !parked.asking) continue
      asked.push({ mailbox, parked, turn: parked.turn })
    }
    if (asked.length === 0) return
    partition.reading = true
    const extra = asked.some(({ mailbox }) => mailbox === this.#extra)
    if (extra) this.#readingExtra = true
    this.#queries++
    const most = Math.floor(records / asked.length)
    const wanted = asked.map(({ mailbox: { tenant }, parked }) => ({
      tenant,
      after: parked.readTo,
      rows: Math.min(parked.pageRows, most),
    }))
    const expected = wanted.reduce((sum, { rows }) => sum + rows, 0)
    intake.reserve(bytes, expected)
    const done = () => {
      intake.reserve(-bytes, -expected)
      partition.reading = false
      if (extra) this.#readingExtra = false
      this.#queries--
    }
    try {
      const page = await ledger.readParked(partition.ref, wanted, bytes)
      done()
      this.#readBack(asked, page, most)
      settled()
    } catch (thrown) {
      this.#failing = true
      trouble(messageOf(thrown))
      clock.after(retryMs, () => {
        done()
        for (const { mailbox, parked, turn } of asked) {
          if (mailbox.parked !== parked || parked.turn !== turn) continue
          parked.asking = false
          this.consider(mailbox)
        }
        settled()
      })
    }
  }

  #readBack(asked: readonly Asked[], { rows, cut }: ParkedPage, most: number): void {
    const byTenant = Map.groupBy(rows, ({ tenant }) => tenant)
    for (const { mailbox, parked, turn } of asked) {
      // Parked again, or closed, meanwhile: it is read again.
      if (mailbox.parked !== parked || parked.turn !== turn) continue
      parked.asking = false
      if (mailbox.closed || mailbox.partition.phase !== 'owned') continue
      const own = byTenant.get(mailbox.tenant) ?? []
      parked.more = cut || own.length >= Math.min(parked.pageRows, most)
      if (!parked.inOrder(own)) {
        parked.replayed = true
        parked.readAgain()
        this.consider(mailbox)
        continue
      }
      for (const row of own) this.#addBack(mailbox, parked, row)
      if (own.length === 0 && !cut) this.#foundNone(mailbox, parked)
      else if (mailbox.waiting === 'state') this.#options.states.request(mailbox)
      this.#options.dispatcher.enqueue(mailbox)
      this.consider(mailbox)
    }
  }

  #addBack(mailbox: Mailbox, parked: Parked, { at, record, attempts, firstFailedAt, knownSince }: ParkedRow): void {
    const item = new Item(record, record.offset, sizeOf(record), this.#options.clock.monotonic())
    item.detached = true
    item.row = at
    item.attempts = attempts
    item.firstFailedAt = firstFailedAt
    item.knownSince = knownSince
    this.#options.intake.took(item.bytes)
    mailbox.add(item)
    if (at.replays === 0) {
      parked.rows--
      this.#rows--
    }
    parked.readTo = { generation: at.generation, offset: record.offset }
  }

  /** There are fewer rows than we knew of. Those before where we read, if any, are an operator's; then there are none. */
  #foundNone(mailbox: Mailbox, parked: Parked): void {
    if (parked.readTo !== null) {
      parked.readTo = null
      return
    }
    if (mailbox.items.length > 0) return
    if (parked.replayed) {
      // The others are counted; some may have been written since this was asked.
      parked.replayed = false
      return
    }
    this.#rows -= parked.rows
    parked.rows = 0
  }
}

/** Whose rows are being read. */
type Asked = { readonly mailbox: Mailbox; readonly parked: Parked; readonly turn: number }

/** The first of its undecided records that holds the watermark: a parked one that is back in memory does not. */
function oldestUnparked({ items, decidedCount, parked }: Mailbox): Item | undefined {
  for (let i = decidedCount; i < items.length; i++) {
    const item = items.at(i)
    if (item?.row === null) return item
  }
  return parked?.arrivals.at(0)
}

function isBefore(a: ParkedPosition, b: ParkedPosition): boolean {
  return a.generation < b.generation || (a.generation === b.generation && a.offset < b.offset)
}

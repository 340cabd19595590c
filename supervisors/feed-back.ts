import type { Clock } from '../core/clock.ts'
import { messageOf } from '../core/errors.ts'
import type { Ledger, ParkedPage, ParkedRow, ParkedTenant } from '../core/postgres/ownership.ts'
import type { ParkedPosition } from '../core/postgres/transactions.ts'
import type { Dispatcher } from './dispatcher.ts'
import type { Intake } from './intake.ts'
import { Item } from './item.ts'
import type { Mailbox } from './mailbox.ts'
import type { Mailboxes } from './mailboxes.ts'
import { Parked } from './parked.ts'
import type { Partition } from './partition.ts'
import { sizeOf } from './route.ts'
import type { States } from './states.ts'

export type FeedBackSettings = {
  /** Read back at once for one tenant, at most. */
  readonly parkedPageRows: number
}

export type FeedBackOptions = {
  readonly clock: Clock
  readonly settings: FeedBackSettings
  readonly ledger: Ledger
  readonly dispatcher: Dispatcher
  readonly mailboxes: Mailboxes
  readonly intake: Intake
  readonly states: States
  /** All of the mailbox is in its queue again. */
  readonly joined: (mailbox: Mailbox) => void
  readonly trouble: (reason: string | null) => void
  readonly settled: () => void
}

/** Tenants whose parked records are read in one query. */
const tenantsPerQuery = 200
/** Queries under way, at most. */
const maxQueries = 2
/** Bytes of one answer, about. */
const maxPageBytes = 4 * 1024 * 1024
const retryMs = 500

/**
 * Reads parked records back into the queues of their mailboxes, oldest first: when a mailbox can go on and has little
 * left, and there is room. Nothing is read before all is in PostgreSQL that may come before it: what the partition's last
 * owner left undone, and what is on its way there (see `Parked`).
 */
export class FeedBack {
  readonly #options: FeedBackOptions
  /** Mailboxes whose rows are to be read, by partition, the longest waiting first: both the partitions and each one's. */
  readonly #wanted = new Map<Partition, Set<Mailbox>>()
  #rows = 0
  #queries = 0
  /** The one whose next record was read although there was no room, so that somebody goes on. */
  #extra: Mailbox | null = null
  /** That record is being read. */
  #readingExtra = false
  #failing = false
  #held = false

  constructor(options: FeedBackOptions) {
    this.#options = options
  }

  /** Rows of all our partitions that are not in memory, about. */
  get rows(): number {
    return this.#rows
  }

  /** Queries under way. */
  get queries(): number {
    return this.#queries
  }

  /** Nothing is read any more: the daemon drains. */
  hold(): void {
    this.#held = true
  }

  /** The tenants of a partition that was taken over whose records an earlier owner parked. */
  inherit(mailbox: Mailbox, { rows, replayed, since }: ParkedTenant): void {
    const parked = new Parked(null, this.#ago(since))
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
    if (parked.readTo !== null && !isBefore(parked.readTo, first)) parked.readAgain(null)
    this.consider(mailbox)
  }

  /** The item's row is there, and the item is not in memory. */
  behind(parked: Parked, { row }: Item): void {
    if (row !== null && row.replays > 0) {
      parked.replayed = true
      return
    }
    parked.rows++
    this.#rows++
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

  /** What of the mailbox was to be read is not ours any more. */
  dropped(mailbox: Mailbox, parked: Parked): void {
    this.#rows -= parked.rows
    this.#wanted.get(mailbox.partition)?.delete(mailbox)
  }

  /** Called at the end of every event: reads where there is room. */
  flush(): void {
    const { intake } = this.#options
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
        this.#last(partition, mailboxes)
        void this.#read(partition, mailboxes, tenantsPerQuery, Math.min(room, maxPageBytes), roomRecords)
      } else if (!this.#holdsExtra) {
        // What fills the memory may wait for what is parked.
        const [first = null] = mailboxes
        this.#extra = first
        this.#last(partition, mailboxes)
        void this.#read(partition, mailboxes, 1, 1, 1)
      }
    }
  }

  /** Whether what was read although there was no room is in memory, be it on its way back to PostgreSQL. */
  get #holdsExtra(): boolean {
    if (this.#readingExtra) return true
    if (this.#extra === null || this.#extra.closed) return false
    const { items, parked } = this.#extra
    return items.length > 0 || (parked !== null && parked.leaving.size > 0)
  }

  /** It has its turn; the others come before its next. */
  #last(partition: Partition, mailboxes: Set<Mailbox>): void {
    this.#wanted.delete(partition)
    this.#wanted.set(partition, mailboxes)
  }

  /** Everything is back: what came meanwhile follows. */
  #join(mailbox: Mailbox, parked: Parked): void {
    for (const item of parked.takeArrivals()) mailbox.add(item)
    mailbox.parked = null
    this.#options.joined(mailbox)
    if (mailbox.items.length === 0) this.#options.mailboxes.rest(mailbox)
    else this.#options.dispatcher.enqueue(mailbox)
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
    let page: ParkedPage
    try {
      page = await ledger.readParked(partition.ref, wanted, bytes)
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
      return
    }
    done()
    this.#readBack(asked, page, most)
    settled()
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
        parked.readAgain(null)
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

  #addBack(mailbox: Mailbox, parked: Parked, row: ParkedRow): void {
    const { at, record, attempts, firstFailedAt, knownSince } = row
    const item = new Item(record, record.offset, sizeOf(record), this.#options.clock.monotonic())
    item.detached = true
    item.row = at
    item.attempts = attempts
    item.firstFailedAt = firstFailedAt
    item.knownSince = knownSince
    item.waitsSince = this.#ago(row.since)
    parked.since = item.waitsSince
    this.#options.intake.took(item.bytes)
    mailbox.add(item)
    if (at.replays === 0) {
      parked.rows--
      this.#rows--
    }
    parked.readTo = { generation: at.generation, offset: record.offset }
  }

  /** A time of day that has been, by monotonic time. */
  #ago(time: number): number {
    const { clock } = this.#options
    return clock.monotonic() - Math.max(0, clock.now() - time)
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

function isBefore(a: ParkedPosition, b: ParkedPosition): boolean {
  return a.generation < b.generation || (a.generation === b.generation && a.offset < b.offset)
}

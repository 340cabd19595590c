import { Fifo } from '../core/fifo.ts'
import type { ParkedRow } from '../core/postgres/ownership.ts'
import type { ParkedPosition } from '../core/postgres/transactions.ts'
import type { Item } from './item.ts'

/**
 * What of a mailbox is not in its queue. In the order of the log: the queue, then the rows in PostgreSQL, then what is on
 * its way there, then arrivals. Gone when everything is back in the queue.
 */
export class Parked {
  /** Rows in PostgreSQL that are not in memory, as far as is known: only reading says that there are none. */
  rows = 0
  /** There may be dead letters that somebody has brought back, which nobody counts: only reading from the first tells. */
  replayed = false
  /** Those of the dead letters that were there, all of them, when it was last read from the first. */
  readonly #batches = new Set<number>()
  /** The last reading may have left some. */
  more = false
  /** Their rows are on the way to PostgreSQL; kept in memory until those are there. */
  readonly leaving = new Set<Item>()
  /** Of these, the ones that have their place before others: nothing is read until they are there, too. */
  readonly barriers = new Set<Item>()
  /** What came when everything before it was about to be back. */
  readonly arrivals = new Fifo<Item>()
  arrivalBytes = 0
  /** Monotonic time at which the first of its rows came, or one that was before it. */
  since: number
  /** Rows up to here are back in the queue or done; null: read from the first. */
  readTo: ParkedPosition | null
  /** Rows to read at once: few while the first of them fails. */
  pageRows = 1
  /** Waits for a reading, or is being read. */
  asking = false
  /** Raised when what is in the queue was forgotten, so that a reading under way is not heard. */
  turn = 0

  constructor(readTo: ParkedPosition | null, since: number) {
    this.readTo = readTo
    this.since = since
  }

  /**
   * Notes of which batches these rows are. False where one of them is new and not read from the first: then the batch has
   * rows before these, perhaps, which must come first.
   */
  inOrder(rows: readonly ParkedRow[]): boolean {
    const known = this.#batches.size
    for (const { at } of rows) if (at.replays > 0) this.#batches.add(at.batch ?? 0)
    return this.readTo === null || this.#batches.size === known
  }

  /** Reads again from there, or from the first row, once what is in the queue is done; a reading under way is not heard. */
  readAgain(from: ParkedPosition | null): void {
    this.readTo = from
    this.turn++
    this.asking = false
  }

  addArrival(item: Item): void {
    this.arrivals.push(item)
    this.arrivalBytes += item.bytes
  }

  /** All arrivals, which are none then. */
  takeArrivals(): Item[] {
    this.arrivalBytes = 0
    return this.arrivals.truncate(0)
  }
}

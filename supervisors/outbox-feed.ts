import type { Inherited, OutboxPage, OutboxRow } from '../core/postgres/ownership.ts'
import type { OutboxPosition, PartitionRef } from '../core/postgres/transactions.ts'
import type { Partition } from './partition.ts'

/**
 * How far memory has a partition's outbox, its own or one that it inherits. What a last owner left, and what is committed
 * while there is no room, is in the table alone: the feed is behind. What is committed while it is behind stays in the
 * table, too, and is read in its turn, so that nothing overtakes.
 */
export class OutboxFeed {
  readonly partition: Partition
  /** Null: the partition's own. */
  readonly inherited: Inherited | null
  /** Of an inherited one: out up to here, and not yet deleted. */
  published: OutboxPosition | null = null
  deleting = false
  /** The table may have rows after `last` that memory has not. */
  behind = true
  /** How many, as far as is known. */
  unread = 0
  /** The last row that memory had. */
  last: OutboxPosition | null = null
  /** Committed while a page is on its way, which may have them or not. */
  #meanwhile: OutboxRow[] | null = null

  constructor(partition: Partition, inherited: Inherited | null) {
    this.partition = partition
    this.inherited = inherited
  }

  get ref(): PartitionRef {
    return this.inherited?.ref ?? this.partition.ref
  }

  /** These rows have been committed. Returns those that go to memory; without `room` none do. */
  committed(rows: readonly OutboxRow[], room: boolean): readonly OutboxRow[] {
    if (!this.behind && room) return this.#take(rows)
    this.behind = true
    this.unread += rows.length
    // Not spread into one call: a commit may have more than the stack has room for.
    for (const row of rows) this.#meanwhile?.push(row)
    return []
  }

  /** A page is asked for. */
  asked(): void {
    this.#meanwhile = []
  }

  /** It came: returns the rows that go to memory. */
  read(page: OutboxPage): readonly OutboxRow[] {
    const taken = this.#take(page.rows)
    const late = this.#meanwhile ?? []
    this.#meanwhile = null
    if (page.more > 0) {
      this.unread = page.more + late.length
      return taken
    }
    this.behind = false
    this.unread = 0
    return [...taken, ...this.#take(late)]
  }

  /** It did not come. What was committed meanwhile is in the table, where the next one will find it. */
  failed(): void {
    this.#meanwhile = null
  }

  /** Without rows that memory had already. */
  #take(rows: readonly OutboxRow[]): readonly OutboxRow[] {
    const { last } = this
    const fresh = last === null ? rows : rows.filter(({ position }) => isAfter(position, last))
    this.last = fresh.at(-1)?.position ?? last
    return fresh
  }
}

export function isAfter(a: OutboxPosition, b: OutboxPosition): boolean {
  return a.seq > b.seq || (a.seq === b.seq && a.index > b.index)
}

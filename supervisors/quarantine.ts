import type { Mailbox } from './mailbox.ts'
import type { Partition } from './partition.ts'

/** A mailbox that runs on the extra thread. */
type Isolated = {
  /** It may go when so many of its records have ended: those before the suspect, and that. */
  left: number
  /** The record that ended the thread last, by itself, and how often in a row. */
  crashed: number
  crashes: number
  /** One of its records was given up on: it may go when one has ended well. */
  convicted: boolean
}

/** So often may a record end the thread that runs nothing else; then it is given up on. */
export const crashLimit = 3

/**
 * The suspects: mailboxes whose record was executing when a thread was lost. They run on the extra thread, one record at
 * a time, so that the next loss has one culprit, and nobody else's work goes with it. Kept by partition and key, as a
 * mailbox that is empty when its thread is lost is closed, and its tenant is the same when it comes again.
 */
export class Quarantine {
  readonly #partitions = new Map<Partition, Map<string, Isolated>>()
  /** Partitions of which everything is suspect. */
  readonly #whole = new Set<Partition>()

  /** Whether the mailbox belongs on the extra thread. */
  holds(mailbox: Mailbox): boolean {
    return this.#whole.has(mailbox.partition) || (this.#partitions.size > 0 && this.#find(mailbox) !== undefined)
  }

  /** All mailboxes of the partition, those that are yet to come included. */
  isolateAll(partition: Partition): void {
    this.#whole.add(partition)
  }

  /** Those that are suspects by themselves remain. */
  freeAll(partition: Partition): void {
    this.#whole.delete(partition)
  }

  /** Its record at `offset` was executing, perhaps among others, when a thread was lost. */
  isolate(mailbox: Mailbox, offset: number): void {
    const left = undecidedUpTo(mailbox, offset)
    const known = this.#find(mailbox)
    if (known === undefined) this.#isolate(mailbox, left)
    else known.left = Math.max(known.left, left)
  }

  #isolate(mailbox: Mailbox, left: number): Isolated {
    const isolated = { left, crashed: -1, crashes: 0, convicted: false }
    let mailboxes = this.#partitions.get(mailbox.partition)
    if (mailboxes === undefined) {
      mailboxes = new Map()
      this.#partitions.set(mailbox.partition, mailboxes)
    }
    mailboxes.set(mailbox.key, isolated)
    return isolated
  }

  /** The extra thread was lost while it ran this record and nothing else. Returns whether the record is to be given up on. */
  crashed(mailbox: Mailbox, offset: number): boolean {
    const whole = this.#whole.has(mailbox.partition)
    const isolated = this.#find(mailbox) ?? (whole ? this.#isolate(mailbox, 1) : undefined)
    if (isolated === undefined) return false
    isolated.crashes = isolated.crashed === offset ? isolated.crashes + 1 : 1
    isolated.crashed = offset
    if (isolated.crashes < crashLimit) return false
    isolated.convicted = true
    return true
  }

  /** A record of the mailbox has ended on the extra thread. Returns whether the mailbox may go with that. */
  ended(mailbox: Mailbox, well: boolean): boolean {
    const whole = this.#whole.has(mailbox.partition)
    const isolated = this.#find(mailbox)
    if (isolated === undefined) return !whole
    isolated.left--
    const cleared = isolated.convicted ? well : isolated.left <= 0
    if (cleared) this.#remove(mailbox)
    return cleared && !whole
  }

  /** The partition is not ours any more. */
  drop(partition: Partition): void {
    this.#partitions.delete(partition)
    this.#whole.delete(partition)
  }

  #find({ partition, key }: Mailbox): Isolated | undefined {
    return this.#partitions.get(partition)?.get(key)
  }

  #remove({ partition, key }: Mailbox): void {
    const mailboxes = this.#partitions.get(partition)
    mailboxes?.delete(key)
    if (mailboxes?.size === 0) this.#partitions.delete(partition)
  }
}

/** Records at the worker that must be decided for the one at `offset` to be among them; the oldest where it is not known. */
function undecidedUpTo({ items, decidedCount, inFlightCount }: Mailbox, offset: number): number {
  for (let i = 0; i < inFlightCount; i++) if (items.at(decidedCount + i)?.record.offset === offset) return i + 1
  return 1
}

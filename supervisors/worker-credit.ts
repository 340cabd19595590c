import type { Item } from './item.ts'
import { firstWindow, type Mailbox } from './mailbox.ts'

/** Whoever has been at its record for so long waits for something outside, or does nothing at all. */
export const slowAfterMs = 200

/** Records that may be at one worker, with what is set aside. */
export function mostAtWorker(creditRecords: number): number {
  return 2 * creditRecords
}

/**
 * What may be at one worker undecided. A mailbox that is slow takes no credit of the others': what it has there is set
 * aside and does not count, until it answers, nor does it get anything more. So much may be set aside as there is credit:
 * what a worker has in its memory stays bounded.
 */
export class WorkerCredit {
  /** At the worker and undecided, with what is set aside. */
  records = 0
  bytes = 0
  #recordsAside = 0
  #bytesAside = 0
  /** How often mailboxes were found to hang. */
  #hangs = 0
  readonly #maxRecords: number
  readonly #maxBytes: number

  constructor(maxRecords: number, maxBytes: number) {
    this.#maxRecords = maxRecords
    this.#maxBytes = maxBytes
  }

  get isLeft(): boolean {
    return this.records - this.#recordsAside < this.#maxRecords && this.bytes - this.#bytesAside < this.#maxBytes
  }

  /**
   * What the mailbox may have there. When others have come to hang, it may be the next: it has to have something answered
   * again before it gets more than a little.
   */
  windowOf(mailbox: Mailbox): number {
    if (mailbox.hangs !== this.#hangs) {
      mailbox.hangs = this.#hangs
      mailbox.window = firstWindow
    }
    return mailbox.aside === null ? mailbox.window : 0
  }

  took({ bytes }: Item): void {
    this.records++
    this.bytes += bytes
  }

  /** Before the mailbox has `item` as decided. */
  answered(mailbox: Mailbox, { bytes }: Item): void {
    this.#counts(mailbox)
    this.records--
    this.bytes -= bytes
  }

  /** Before the mailbox's run is raised. */
  withdrawn(mailbox: Mailbox): void {
    this.#counts(mailbox)
    this.records -= mailbox.inFlightCount
    this.bytes -= mailbox.inFlightBytes
  }

  /** The worker has gone; `mailboxes` are all that were open there. */
  lost(mailboxes: Iterable<Mailbox>): void {
    for (const mailbox of mailboxes) mailbox.aside = null
    this.records = 0
    this.bytes = 0
    this.#recordsAside = 0
    this.#bytesAside = 0
  }

  /** Sets aside what slow ones of these have, as far as that may be. Whether there was any. */
  setAside(mailboxes: Iterable<Mailbox>, now: number): boolean {
    let found = false
    for (const mailbox of mailboxes) {
      const { inFlightCount: records, inFlightBytes: bytes, aside } = mailbox
      if (records === 0 || aside !== null || now - mailbox.runningSince < slowAfterMs) continue
      if (this.#recordsAside + records > this.#maxRecords || this.#bytesAside + bytes > this.#maxBytes) continue
      mailbox.aside = { records, bytes }
      found = true
      this.#recordsAside += records
      this.#bytesAside += bytes
    }
    if (found) this.#hangs++
    return found
  }

  #counts(mailbox: Mailbox): void {
    const { aside } = mailbox
    if (aside === null) return
    this.#recordsAside -= aside.records
    this.#bytesAside -= aside.bytes
    mailbox.aside = null
  }
}

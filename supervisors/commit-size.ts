/**
 * How many records a commit takes. Messages with statements of their own may take milliseconds each: a commit that would
 * not be answered in time halves the next ones, and quick ones grow again.
 */
export class CommitSize {
  readonly #most: number
  readonly #targetMs: number
  #records: number

  /** `targetMs` is what a commit should take at most. */
  constructor(most: number, targetMs: number) {
    this.#most = most
    this.#targetMs = targetMs
    this.#records = most
  }

  get records(): number {
    return this.#records
  }

  /** A commit of so many records took so long. */
  took(records: number, elapsedMs: number): void {
    if (elapsedMs > this.#targetMs) this.notMore(records >>> 1)
    else if (records >= this.#records && elapsedMs < this.#targetMs / 4)
      this.#records = Math.min(this.#most, this.#records * 2)
  }

  /** A commit of more than so many records did not end well. */
  notMore(records: number): void {
    this.#records = Math.max(1, Math.min(this.#records, records))
  }
}

import type { Failure } from '../core/effects.ts'
import type { CommitSize } from './commit-size.ts'
import type { Decided } from './item.ts'
import type { Mailbox } from './mailbox.ts'

/** A decision that makes every commit fail in which it stands. */
export type Suspect = {
  readonly mailbox: Mailbox
  readonly decided: Decided
  readonly failure: Failure
  /** Who refused it. A worker knows of tables what it was told; the server knows. */
  readonly by: 'server' | 'worker'
  /**
   * `no`: it failed by itself. `limited`: a lock, a time limit or the like, which may pass; it is tried again for a
   * while. `unlimited`: it cannot be told from a database in trouble, so it never becomes a failure.
   */
  readonly held: 'no' | 'limited' | 'unlimited'
}

/** What a bisection tells of. */
export interface BisectionHost {
  /** `decided` alone makes a commit fail: takes it and its successors back and keeps the mailbox waiting for `judge`. */
  suspect(decided: Decided): void
  /** All suspects of a bisected commit are known. */
  judge(suspects: readonly Suspect[]): void
}

/** Part of a commit that must be sent again; `doubted` when the whole failed too often, so that it may be to blame. */
type Segment = { readonly batch: readonly Decided[]; readonly doubted: boolean }

/** What must be sent again of a lane's commits that failed: whole, or halved until what fails alone is known. */
export class Bisection {
  readonly #size: CommitSize
  readonly #host: BisectionHost
  /** The next one first. */
  #segments: Segment[] = []
  #suspects: Suspect[] = []
  /** What was taken last is part of a commit that failed too often. */
  #doubted = false
  #setbacks = 0

  constructor(size: CommitSize, host: BisectionHost) {
    this.#size = size
    this.#host = host
  }

  /** Something must be sent again. */
  get pending(): boolean {
    return this.#segments.length > 0
  }

  /** Commits in a row that failed, for reasons that may lie in what they hold. */
  get setbacks(): number {
    return this.#setbacks
  }

  /** What goes next of it, as far as it `stands`; empty when that is nothing, and then the suspects are judged. */
  next(stands: (decided: Decided) => boolean): Decided[] {
    for (let segment = this.#segments.shift(); segment !== undefined; segment = this.#segments.shift()) {
      const rest = segment.batch.filter(stands)
      this.#doubted = segment.doubted
      if (rest.length > 0) return rest
    }
    this.#doubted = false
    if (this.#suspects.length > 0) {
      const suspects = this.#suspects
      this.#suspects = []
      this.#host.judge(suspects)
    }
    return []
  }

  committed(): void {
    this.#setbacks = 0
  }

  /** All of it goes next, in one commit. */
  again(batch: readonly Decided[]): void {
    this.#segments.unshift({ batch, doubted: this.#doubted })
  }

  /**
   * The batch failed for a reason that may pass by itself or may lie in what it holds: after some attempts its halves go
   * one by one, so that others commit and what fails alone is known. `alone` says what such a one is; null: not its fault.
   */
  setback(batch: readonly Decided[], failure: Failure, attempts: number, alone: Suspect['held'] | null): void {
    this.#setbacks++
    const enough = this.#doubted || this.#setbacks >= attempts
    if (enough && batch.length > 1) {
      this.#size.notMore(batch.length >>> 1)
      this.halve(batch, failure, 'unlimited', true)
    } else if (enough && batch.length === 1 && alone !== null) {
      this.halve(batch, failure, alone, true)
    } else {
      this.again(batch)
    }
  }

  /** In offset order, left first: others commit on the way, and what fails alone is the culprit. */
  halve(batch: readonly Decided[], failure: Failure, held: Suspect['held'], doubted = false): void {
    const [only] = batch
    if (batch.length === 1 && (only?.result.kind === 'retried' || only?.result.kind === 'parked')) {
      // It has no effects: nothing of it can be to blame.
      this.#segments.unshift({ batch, doubted })
    } else if (batch.length > 1) {
      const middle = batch.length >>> 1
      this.#segments.unshift({ batch: batch.slice(0, middle), doubted }, { batch: batch.slice(middle), doubted })
    } else if (only) {
      only.mailbox.partition.uncommitted--
      this.#suspects.push({ mailbox: only.mailbox, decided: only, failure, by: 'server', held })
      this.#host.suspect(only)
    }
  }
}

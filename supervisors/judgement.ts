import { backOffMs, type Clock } from '../core/clock.ts'
import type { Failure } from '../core/effects.ts'
import { concernsAll, shownOf, stateElsewhereState, undefinedTable } from '../core/postgres/sqlstate.ts'
import type { Failed } from '../core/workers.ts'
import type { Suspect } from './bisection.ts'
import { Decided, type Item } from './item.ts'
import type { Mailbox } from './mailbox.ts'
import { SharedFailures, type SharedFailuresSettings } from './shared-failures.ts'

export type JudgementSettings = SharedFailuresSettings & {
  /** A tenant held back by a lock or a time limit is tried again after this. */
  readonly heldRetryMs: number
  /** Held back for longer than this, it is a failed attempt. */
  readonly heldLimitMs: number
  /** What nobody is to blame for is tried again after this. */
  readonly systemicRetryMs: number
}

export type JudgementOptions = {
  readonly clock: Clock
  readonly settings: JudgementSettings
  readonly mailboxes: () => Iterable<Mailbox>
  /** Ends the mailbox's run; of what it decided the first `keepDecided` stand. */
  readonly withdraw: (mailbox: Mailbox, keepDecided: number) => void
  /** The mailbox goes on with a new run, now or after a time. */
  readonly resume: (mailbox: Mailbox) => void
  readonly resumeAfter: (mailbox: Mailbox, ms: number) => void
  /** The attempt at the next record has failed, and is repeated after a while. False: there are no attempts left. */
  readonly retry: (mailbox: Mailbox, item: Item, failed: Failed) => boolean
  /** The failure is the next record's outcome. */
  readonly fail: (mailbox: Mailbox, failed: Failed) => void
  /** The tenant's state belongs to another partition. */
  readonly block: (mailbox: Mailbox) => void
  /** The mailbox has come to wait. */
  readonly stuck: (mailbox: Mailbox) => void
  readonly trouble: (reason: string | null) => void
  readonly tables: TableWatch
}

/** Looks at the tables again, as they may not be what workers and lanes were told. */
export interface TableWatch {
  lookAgain(): void
  /** Monotonic time at which the last look began that workers and lanes have heard of. */
  readonly lookedAt: number
  /** When they heard of it. */
  readonly toldAt: number
}

/** Longest pause between attempts of a mailbox that is held back. */
const maxHeldRetryMs = 30_000

/** After this the tables have been looked at, as a rule: a tenant's many bad values wait so long each. */
const lookMs = 100

/**
 * Whose failure it is that a commit failed, once it was halved until single decisions failed alone: the tenant's, then it
 * is its message's outcome; a lock's or a time limit's, which holds the tenant back; or nobody's, then all try again.
 */
export class Judgement {
  readonly #options: JudgementOptions
  readonly #shared: SharedFailures

  constructor(options: JudgementOptions) {
    this.#options = options
    this.#shared = new SharedFailures(options.settings, options.mailboxes)
  }

  /** Takes back a decision that fails its commit, and all after it; the mailbox waits for the judgement. */
  suspect(decided: Decided): void {
    const { mailbox } = decided
    const place = mailbox.placeOf(decided)
    if (mailbox.closed || place < 0) return
    this.#options.withdraw(mailbox, place)
    mailbox.waiting = 'held'
    mailbox.waitingUntil = 0
    mailbox.waitingReason = 'its effects failed to commit'
  }

  /** All suspects of a commit are known. */
  judge(suspects: readonly Suspect[]): void {
    const { clock, resume, retry, block } = this.#options
    const now = clock.monotonic()
    for (const suspect of suspects) this.#shared.note(suspect, now)
    for (const suspect of suspects) {
      const { mailbox, failure } = suspect
      if (mailbox.closed) continue
      // Dropped meanwhile, by a drain or a revoke, or parked: what is next now is another record.
      if (mailbox.next !== suspect.decided.item) continue
      const shared = this.#shared.shared(suspect, now)
      if (failure.sqlstate === stateElsewhereState) block(mailbox)
      else if (shared !== null) this.#ail(mailbox, `${shownOf(failure)}: ${shared}`)
      else if (suspect.held === 'no') this.#convict(suspect)
      else if (!this.#overdue(suspect)) this.#holdBack(mailbox, shownOf(failure))
      else if (!retry(mailbox, suspect.decided.item, failedBy(suspect))) this.#convict(suspect)
    }
    for (const { mailbox } of suspects)
      if (!mailbox.closed && mailbox.waiting === 'held' && mailbox.waitingUntil === 0) resume(mailbox)
  }

  /**
   * A worker refuses the next record: it knows no such table, column or constraint, or none whose type takes the value; or
   * what the handler read has it not. What workers were told of the tables may be out of date, so they are looked at
   * again, and then the record runs again. What is refused all the same is the message's own fault (false), unless several
   * tenants are refused so and nobody has had the like processed since.
   */
  misses(mailbox: Mailbox, item: Item, failed: Failed): boolean {
    const { clock, settings, tables, withdraw } = this.#options
    const { failure } = failed
    const now = clock.monotonic()
    const by = failure.reason === 'effect' ? 'worker' : 'server'
    const suspect: Suspect = { mailbox, decided: new Decided(mailbox, item, failed), failure, by, held: 'no' }
    let shared: string | null = null
    const ofAll = concernsAll(failure.sqlstate ?? '')
    if (ofAll) {
      this.#shared.note(suspect, now)
      shared = this.#shared.shared(suspect, now)
    }
    const shown = shownMiss(failure)
    const { held, lastFailure } = mailbox
    const before = lastFailure?.offset === item.record.offset && lastFailure.shown === shown ? held : null
    // The look began after it was refused, and ended before it ran again.
    const seen = before !== null && tables.lookedAt > before.since && mailbox.runningSince > tables.toldAt
    if (shared === null && seen) {
      this.released(mailbox)
      mailbox.held = null
      return false
    }
    withdraw(mailbox, mailbox.decidedCount)
    mailbox.waiting = 'held'
    if (shared !== null) {
      this.#ail(mailbox, `${shown}: ${shared}`)
    } else {
      tables.lookAgain()
      // It may have been held for something else before.
      mailbox.held = before
      // Time for others to run into the same.
      this.#holdBack(mailbox, shown, ofAll ? settings.systemicRetryMs : lookMs)
    }
    return true
  }

  /** A message of a mailbox was processed. */
  processed(decided: Decided, now: number): void {
    if (!this.#shared.any) return
    this.#shared.processed(decided.mailbox, decided, now)
    if (!this.#shared.any) this.#options.trouble(null)
  }

  /** It is closed, blocked, or has failed by itself. */
  released(mailbox: Mailbox): void {
    if (this.#shared.released(mailbox)) this.#options.trouble(null)
  }

  #ail(mailbox: Mailbox, reason: string): void {
    const { trouble, tables, settings } = this.#options
    trouble(reason)
    tables.lookAgain()
    this.#hold(mailbox, reason, settings.systemicRetryMs)
  }

  #overdue({ mailbox, held }: Suspect): boolean {
    const { clock, settings } = this.#options
    const now = clock.monotonic()
    return held === 'limited' && now - (mailbox.held?.since ?? now) >= settings.heldLimitMs
  }

  #holdBack(mailbox: Mailbox, shown: string, first = this.#options.settings.heldRetryMs): void {
    const { clock } = this.#options
    const held = (mailbox.held ??= { since: clock.monotonic(), times: 0 })
    const backOff = { first, most: maxHeldRetryMs }
    this.#hold(mailbox, shown, backOffMs(++held.times, backOff))
  }

  #hold(mailbox: Mailbox, reason: string, ms: number): void {
    const { resumeAfter, stuck } = this.#options
    mailbox.waitingReason = reason
    mailbox.lastFailure = { offset: mailbox.next?.record.offset ?? -1, shown: reason }
    resumeAfter(mailbox, ms)
    stuck(mailbox)
  }

  /** It fails by itself: its failure is its outcome. */
  #convict(suspect: Suspect): void {
    const { mailbox } = suspect
    const { resume, fail } = this.#options
    this.released(mailbox)
    mailbox.held = null
    fail(mailbox, failedBy(suspect))
    resume(mailbox)
  }
}

/** The suspect's failure as its message's outcome. */
function failedBy({ decided: { result }, failure }: Suspect): Failed {
  const known = result.kind === 'done' || result.kind === 'failed' ? result : null
  const { key = null, type = '', traceId = '', messageId = '' } = known ?? {}
  return { kind: 'failed', failure, key, type, traceId, messageId }
}

/** A row that was spread from a payload has its names for columns: they are nobody's to show. */
function shownMiss(failure: Failure): string {
  return failure.sqlstate === undefinedTable
    ? shownOf(failure)
    : `${failure.reason}: SQLSTATE ${failure.sqlstate ?? ''}`
}

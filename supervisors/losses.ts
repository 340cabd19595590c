import { failureOf } from '../actors/failure.ts'
import type { Failure } from '../core/effects.ts'
import { TenantryError } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import type { Decision, Executing, Failed, Identity, Workers } from '../core/workers.ts'
import type { Dispatcher } from './dispatcher.ts'
import type { LoneRuns } from './lone-runs.ts'
import type { Mailbox } from './mailbox.ts'
import type { Mailboxes } from './mailboxes.ts'
import type { Outcomes } from './outcomes.ts'
import { crashLimit, type Quarantine } from './quarantine.ts'

export type LossesOptions = {
  readonly workers: Workers
  readonly log: Log
  readonly dispatcher: Dispatcher
  readonly outcomes: Outcomes
  readonly mailboxes: Mailboxes
  readonly quarantine: Quarantine
  readonly lone: LoneRuns
}

/** Ticks without work after which the extra thread is ended. */
const idleTicks = 30

/**
 * What becomes of the records of a thread that is lost. All of them run again: those that had begun on the extra thread,
 * one by one; the others elsewhere, at once. One that ends the extra thread as well, again and again, and before anybody
 * else's have run there, is given up on.
 */
export class Losses {
  readonly #options: LossesOptions
  readonly #extra: number
  /** Mailboxes of which a record has ended on the extra thread that is there now; two of them at most. */
  readonly #ran = new Set<number>()
  #idle = 0

  constructor(options: LossesOptions) {
    this.#options = options
    this.#extra = options.workers.count
  }

  lost(worker: number, error: Error, executing: readonly Executing[]): void {
    const { dispatcher, outcomes, mailboxes, quarantine, lone } = this.#options
    if (worker === this.#extra) lone.lost()
    const givenUp = new Map<Mailbox, number>()
    for (const one of executing) {
      // Perhaps its run was taken back, and the thread had not heard of it: it was its code all the same.
      const mailbox = mailboxes.get(one.mailbox)
      if (mailbox === undefined) continue
      const offset = one.offset >= 0 ? one.offset : (mailbox.items.at(mailbox.decidedCount)?.record.offset ?? -1)
      if (worker !== this.#extra) quarantine.isolate(mailbox, offset)
      else if (this.#maybeOthers(mailbox)) dispatcher.runFirst(mailbox)
      else if (quarantine.crashed(mailbox, offset)) givenUp.set(mailbox, offset)
      else dispatcher.runFirst(mailbox)
    }
    if (worker === this.#extra) this.#ran.clear()
    for (const mailbox of dispatcher.workerLost(worker)) if (!givenUp.has(mailbox)) outcomes.moveOn(mailbox)
    for (const [mailbox, offset] of givenUp) {
      // One that runs elsewhere by now ends that thread as well, and comes back.
      if (mailbox.open || mailbox.waiting === 'blocked') continue
      const identity = executing.find((one) => one.mailbox === mailbox.id)?.identity
      outcomes.giveUp(mailbox, offset, this.#failed(mailbox, offset, error, identity), crashLimit)
    }
  }

  /** A decision of the extra thread: a suspect that it clears goes on elsewhere. */
  decided(decision: Decision, now: number): void {
    const { outcomes, mailboxes, quarantine, lone } = this.#options
    if (this.#ran.size < 2) this.#ran.add(decision.mailbox)
    const mailbox = mailboxes.get(decision.mailbox)
    if (mailbox === undefined || mailbox.run !== decision.run) return
    const cleared = quarantine.ended(mailbox, decision.outcome.kind !== 'failed')
    outcomes.decided(decision, now)
    if (cleared && mailbox.open) outcomes.moveOn(mailbox)
    lone.ended(mailbox.partition)
  }

  /** Once a second or so. */
  tick(): void {
    const { dispatcher, outcomes, workers, lone } = this.#options
    this.#idle = dispatcher.idles(this.#extra) ? this.#idle + 1 : 0
    // It may have gone with what it ran.
    if (!dispatcher.hasRecords(this.#extra)) lone.clear()
    if (this.#idle < idleTicks) return
    this.#idle = 0
    this.#ran.clear()
    for (const mailbox of dispatcher.workerLost(this.#extra)) outcomes.moveOn(mailbox)
    workers.closeExtra()
  }

  /** A handler that has returned may have left something behind that ended the thread later. */
  #maybeOthers(mailbox: Mailbox): boolean {
    return this.#ran.size > 1 || (this.#ran.size === 1 && !this.#ran.has(mailbox.id))
  }

  #failed({ partition, tenant }: Mailbox, offset: number, error: Error, identity: Identity | undefined): Failed {
    this.#options.log.error(
      'record.worker_crash',
      { ...partition.facts, offset, tenant, messageId: identity?.messageId ?? '', crashes: crashLimit },
      'A record has ended its worker thread again and again while nothing else ran there; it becomes a dead letter.',
    )
    const { errorClass, message, stack } = failureOf(error)
    const failure: Failure = {
      reason: 'worker_crash',
      kind: 'permanent',
      errorClass,
      message: `its thread was lost ${crashLimit} times while nothing else ran there, the last time by: ${message}`,
      // Ours would say where it was noticed.
      stack: error instanceof TenantryError ? '' : stack,
    }
    const nobody = { key: null, type: '', traceId: '', messageId: '' }
    return { kind: 'failed', failure, ...(identity ?? nobody) }
  }
}

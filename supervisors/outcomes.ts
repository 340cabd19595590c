import type { Clock } from '../core/clock.ts'
import type { Failure } from '../core/effects.ts'
import type { Facts } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import type { EngineMetrics } from '../core/metrics.ts'
import { failureShown } from '../core/postgres/sqlstate.ts'
import type { StateRow } from '../core/postgres/ownership.ts'
import type { Random } from '../core/random.ts'
import { retryDelayMs } from '../core/retry-policy.ts'
import type { Decision, Failed } from '../core/workers.ts'
import { Dependencies, type DependenciesOptions, type DependenciesSettings } from './dependencies.ts'
import type { Dispatcher } from './dispatcher.ts'
import type { FeedBack } from './feed-back.ts'
import type { Intake } from './intake.ts'
import { Decided, type Item } from './item.ts'
import { Judgement, type JudgementSettings, type TableWatch } from './judgement.ts'
import type { Mailbox } from './mailbox.ts'
import type { Mailboxes } from './mailboxes.ts'
import type { Parking } from './parking.ts'
import { nobody } from './route.ts'
import type { States } from './states.ts'

export type OutcomesSettings = JudgementSettings & { readonly breaker: DependenciesSettings }

export type OutcomesOptions = Pick<DependenciesOptions, 'ledger' | 'groups' | 'touch' | 'serverTime'> & {
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly metrics: EngineMetrics
  readonly settings: OutcomesSettings
  readonly dispatcher: Dispatcher
  readonly mailboxes: Mailboxes
  readonly intake: Intake
  readonly states: States
  readonly parking: Parking
  readonly feedBack: FeedBack
  readonly push: (decided: Decided) => void
  readonly trouble: (key: string, reason: string | null) => void
  readonly tables: TableWatch
  readonly settled: () => void
}

/** Only an operator, or a new release of the actor, can mend these: the tenant waits, named in the log and the status. */
const blockingReasons = {
  state_unreadable:
    'its state does not pass the actor’s schema, or its migration failed; release an actor that reads it.',
  state_elsewhere:
    'its state belongs to another partition than its records come in: the topic grew, or producers disagree on the partitioner.',
  outbox_in_offset_mode:
    'an outbox of tenantry’s writes this topic and may write a message twice; release the actor in message-id mode.',
} as const

type BlockingReason = keyof typeof blockingReasons

function isBlocking(reason: string): reason is BlockingReason {
  return Object.hasOwn(blockingReasons, reason)
}

/** What becomes of a mailbox's records: what a decision, a commit, a failure and a lost run do to it. */
export class Outcomes {
  readonly dependencies: Dependencies
  readonly judgement: Judgement
  readonly #options: OutcomesOptions

  constructor(options: OutcomesOptions) {
    this.#options = options
    this.dependencies = new Dependencies({
      ...options,
      settings: options.settings.breaker,
      mailboxes: () => options.mailboxes.values(),
      withdraw: (mailbox) => this.#withdraw(mailbox, mailbox.decidedCount),
      resume: (mailbox) => this.resume(mailbox),
      repeat: (...failure) => this.#repeat(...failure),
      retryAfter: (mailbox, reason, ms) => this.#retryAfter(mailbox, reason, ms),
      dispatch: (mailbox) => options.dispatcher.enqueue(mailbox),
      stuck: (mailbox) => options.parking.stuck(mailbox),
    })
    this.judgement = new Judgement({
      clock: options.clock,
      settings: options.settings,
      mailboxes: () => options.mailboxes.values(),
      withdraw: (...run) => this.#withdraw(...run),
      resume: (mailbox) => this.resume(mailbox),
      resumeAfter: (mailbox, ms) => this.#resumeAfter(mailbox, ms),
      retry: (...failure) => this.#retry(...failure),
      fail: (mailbox, failed) => this.#decideNext(mailbox, failed),
      block: (mailbox) => this.#block(mailbox, 'state_elsewhere'),
      stuck: (mailbox) => options.parking.stuck(mailbox),
      trouble: (reason) => options.trouble('effects', reason),
      tables: options.tables,
    })
  }

  /** A worker's decision. One of an older run, or for a mailbox that has gone, is dropped. */
  decided(decision: Decision, now: number): void {
    const mailbox = this.#options.mailboxes.get(decision.mailbox)
    if (mailbox === undefined || mailbox.run !== decision.run) return
    const item = mailbox.oldestInFlight
    if (item?.record.offset !== decision.offset) {
      throw new Error(
        `a worker decided offset ${decision.offset}, but ${item?.record.offset ?? 'nothing'} is its mailbox's oldest in flight`,
      )
    }
    const { outcome } = decision
    if (outcome.kind === 'failed' && isBlocking(outcome.failure.reason)) {
      this.#withdraw(mailbox, mailbox.decidedCount)
      this.#block(mailbox, outcome.failure.reason)
      return
    }
    if (outcome.kind === 'failed') {
      if (this.dependencies.failed(mailbox, item, outcome)) return
      const { kind, dependency, sqlstate } = outcome.failure
      if (kind === 'transient' && dependency === undefined && this.#retry(mailbox, item, outcome)) return
      if (sqlstate !== undefined && this.judgement.misses(mailbox, item, outcome)) return
    }
    this.#options.dispatcher.answered(mailbox, item)
    const decided = this.#decide(mailbox, outcome)
    mailbox.runningSince = now
    this.#options.intake.weighed(item.bytes - item.ownBytes)
    if (outcome.kind === 'done' && outcome.stateful) mailbox.stateBytes = outcome.bytes
    this.#options.push(decided)
    if (outcome.kind === 'failed') {
      this.#withdraw(mailbox, mailbox.decidedCount)
      this.resume(mailbox)
    } else {
      this.dependencies.handled(mailbox, outcome.kind === 'done' ? outcome.served : 0)
      if (mailbox.full) this.#options.parking.eased(mailbox)
      // It may have used up its share of the worker's credit.
      this.#options.dispatcher.enqueue(mailbox)
    }
  }

  /** A mailbox that is new. */
  opened(mailbox: Mailbox): void {
    if (mailbox.key === nobody) mailbox.waiting = 'blocked'
    else if (mailbox.waiting === 'state') this.#options.states.request(mailbox)
    else this.dependencies.keeps(mailbox)
  }

  /** A record that is nobody's, or that no worker need see: decided here, by the router. */
  refuse(mailbox: Mailbox, item: Item, failure: Failure): void {
    item.refusal = failure
    mailbox.add(item)
    if (mailbox.waiting !== 'held') this.#refuseQueued(mailbox)
  }

  stateLoaded(mailbox: Mailbox, state: StateRow | null): void {
    if (state !== null && state.partition !== mailbox.partition.partition) {
      this.#block(mailbox, 'state_elsewhere', { statePartition: state.partition })
      return
    }
    mailbox.state = state === null ? null : { version: state.version, json: state.json }
    mailbox.waiting = 'nothing'
    if (!this.dependencies.keeps(mailbox)) this.#options.dispatcher.enqueue(mailbox)
  }

  /** The record at `offset` has ended its worker, or its process, so many times: it has failed, and its run has ended. */
  giveUp(mailbox: Mailbox, offset: number, failed: Failed, crashes: number): void {
    this.#withdraw(mailbox, mailbox.decidedCount)
    const item = mailbox.next
    if (item?.record.offset === offset) {
      const { attempts } = item
      // Of this decision only: if it is taken back, no attempt was made. The last one is counted when it is written.
      item.attempts = attempts + crashes - 1
      this.#decideNext(mailbox, failed)
      item.attempts = attempts
    }
    this.resume(mailbox)
  }

  /** The mailbox may go on with a new run, from its committed state once that is known. */
  resume(mailbox: Mailbox): void {
    mailbox.waitingReason = ''
    mailbox.waitingUntil = 0
    if (mailbox.key === nobody) {
      mailbox.waiting = 'blocked'
      this.#refuseQueued(mailbox)
    } else if (mailbox.decidedCount > 0 && (mailbox.actor.stateful || mailbox.actor.dependencies.length > 0)) {
      mailbox.waiting = 'settling'
    } else if (this.dependencies.keeps(mailbox)) {
      return
    } else if (!mailbox.actor.stateful) {
      mailbox.waiting = 'nothing'
      this.#options.dispatcher.enqueue(mailbox)
    } else {
      mailbox.waiting = 'state'
      this.#options.states.request(mailbox)
    }
    if (mailbox.parked !== null) this.#options.feedBack.consider(mailbox)
  }

  /** Goes on with a new run, on whichever worker: what it decided stands, the rest runs again. */
  moveOn(mailbox: Mailbox): void {
    if (mailbox.items.length === 0 && mailbox.parked === null) return this.close(mailbox)
    this.#withdraw(mailbox, mailbox.decidedCount)
    this.resume(mailbox)
  }

  /** Forgets what has not been dispatched: it comes again. */
  dropQueued(mailbox: Mailbox): void {
    for (const item of mailbox.dropQueued()) this.#options.intake.gave(item.bytes)
    this.#options.parking.dropArrivals(mailbox)
    this.dependencies.left(mailbox)
  }

  /** The mailbox is not ours any more. */
  close(mailbox: Mailbox): void {
    this.judgement.released(mailbox)
    this.#withdraw(mailbox, 0)
    this.dropQueued(mailbox)
    this.#options.parking.dropped(mailbox)
    this.#options.mailboxes.close(mailbox)
  }

  /** What the instance decided after `decided`, which turned out to be a duplicate, rests on a state that never was. */
  takeBackAfter(decided: Decided): void {
    const { mailbox } = decided
    const place = mailbox.placeOf(decided)
    if (mailbox.closed || place < 0) return
    this.#withdraw(mailbox, place + 1)
    mailbox.waiting = 'settling'
  }

  /** It was to be a duplicate of what is not committed now: it runs again, and all after it. */
  takeBackFrom(decided: Decided): void {
    const { mailbox } = decided
    const place = mailbox.placeOf(decided)
    if (place < 0) throw new Error('a decision that stands in a commit has left its mailbox')
    this.#withdraw(mailbox, place)
    this.resume(mailbox)
  }

  #resumeAfter(mailbox: Mailbox, ms: number): void {
    const { clock, settled } = this.#options
    const { run } = mailbox
    mailbox.waitingUntil = clock.now() + ms
    clock.after(ms, () => {
      if (mailbox.closed || mailbox.run !== run) return
      this.resume(mailbox)
      settled()
    })
  }

  /** The attempt at the next record has failed: it is repeated after a while. False: there are no attempts left. */
  #retry(mailbox: Mailbox, item: Item, failed: Failed): boolean {
    const { random } = this.#options
    const attempts = item.attempts + 1
    const delayMs = retryDelayMs(mailbox.actor.retry, failed.type, attempts, random.next())
    if (delayMs === null) return false
    this.#repeat(mailbox, item, failed, attempts, delayMs)
    this.#retryAfter(mailbox, failed.failure.reason, delayMs)
    return true
  }

  /** Ends the run, and writes down what a next owner must know of the record that failed. */
  #repeat(mailbox: Mailbox, item: Item, failed: Failed, attempts: number, delayMs: number): void {
    const { metrics, push, feedBack, serverTime } = this.#options
    this.#withdraw(mailbox, mailbox.decidedCount)
    mailbox.held = null
    mailbox.lastFailure = { offset: item.record.offset, shown: failureShown(failed.failure) }
    if (item.firstFailedAt === 0) item.firstFailedAt = serverTime()
    push(new Decided(mailbox, item, { ...failed, kind: 'retried', attempts, retryAt: serverTime() + delayMs }))
    item.attempts = attempts
    if (item.row === null) item.retried = true
    else item.rowWrites++
    metrics.retried(mailbox.partition.group.name)
    feedBack.paced(mailbox, false)
  }

  #retryAfter(mailbox: Mailbox, reason: string, ms: number): void {
    mailbox.waiting = 'retrying'
    mailbox.waitingReason = reason
    this.#resumeAfter(mailbox, ms)
    this.#options.parking.stuck(mailbox)
  }

  /** Decides the next queued record without a worker. */
  #decideNext(mailbox: Mailbox, result: Failed): void {
    if (mailbox.takeNext() !== undefined) this.#options.push(this.#decide(mailbox, result))
  }

  #decide(mailbox: Mailbox, result: Decision['outcome']): Decided {
    const decided = mailbox.decide(result)
    if (result.kind === 'failed') decided.failedAt = this.#options.serverTime()
    return decided
  }

  #refuseQueued(mailbox: Mailbox): void {
    for (;;) {
      const failure = mailbox.next?.refusal
      if (!failure) return
      this.#decideNext(mailbox, {
        kind: 'failed',
        failure,
        key: null,
        type: '',
        traceId: '',
        messageId: '',
      })
    }
  }

  #block(mailbox: Mailbox, reason: BlockingReason, facts: Facts = {}): void {
    this.judgement.released(mailbox)
    this.dependencies.left(mailbox)
    mailbox.waiting = 'blocked'
    mailbox.waitingReason = `${reason}: ${blockingReasons[reason]}`
    this.#options.log.error(
      'tenant.blocked',
      { ...mailbox.partition.facts, tenant: mailbox.tenant, reason, ...facts },
      `A tenant cannot go on without an operator, and its records wait: ${blockingReasons[reason]}`,
    )
    this.#options.parking.stuck(mailbox)
  }

  #withdraw(mailbox: Mailbox, keepDecided: number): void {
    this.dependencies.ended(mailbox)
    this.#options.dispatcher.withdraw(mailbox)
    this.#options.intake.weighed(-mailbox.raiseRun(keepDecided))
  }
}

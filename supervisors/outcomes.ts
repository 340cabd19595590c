import type { Clock } from '../core/clock.ts'
import type { Failure } from '../core/effects.ts'
import type { Facts } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import type { EngineMetrics } from '../core/metrics.ts'
import { shownOf, stateElsewhereState } from '../core/postgres/sqlstate.ts'
import type { OutboxRow, StateRow } from '../core/postgres/transactions.ts'
import type { Decision, Done, Failed } from '../core/workers.ts'
import type { Plan } from './commit-plan.ts'
import type { Suspect } from './committer.ts'
import type { Dispatcher } from './dispatcher.ts'
import type { Intake } from './intake.ts'
import type { Decided, Item, Mailbox } from './mailbox.ts'
import type { Mailboxes } from './mailboxes.ts'
import type { OutboxPublisher } from './outbox-publisher.ts'
import type { Partition } from './partition.ts'
import { nobody } from './router.ts'
import type { States } from './states.ts'

export type OutcomesSettings = {
  readonly mailboxMaxRecords: number
  readonly mailboxMaxBytes: number
  /** A tenant held back by a lock or a time limit is tried again after this. */
  readonly heldRetryMs: number
  /** Held back for longer than this, it is a failed attempt. */
  readonly heldLimitMs: number
  /** Failures are the system's, not the tenants', when most tenants active within this time fail alike. */
  readonly systemicWindowMs: number
  readonly systemicRetryMs: number
}

export type OutcomesOptions = {
  readonly clock: Clock
  readonly log: Log
  readonly metrics: EngineMetrics
  readonly settings: OutcomesSettings
  readonly dispatcher: Dispatcher
  readonly mailboxes: Mailboxes
  readonly intake: Intake
  readonly states: States
  readonly outbox: OutboxPublisher
  readonly push: (decided: Decided) => void
  readonly trouble: (key: string, reason: string | null) => void
  readonly settled: () => void
}

/** Fewer tenants than this failing alike never count as the system's failure: it may be their own. */
const systemicTenants = 3

/** Longest pause between attempts of a mailbox that is held back. */
const maxHeldRetryMs = 30_000

/** Only an operator, or a new release of the actor, can mend these: the tenant waits, named in the log and the status. */
const blockingReasons = {
  state_unreadable:
    'its state does not pass the actor’s schema, or its migration failed; release an actor that reads it.',
  state_elsewhere:
    'its state belongs to another partition than its records come in: the topic grew, or producers disagree on the partitioner.',
} as const

type BlockingReason = keyof typeof blockingReasons

function isBlocking(reason: string): reason is BlockingReason {
  return Object.hasOwn(blockingReasons, reason)
}

/** What becomes of a mailbox's records: what a decision, a commit, a failure and a lost run do to it. */
export class Outcomes {
  readonly #options: OutcomesOptions
  /** Held because most tenants failed alike, by the SQLSTATE, and not committed since. */
  readonly #ailing = new Map<Mailbox, string>()

  constructor(options: OutcomesOptions) {
    this.#options = options
  }

  /** A worker's decision. One of an older run, or for a mailbox that has gone, is dropped. */
  decided(decision: Decision): void {
    const mailbox = this.#options.mailboxes.get(decision.mailbox)
    if (mailbox === undefined || mailbox.run !== decision.run) return
    const item = mailbox.oldestInFlight
    if (item?.record.offset !== decision.offset) {
      throw new Error(
        `a worker decided offset ${decision.offset}, but ${item?.record.offset ?? 'nothing'} is its mailbox's oldest in flight`,
      )
    }
    this.#options.dispatcher.answered(mailbox, item)
    const { outcome } = decision
    if (outcome.kind === 'failed' && isBlocking(outcome.failure.reason)) {
      this.#withdraw(mailbox, mailbox.decidedCount)
      this.#block(mailbox, outcome.failure.reason)
      return
    }
    const decided = mailbox.decide(outcome)
    this.#options.intake.weighed(item.bytes - item.ownBytes)
    if (outcome.kind === 'done' && outcome.stateful) mailbox.stateBytes = outcome.bytes
    this.#options.push(decided)
    if (outcome.kind === 'failed') {
      this.#withdraw(mailbox, mailbox.decidedCount)
      this.#resume(mailbox)
    }
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
    this.#options.dispatcher.enqueue(mailbox)
  }

  /** The worker has gone with this run. What it decided stands; the rest runs again. */
  runLost(mailbox: Mailbox): void {
    if (mailbox.items.length === 0) return this.close(mailbox)
    mailbox.raiseRun(mailbox.decidedCount)
    this.#resume(mailbox)
  }

  /** Forgets what has not been dispatched: it comes again. */
  dropQueued(mailbox: Mailbox): void {
    for (const item of mailbox.dropQueued()) this.#options.intake.gave(item.bytes)
  }

  /** The mailbox is not ours any more. */
  close(mailbox: Mailbox): void {
    this.#recovered(mailbox)
    this.#withdraw(mailbox, 0)
    this.dropQueued(mailbox)
    this.#options.mailboxes.close(mailbox)
  }

  committed(plan: Plan, elapsedMs: number): void {
    const { clock, metrics, outbox } = this.#options
    const now = clock.now()
    const monotonic = clock.monotonic()
    plan.partitions.forEach(({ partition, progress }, index) => {
      partition.committed(progress, monotonic)
      if (partition.published === plan.commit.partitions[index]?.published) partition.published = null
    })
    const published = new Map<Partition, OutboxRow[]>()
    let processed = 0
    let duplicates = 0
    let deadLettered = 0
    let bytes = 0
    plan.batch.forEach((decided, i) => {
      const { mailbox, record } = decided
      const result = plan.commit.outcomes[i]?.result ?? decided.result
      if (result.kind === 'done') processed++
      else if (result.kind === 'duplicate') duplicates++
      else if (result.kind === 'failed') deadLettered++
      bytes += decided.item.ownBytes
      if (record.timestamp > 0) metrics.latency(now - record.timestamp)
      if (record.timestamp > mailbox.partition.committedTimestamp)
        mailbox.partition.committedTimestamp = record.timestamp
      if (mailbox.closed) return
      if (result.kind === 'done' && result.publishes) collectPublished(published, decided, result)
      this.#committedOldest(mailbox, monotonic)
    })
    const group = plan.partitions[0]?.partition.group.name ?? ''
    metrics.committed(group, { processed, duplicates, deadLettered, bytes, elapsedMs })
    for (const [partition, rows] of published) outbox.push(partition, rows)
  }

  /** What the instance decided after `decided`, which turned out to be a duplicate, rests on a state that never was. */
  takeBackAfter(decided: Decided): void {
    const { mailbox } = decided
    const place = mailbox.placeOf(decided)
    if (mailbox.closed || place < 0) return
    this.#withdraw(mailbox, place + 1)
    mailbox.waiting = 'settling'
  }

  /** Takes back a decision that fails its commit, and all after it; the mailbox waits for the judgement. */
  suspect(decided: Decided): void {
    const { mailbox } = decided
    const place = mailbox.placeOf(decided)
    if (mailbox.closed || place < 0) return
    this.#withdraw(mailbox, place)
    mailbox.waiting = 'held'
    mailbox.waitingReason = 'its effects failed to commit'
  }

  /**
   * Whose failure it was. When most of the tenants that are active fail alike, something they share is broken (a missing
   * table, a revoked right, a bad deploy): nobody gets a dead letter, and all try again later.
   */
  judge(suspects: readonly Suspect[]): void {
    const systemic = this.#systemic(suspects)
    if (systemic !== null) this.#options.trouble('effects', systemic)
    for (const suspect of suspects) {
      const { mailbox, failure } = suspect
      if (mailbox.closed) continue
      // Dropped meanwhile, by a drain or a revoke: what is next now is another record.
      if (mailbox.items.at(mailbox.decidedCount + mailbox.inFlightCount) !== suspect.decided.item) continue
      if (failure.sqlstate === stateElsewhereState) this.#block(mailbox, 'state_elsewhere')
      else if (systemic !== null) this.#ail(suspect, systemic)
      else if (suspect.held !== 'no' && !this.#overdue(suspect)) this.#holdBack(suspect)
      else this.#convict(suspect)
    }
  }

  #ail({ mailbox, failure }: Suspect, reason: string): void {
    this.#ailing.set(mailbox, failure.sqlstate ?? '')
    this.#hold(mailbox, reason, this.#options.settings.systemicRetryMs)
  }

  #overdue({ mailbox, held }: Suspect): boolean {
    const { clock, settings } = this.#options
    if (mailbox.heldSince === 0) mailbox.heldSince = clock.monotonic()
    return held === 'limited' && clock.monotonic() - mailbox.heldSince >= settings.heldLimitMs
  }

  #holdBack({ mailbox, failure }: Suspect): void {
    const { heldRetryMs } = this.#options.settings
    this.#hold(mailbox, shownOf(failure), Math.min(maxHeldRetryMs, heldRetryMs * 2 ** mailbox.heldTimes++))
  }

  #hold(mailbox: Mailbox, reason: string, ms: number): void {
    mailbox.waitingReason = reason
    this.#options.clock.after(ms, () => {
      if (mailbox.closed || mailbox.waiting !== 'held') return
      this.#resume(mailbox)
      this.#options.settled()
    })
  }

  /** It fails by itself: its failure is its outcome. */
  #convict({ mailbox, decided, failure }: Suspect): void {
    this.#recovered(mailbox)
    mailbox.heldSince = 0
    mailbox.heldTimes = 0
    const { result } = decided
    const known = result.kind === 'done' || result.kind === 'failed' ? result : null
    const { key = null, type = '', traceId = '', messageId = '' } = known ?? {}
    this.#decideNext(mailbox, { kind: 'failed', failure, key, type, traceId, messageId })
    this.#resume(mailbox)
  }

  /** It has committed, or is somebody else's, or has failed by itself. */
  #recovered(mailbox: Mailbox): void {
    if (this.#ailing.delete(mailbox) && this.#ailing.size === 0) this.#options.trouble('effects', null)
  }

  #systemic(suspects: readonly Suspect[]): string | null {
    const states = new Map<string, Suspect[]>()
    for (const suspect of suspects) {
      const state = suspect.failure.sqlstate ?? ''
      if (state === stateElsewhereState) continue
      const alike = states.get(state)
      if (alike) alike.push(suspect)
      else states.set(state, [suspect])
    }
    const now = this.#options.clock.monotonic()
    for (const [state, alike] of states) {
      const failing = new Set(alike.map(({ mailbox }) => mailbox))
      // They try again one by one: who failed with the others is not judged alone.
      for (const [mailbox, known] of this.#ailing) if (known === state) failing.add(mailbox)
      const [example] = alike
      if (failing.size < systemicTenants || example === undefined) continue
      let healthy = 0
      for (const mailbox of this.#options.mailboxes.values()) {
        const active =
          mailbox.lastCommittedAt > 0 && now - mailbox.lastCommittedAt < this.#options.settings.systemicWindowMs
        if (active && !failing.has(mailbox)) healthy++
      }
      if (failing.size > healthy)
        return `${failing.size} of ${failing.size + healthy} active tenants fail alike (${shownOf(example.failure)}): this is not the tenants' fault`
    }
    return null
  }

  #committedOldest(mailbox: Mailbox, now: number): void {
    const { mailboxes, states, dispatcher, intake, settings } = this.#options
    const item = mailbox.commitOldest()
    if (item === undefined) return
    intake.weighed(item.ownBytes - item.bytes)
    intake.gave(item.ownBytes)
    mailbox.lastCommittedAt = now
    if (this.#ailing.size > 0) this.#recovered(mailbox)
    mailbox.heldSince = 0
    mailbox.heldTimes = 0
    const { mailboxMaxRecords, mailboxMaxBytes } = settings
    if (mailbox.full && mailbox.items.length < mailboxMaxRecords / 2 && mailbox.bytes <= mailboxMaxBytes / 2) {
      mailbox.full = false
      mailbox.partition.fullMailboxes--
    }
    if (mailbox.decidedCount > 0) return
    if (mailbox.waiting === 'settling') {
      mailbox.waiting = 'state'
      states.request(mailbox)
    } else if (mailbox.actor.serial) {
      dispatcher.enqueue(mailbox)
    }
    if (mailbox.items.length === 0) mailboxes.rest(mailbox)
  }

  /** Decides the next queued record without a worker. */
  #decideNext(mailbox: Mailbox, result: Failed): void {
    if (mailbox.takeNext() !== undefined) this.#options.push(mailbox.decide(result))
  }

  #refuseQueued(mailbox: Mailbox): void {
    for (;;) {
      const failure = mailbox.items.at(mailbox.decidedCount + mailbox.inFlightCount)?.refusal
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

  /** The mailbox may go on with a new run, from its committed state once that is known. */
  #resume(mailbox: Mailbox): void {
    mailbox.waitingReason = ''
    if (mailbox.key === nobody) {
      mailbox.waiting = 'blocked'
      this.#refuseQueued(mailbox)
    } else if (!mailbox.actor.stateful) {
      mailbox.waiting = 'nothing'
      this.#options.dispatcher.enqueue(mailbox)
    } else if (mailbox.decidedCount > 0) {
      mailbox.waiting = 'settling'
    } else {
      mailbox.waiting = 'state'
      this.#options.states.request(mailbox)
    }
  }

  #block(mailbox: Mailbox, reason: BlockingReason, facts: Facts = {}): void {
    mailbox.waiting = 'blocked'
    mailbox.waitingReason = `${reason}: ${blockingReasons[reason]}`
    this.#options.log.error(
      'tenant.blocked',
      { ...mailbox.partition.facts, tenant: mailbox.tenant, reason, ...facts },
      `A tenant cannot go on without an operator, and its records wait: ${blockingReasons[reason]}`,
    )
  }

  #withdraw(mailbox: Mailbox, keepDecided: number): void {
    this.#options.dispatcher.withdraw(mailbox)
    this.#options.intake.weighed(-mailbox.raiseRun(keepDecided))
  }
}

/** The outbox numbers its rows by the partition's commit and the place among that commit's messages. */
function collectPublished(published: Map<Partition, OutboxRow[]>, decided: Decided, result: Done): void {
  const { partition } = decided.mailbox
  for (const effect of result.effects) {
    if (effect.kind !== 'publish') continue
    let rows = published.get(partition)
    if (rows === undefined) {
      rows = []
      published.set(partition, rows)
    }
    const { topic, messageId, key, value, headers } = effect
    rows.push({
      position: { seq: partition.seq, index: rows.length },
      tenant: decided.tenant,
      topic,
      messageId,
      key,
      value,
      headers,
    })
  }
}

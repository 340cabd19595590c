import type { Clock } from '../core/clock.ts'
import type { Failure } from '../core/effects.ts'
import type { Log } from '../core/log.ts'
import type { EngineMetrics } from '../core/metrics.ts'
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

/** Only an operator, or a new release of the actor, can mend these: the tenant waits, named in the status. */
const blockingReasons: ReadonlySet<string> = new Set(['state_unreadable', 'state_newer', 'state_elsewhere'])

/** What becomes of a mailbox's records: what a decision, a commit, a failure and a lost run do to it. */
export class Outcomes {
  readonly #options: OutcomesOptions

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
    if (outcome.kind === 'failed' && blockingReasons.has(outcome.failure.reason)) {
      this.#withdraw(mailbox, mailbox.decidedCount)
      this.#block(mailbox, `${outcome.failure.reason}: ${outcome.failure.message}`)
      return
    }
    this.#options.push(mailbox.decide(outcome))
    if (outcome.kind === 'failed') {
      this.#withdraw(mailbox, mailbox.decidedCount)
      this.#resume(mailbox)
    }
  }

  /** A record that is nobody's, or that no worker need see: decided here, by the router. */
  refuse(mailbox: Mailbox, item: Item, failure: Failure): void {
    item.refusal = failure
    mailbox.items.push(item)
    if (mailbox.waiting !== 'held') this.#refuseQueued(mailbox)
  }

  stateLoaded(mailbox: Mailbox, state: StateRow | null): void {
    if (state !== null && state.partition !== mailbox.partition.partition) {
      this.#block(
        mailbox,
        `state_elsewhere: the tenant's state belongs to partition ${state.partition}, and its records come in partition ${mailbox.partition.partition}`,
      )
      return
    }
    mailbox.state = state === null ? null : { version: state.version, json: state.json }
    mailbox.waiting = 'nothing'
    this.#options.dispatcher.enqueue(mailbox)
  }

  /** The worker has gone with this run. What it decided stands; the rest runs again. */
  runLost(mailbox: Mailbox): void {
    mailbox.raiseRun(mailbox.decidedCount)
    this.#resume(mailbox)
  }

  /** Forgets what has not been dispatched: it comes again. */
  dropQueued(mailbox: Mailbox): void {
    for (const item of mailbox.items.truncate(mailbox.decidedCount + mailbox.inFlightCount))
      this.#options.intake.gave(item.bytes)
  }

  /** The mailbox is not ours any more. */
  close(mailbox: Mailbox): void {
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
      bytes += decided.item.bytes
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
    const { settings, clock, settled, trouble } = this.#options
    trouble('effects', systemic)
    for (const suspect of suspects) {
      const { mailbox, failure, held } = suspect
      if (mailbox.closed) continue
      const now = clock.monotonic()
      if (held && mailbox.heldSince === 0) mailbox.heldSince = now
      const overdue = held && now - mailbox.heldSince >= settings.heldLimitMs
      if (systemic !== null || (held && !overdue)) {
        mailbox.waitingReason = systemic ?? `${failure.sqlstate ?? ''} ${failure.message}`
        clock.after(systemic === null ? settings.heldRetryMs : settings.systemicRetryMs, () => {
          if (mailbox.closed || mailbox.waiting !== 'held') return
          this.#resume(mailbox)
          settled()
        })
        continue
      }
      mailbox.heldSince = 0
      const { result } = suspect.decided
      const known = result.kind === 'done' || result.kind === 'failed' ? result : null
      const { key = null, type = '', traceId = '', messageId = '', elapsedMs = 0 } = known ?? {}
      this.#decideNext(mailbox, { kind: 'failed', failure, key, type, traceId, messageId, elapsedMs })
      this.#resume(mailbox)
    }
  }

  #systemic(suspects: readonly Suspect[]): string | null {
    const states = new Map<string, Set<Mailbox>>()
    for (const { mailbox, failure } of suspects) {
      const alike = states.get(failure.sqlstate ?? '')
      if (alike) alike.add(mailbox)
      else states.set(failure.sqlstate ?? '', new Set([mailbox]))
    }
    const now = this.#options.clock.monotonic()
    for (const [sqlstate, failing] of states) {
      if (failing.size < systemicTenants) continue
      let healthy = 0
      for (const mailbox of this.#options.mailboxes.values()) {
        const active =
          mailbox.lastCommittedAt > 0 && now - mailbox.lastCommittedAt < this.#options.settings.systemicWindowMs
        if (active && !failing.has(mailbox)) healthy++
      }
      const example = suspects.find(({ failure }) => (failure.sqlstate ?? '') === sqlstate)?.failure.message ?? ''
      if (failing.size > healthy)
        return `${failing.size} of ${failing.size + healthy} active tenants fail alike (${sqlstate} ${example}): this is not the tenants' fault`
    }
    return null
  }

  #committedOldest(mailbox: Mailbox, now: number): void {
    const { mailboxes, states, dispatcher, intake, settings } = this.#options
    const item = mailbox.commitOldest()
    if (item === undefined) return
    intake.gave(item.bytes)
    mailbox.lastCommittedAt = now
    mailbox.heldSince = 0
    if (mailbox.full && mailbox.items.length < settings.mailboxMaxRecords / 2) {
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
        elapsedMs: 0,
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

  #block(mailbox: Mailbox, reason: string): void {
    mailbox.waiting = 'blocked'
    mailbox.waitingReason = reason
    this.#options.log.error(
      'tenant.blocked',
      { ...mailbox.partition.facts, reason },
      'A tenant cannot go on without an operator; its records wait.',
    )
  }

  #withdraw(mailbox: Mailbox, keepDecided: number): void {
    this.#options.dispatcher.withdraw(mailbox)
    mailbox.raiseRun(keepDecided)
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

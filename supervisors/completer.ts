import type { Clock } from '../core/clock.ts'
import type { Log } from '../core/log.ts'
import type { CommitFigures, EngineMetrics } from '../core/metrics.ts'
import { outboxRows } from '../core/postgres/outbox-rows.ts'
import type { OutboxRow } from '../core/postgres/ownership.ts'
import type { Outcome } from '../core/postgres/transactions.ts'
import type { Failed } from '../core/workers.ts'
import type { Plan } from './commit-plan.ts'
import type { Dispatcher } from './dispatcher.ts'
import type { FeedBack } from './feed-back.ts'
import type { Intake } from './intake.ts'
import type { Decided } from './item.ts'
import type { Mailbox } from './mailbox.ts'
import type { Mailboxes } from './mailboxes.ts'
import type { OutboxPublisher } from './outbox-publisher.ts'
import type { Outcomes } from './outcomes.ts'
import type { Parking } from './parking.ts'
import type { Partition } from './partition.ts'

export type CompleterSettings = {
  /** Null: dead letters are rows alone. The lanes must be told the same. */
  readonly deadLetterTopic: string | null
}

export type CompleterOptions = {
  readonly clock: Clock
  readonly log: Log
  readonly metrics: EngineMetrics
  readonly settings: CompleterSettings
  readonly dispatcher: Dispatcher
  readonly mailboxes: Mailboxes
  readonly intake: Intake
  readonly outcomes: Outcomes
  readonly outbox: OutboxPublisher
  readonly parking: Parking
  readonly feedBack: FeedBack
}

type Figures = { -readonly [Name in keyof CommitFigures]: CommitFigures[Name] }

/** What follows from a commit: its records leave their mailboxes, which may go on, and its messages go to the outbox. */
export class Completer {
  readonly #options: CompleterOptions

  constructor(options: CompleterOptions) {
    this.#options = options
  }

  committed(plan: Plan, elapsedMs: number): void {
    const { clock, metrics, outcomes, parking, feedBack } = this.#options
    const now = clock.now()
    const monotonic = clock.monotonic()
    // A lane commits what all groups have, and most commits have one group's.
    const groups = new Map<string, Figures>()
    plan.partitions.forEach(({ partition, progress }, index) => {
      const { name } = partition.group
      if (!groups.has(name)) groups.set(name, { processed: 0, duplicates: 0, deadLettered: 0, skipped: 0, bytes: 0 })
      partition.committed(plan.commit.id, progress, monotonic)
      if (partition.published === plan.commit.partitions[index]?.published) partition.published = null
      partition.recorded(plan.commit.partitions[index]?.breakers ?? [])
    })
    plan.batch.forEach((decided, i) => {
      const { mailbox, record } = decided
      const result = plan.commit.outcomes[i]?.result ?? decided.result
      if (result.kind === 'retried' || result.kind === 'parked') {
        if (result.kind === 'parked' || decided.row !== null) parking.written(mailbox, decided.item)
        return
      }
      const figures = groups.get(mailbox.partition.group.name)
      if (figures !== undefined) count(figures, result.kind, decided.item.ownBytes)
      if (result.kind === 'failed') this.#givenUp(decided, result)
      if (record.timestamp > 0) metrics.latency(now - record.timestamp)
      // A producer whose clock is ahead would hide what comes to wait after it.
      const written = Math.min(record.timestamp, now)
      if (written > mailbox.partition.committedTimestamp) mailbox.partition.committedTimestamp = written
      if (result.kind === 'done') {
        mailbox.processedAt = monotonic
        outcomes.judgement.processed(decided, monotonic)
      }
      if (mailbox.closed) return
      feedBack.paced(mailbox, result.kind !== 'failed')
      this.#committedOldest(mailbox)
    })
    for (const { partition } of plan.partitions) parking.advance(partition)
    metrics.committed(groups, elapsedMs)
    this.#publish(plan)
  }

  #committedOldest(mailbox: Mailbox): void {
    const { mailboxes, dispatcher, intake, outcomes, parking, feedBack } = this.#options
    const item = mailbox.commitOldest()
    if (item === undefined) return
    intake.weighed(item.ownBytes - item.bytes)
    intake.gave(item.ownBytes)
    mailbox.held = null
    if (mailbox.full) parking.eased(mailbox)
    if (mailbox.parked !== null) feedBack.consider(mailbox)
    if (mailbox.decidedCount > 0) return
    if (mailbox.waiting === 'settling') {
      outcomes.resume(mailbox)
    } else if (mailbox.actor.serial) {
      dispatcher.enqueue(mailbox)
    }
    if (mailbox.items.length === 0) mailboxes.rest(mailbox)
  }

  /** Without the error's message, which may say what is in the record. */
  #givenUp({ mailbox, record, attempts }: Decided, { failure, type, messageId }: Failed): void {
    this.#options.log.warn(
      'record.dead_lettered',
      {
        ...mailbox.partition.facts,
        offset: record.offset,
        tenant: mailbox.tenant,
        type,
        messageId,
        reason: failure.reason,
        errorClass: failure.errorClass,
        attempts: attempts + 1,
      },
      'A record was given up and is a dead letter; "tenantry dlq list" finds it.',
    )
  }

  #publish({ commit, partitions }: Plan): void {
    const { outbox, settings } = this.#options
    const published = new Map<Partition, OutboxRow[]>()
    for (const { partition: at, row } of outboxRows(commit, settings.deadLetterTopic)) {
      const partition = partitions[at]?.partition
      const rows = partition && published.get(partition)
      if (rows !== undefined) rows.push(row)
      else if (partition !== undefined) published.set(partition, [row])
    }
    for (const [partition, rows] of published) outbox.push(partition, rows)
  }
}

function count(figures: Figures, kind: Exclude<Outcome['result']['kind'], 'retried' | 'parked'>, bytes: number): void {
  if (kind === 'done') figures.processed++
  else if (kind === 'duplicate') figures.duplicates++
  else if (kind === 'failed') figures.deadLettered++
  else figures.skipped++
  figures.bytes += bytes
}

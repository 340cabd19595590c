import { randomUUID } from 'node:crypto'
import postgres from 'postgres'
import { DecisionPacker, Told } from '../../actors/decision-packer.ts'
import { DecisionUnpacker } from '../../actors/decision-unpacker.ts'
import { systemClock } from '../../core/clock.ts'
import type { Effect, Failure, Shape, SqlText } from '../../core/effects.ts'
import { silentLog } from '../../core/log.ts'
import { messageKey } from '../../core/message-id.ts'
import { readCatalog } from '../../core/postgres/catalog.ts'
import type { Traceability } from '../../core/postgres/group-commit.ts'
import type { LaneLimits } from '../../core/postgres/lane-connection.ts'
import { PostgresLane } from '../../core/postgres/lane.ts'
import { PostgresLedger } from '../../core/postgres/ledger.ts'
import { migrateUp } from '../../core/postgres/migrate.ts'
import type { BreakerChange, Commit, CommitResult, Outcome, PartitionRef } from '../../core/postgres/transactions.ts'
import { systemRandom } from '../../core/random.ts'
import type { Done, Failed } from '../../core/workers.ts'
import { type FreshDatabase, freshDatabase } from '../services.ts'

const partitions = 4
/** When what fails has failed. */
export const failureTime = Date.UTC(2026, 1, 3, 4, 5, 6, 789)

/** What a lane's owner knows of a partition. */
export type Owned = { readonly ref: PartitionRef; epoch: number; seq: number; commitId: string; watermark: number }

export type Doing = {
  readonly tenant?: string
  readonly partition?: number
  /** A new one when left out; null in offset mode. */
  readonly id?: string | null
  readonly effects?: readonly Effect[]
}

const limits: LaneLimits = {
  connectTimeoutMs: 3_000,
  statementTimeoutMs: 2_000,
  lockTimeoutMs: 500,
  transactionTimeoutMs: 10_000,
}

/** Lanes on a real database with nothing above them: commits are built by hand, and what they answered is looked at. */
export class LaneStage {
  readonly url: string
  readonly sql: postgres.Sql
  readonly ledger: PostgresLedger
  readonly owned: readonly Owned[]
  readonly #database: FreshDatabase
  readonly #lanes: PostgresLane[] = []
  #offset = 0

  private constructor(database: FreshDatabase) {
    this.#database = database
    this.url = database.url
    this.sql = postgres(database.url, { max: 4, onnotice() {} })
    this.ledger = new PostgresLedger({ control: this.sql, random: systemRandom, frozenAfterMs: 300 })
    const topicId = randomUUID()
    this.owned = Array.from({ length: partitions }, (_, partition) => ({
      ref: { group: 'g', topic: 't', topicId, partition },
      epoch: 0,
      seq: 0,
      commitId: '',
      watermark: 0,
    }))
  }

  /** With the tables that `create` makes, and every partition owned. */
  static async create(create: (sql: postgres.Sql) => Promise<unknown>): Promise<LaneStage> {
    const stage = new LaneStage(await freshDatabase())
    await migrateUp(stage.url)
    await create(stage.sql)
    const starts = stage.owned.map(({ ref }) => ({ ref, position: 0 }))
    const [first] = starts
    if (first !== undefined) await stage.ledger.begin('g', 't', first.ref.topicId, 'cluster', partitions, starts)
    await stage.takeAllOver()
    return stage
  }

  async lane(
    options: {
      readonly url?: string
      readonly limits?: Partial<LaneLimits>
      readonly answerMs?: number
      readonly deadLetterTopic?: string | null
      readonly traceability?: Traceability
    } = {},
  ) {
    const { deadLetterTopic = 'dead' } = options
    const lane = new PostgresLane({
      url: options.url ?? this.url,
      name: 'test lane 0',
      control: this.sql,
      catalog: await readCatalog(this.sql),
      traceability: options.traceability ?? { mode: 'off', sampleRate: 0 },
      deadLetterTopic,
      limits: { ...limits, ...options.limits },
      answerDeadlineMs: options.answerMs ?? 5_000,
      clock: systemClock,
      log: silentLog,
    })
    this.#lanes.push(lane)
    return lane
  }

  /** The partition as whoever takes it over now owns it; whoever had it does not hear of it. */
  async takeOver(owned: Owned): Promise<Owned> {
    const { epoch, seq, commitId, watermark } = await this.ledger.takeOver(owned.ref)
    Object.assign(owned, { epoch, seq, commitId, watermark })
    return owned
  }

  async takeAllOver(): Promise<void> {
    for (const owned of this.owned) await this.takeOver(owned)
  }

  partition(number: number, owned: readonly Owned[] = this.owned): Owned {
    const found = owned[number]
    if (found === undefined) throw new RangeError(`there is no partition ${number}`)
    return found
  }

  done({ tenant = 'acme', partition = 0, id = randomUUID(), effects = [] }: Doing = {}): Outcome {
    const result: Done = {
      kind: 'done',
      key: id === null ? null : messageKey(id),
      effects,
      publishes: effects.some(({ kind }) => kind === 'publish'),
      packed: null,
      stateful: false,
      state: null,
      type: 'go',
      traceId: '',
      messageId: id ?? '',
      bytes: 0,
      served: 0,
    }
    return this.#outcome(tenant, partition, result)
  }

  failed({ tenant = 'acme', partition = 0, id = randomUUID() }: Doing, failure: Failure): Outcome {
    const key = id === null ? null : messageKey(id)
    const result: Failed = { kind: 'failed', failure, key, type: 'go', traceId: '', messageId: id ?? '' }
    return this.#outcome(tenant, partition, result)
  }

  /** Commits what is said of a partition's breakers, and nothing else. */
  async breakers(lane: PostgresLane, number: number, breakers: readonly BreakerChange[]): Promise<CommitResult> {
    const { ref, epoch, seq, commitId, watermark } = this.partition(number)
    const said = {
      ref,
      epoch,
      seq,
      follows: commitId,
      watermark,
      ahead: [],
      kafkaOffset: -1,
      published: null,
      breakers,
    }
    const commit = { id: randomUUID(), partitions: [said], outcomes: [] }
    const result = await lane.commit(commit, { kind: 'optimistic' })
    if (result.kind === 'committed') this.moved(commit)
    return result
  }

  /** A commit of these outcomes, by whoever owns the partitions as `owned` says. */
  commit(outcomes: readonly Outcome[], owned: readonly Owned[] = this.owned): Commit {
    const used = [...new Set(outcomes.map(({ partition }) => partition))]
    return {
      id: randomUUID(),
      partitions: used.map((number) => {
        const { ref, epoch, seq, commitId, watermark } = this.partition(number, owned)
        return {
          ref,
          epoch,
          seq,
          follows: commitId,
          watermark: watermark + 1,
          ahead: [],
          kafkaOffset: -1,
          published: null,
          breakers: [],
        }
      }),
      outcomes: outcomes.map((outcome) => ({ ...outcome, partition: used.indexOf(outcome.partition) })),
    }
  }

  /** Commits, and where it succeeds the partitions are moved on. */
  async run(lane: PostgresLane, outcomes: readonly Outcome[]): Promise<CommitResult> {
    const commit = this.commit(outcomes)
    const result = await lane.commit(commit, { kind: 'optimistic' })
    if (result.kind === 'committed') this.moved(commit)
    return result
  }

  /** The commit has happened. */
  moved({ id, partitions: all }: Commit): void {
    for (const { ref, watermark } of all) {
      const owned = this.partition(ref.partition)
      owned.seq++
      owned.commitId = id
      owned.watermark = watermark
    }
  }

  async end(): Promise<void> {
    await Promise.all(this.#lanes.map((lane) => lane.close()))
    await this.sql.end({ timeout: 1 })
    await this.#database.drop()
  }

  #outcome(tenant: string, partition: number, result: Done | Failed): Outcome {
    const record = { offset: this.#offset++, timestamp: 0, key: Buffer.from(tenant), value: null, headers: [] }
    const failedAt = result.kind === 'failed' ? failureTime : 0
    return {
      partition,
      tenant,
      record,
      actor: 'a',
      result,
      attempts: 0,
      firstFailedAt: 0,
      failedAt,
      retried: false,
      row: null,
      knownSince: null,
    }
  }
}

/** The same outcomes as if a worker's frame had brought them. */
export function throughFrame(outcomes: readonly Outcome[]): Outcome[] {
  const packer = new DecisionPacker(new Told())
  outcomes.forEach(({ result }, offset) => {
    if (result.kind === 'done' || result.kind === 'failed') packer.add({ mailbox: 1, run: 1, offset, outcome: result })
  })
  const results = new Map(
    new DecisionUnpacker(new Map()).unpack(packer.take()).map(({ offset, outcome }) => [offset, outcome]),
  )
  return outcomes.map((outcome, place) => ({ ...outcome, result: results.get(place) ?? outcome.result }))
}

/** A row; in columns of these names, all text to PostgreSQL's eyes. */
export function row(table: string, values: Readonly<Record<string, SqlText>>, conflict?: readonly string[]): Effect {
  const columns = Object.keys(values)
  const key = `${table} ${columns.join()} ${conflict?.join() ?? ''}`
  const base = { key, table: `public.${table}`, columns, bare: columns.map(() => false) }
  const shape: Shape = shapes.get(key) ?? (conflict === undefined ? base : { ...base, conflict })
  shapes.set(key, shape)
  return { kind: 'row', shape, values: Object.values(values) }
}

const shapes = new Map<string, Shape>()

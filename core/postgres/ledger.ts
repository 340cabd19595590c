import type { Random } from '../random.ts'
import { codeOf, TenantryError } from '../errors.ts'
import { plainArray, textArray } from './array-text.ts'
import { parkedTenants, readParked, replayedTenants } from './parking.ts'
import type { Ask } from './control.ts'
import { askedOfBreakers, leftBreakers } from './breakers.ts'
import { readOutbox } from './outbox-pages.ts'
import { lostOwners, noteLone, releaseOwned } from './owners.ts'
import { leftRerun } from './resets.ts'
import { forgetRetries, leftRetries } from './retries.ts'
import { fencedState, missingProgressState, supersededState } from './sqlstate.ts'
import {
  type BreakerRequests,
  type Inherited,
  type Ledger,
  type LoneRecord,
  noProgressCode,
  type OutboxPage,
  type Ownership,
  type ParkedPage,
  type ParkedWanted,
  type ReplayedTenant,
  type RecordedOffset,
  type Standing,
  type Start,
  type StateRow,
  supersededCode,
  suspectLimit,
  type TopicProgress,
} from './ownership.ts'
import type { OutboxPosition, PartitionRef, Range } from './transactions.ts'

export type PostgresLedgerOptions = {
  /** Not a lane's: several statements may be under way. */
  readonly control: Ask
  readonly random: Random
  /** A takeover that has waited for a lock ends a holder whose transaction is older than this. */
  readonly frozenAfterMs: number
}

/**
 * What ownership asks of PostgreSQL. Every call is one statement, or reads only: there is no transaction here that a
 * dying connection could tear apart.
 */
export class PostgresLedger implements Ledger {
  readonly #sql: Ask
  readonly #random: Random
  readonly #frozenAfterMs: number
  /** Of this process, which lives as long as this. */
  readonly #process: string

  constructor({ control, random, frozenAfterMs }: PostgresLedgerOptions) {
    this.#sql = control
    this.#random = random
    this.#frozenAfterMs = frozenAfterMs
    this.#process = random.uuid()
  }

  async topicProgress(group: string, topic: string, topicId: string): Promise<TopicProgress> {
    const sql = this.#sql
    const rows = await sql<{ topic_id: string; cluster_id: string; partitions: number }[]>`
      select topic_id, cluster_id, partitions from sys.consumed_topics
      where group_name = ${group} and topic = ${topic}
      order by begun_at desc`
    const own = rows.find(({ topic_id }) => topic_id === topicId)
    return {
      partitions: own?.partitions ?? 0,
      recreated: own === undefined && rows.length > 0,
      superseded: own !== undefined && own !== rows[0],
      clusterId: rows[0]?.cluster_id ?? '',
    }
  }

  async begin(
    group: string,
    topic: string,
    topicId: string,
    clusterId: string,
    partitions: number,
    starts: readonly Start[],
  ): Promise<void> {
    await this.#sql`
      select sys.fn_begin_topic(${group}, ${topic}, ${topicId}, ${clusterId}, ${partitions}, ${this.#random.uuid()},
        ${plainArray(starts.map(({ ref }) => ref.partition))}, ${plainArray(starts.map(({ position }) => position))})`
  }

  async beginAgain(group: string, topic: string, topicId: string): Promise<void> {
    await this.#sql`select sys.fn_begin_again(${group}, ${topic}, ${topicId})`
  }

  async takeOver(ref: PartitionRef): Promise<Ownership> {
    const inherited: Inherited[] = []
    // What is inherited comes first: a failover that loses a part of this loses the raise, and with that it is done again.
    // One by one: commits take several partitions' locks in another order than this.
    for (const older of await this.#inherits(ref)) {
      const { commit_id } = await this.#inherit(older, ref)
      // What was to be tried again has gone with its log; what is parked has its attempts with it.
      await forgetRetries(this.#sql, older, Number.MAX_SAFE_INTEGER)
      inherited.push({ ref: older, commitId: commit_id })
    }
    const row = await this.#raise(ref)
    const watermark = Number(row.watermark)
    return {
      epoch: Number(row.epoch),
      seq: Number(row.seq),
      commitId: row.commit_id,
      watermark,
      ahead: rangesOf(row.ahead),
      kafkaOffset: Number(row.kafka_offset),
      inherited,
      retries: await leftRetries(this.#sql, ref, watermark),
      parked: await parkedTenants(this.#sql, ref),
      breakers: await leftBreakers(this.#sql, ref),
      rerun: await leftRerun(this.#sql, ref, watermark),
      lost: await lostOwners(this.#sql, ref),
    }
  }

  release(owned: readonly { readonly ref: PartitionRef; readonly epoch: number }[]): Promise<void> {
    return releaseOwned(this.#sql, owned)
  }

  runAlone(ref: PartitionRef, epoch: number, record: LoneRecord): Promise<boolean> {
    return noteLone(this.#sql, this.#process, ref, epoch, record)
  }

  async runNoneAlone(): Promise<void> {
    await this.#sql`select sys.fn_run_none_alone(${this.#process})`
  }

  async trust({ group, topicId, partition }: PartitionRef, epoch: number): Promise<void> {
    await this.#sql`select sys.fn_trust(${group}, ${topicId}, ${partition}, ${epoch})`
  }

  async standing(refs: readonly PartitionRef[]): Promise<readonly Standing[]> {
    const rows = await this.#sql<{ epoch: string; kafka_offset: string }[]>`
      select coalesce(last.epoch, -1)::text as epoch, coalesce(last.kafka_offset, -1)::text as kafka_offset
      from unnest(
        ${textArray(refs.map(({ group }) => group))}::text[], ${plainArray(refs.map(({ topicId }) => topicId))}::uuid[],
        ${plainArray(refs.map(({ partition }) => partition))}::integer[]
      ) with ordinality as named (group_name, topic_id, partition, place)
      left join lateral (
        select progress.epoch, progress.kafka_offset
        from sys.partition_progress as progress
        where progress.group_name = named.group_name and progress.topic_id = named.topic_id and progress.partition = named.partition
        order by progress.seq desc
        limit 1
      ) as last on true
      order by named.place`
    return rows.map((row) => ({ epoch: Number(row.epoch), kafkaOffset: Number(row.kafka_offset) }))
  }

  async acceptOffset(ref: PartitionRef, { commitId }: Pick<Ownership, 'commitId'>, position: number): Promise<void> {
    try {
      await this.#sql`
        select sys.fn_accept_offset(${ref.group}, ${ref.topic}, ${ref.topicId}, ${ref.partition}, ${commitId}, ${position})`
    } catch (error) {
      if (codeOf(error) !== fencedState) throw error
    }
  }

  breakerRequests(groups: readonly string[]): Promise<BreakerRequests> {
    return askedOfBreakers(this.#sql, groups)
  }

  readParked(ref: PartitionRef, wanted: readonly ParkedWanted[], maxBytes: number): Promise<ParkedPage> {
    return readParked(this.#sql, ref, wanted, maxBytes)
  }

  findReplayed(refs: readonly PartitionRef[]): Promise<readonly ReplayedTenant[]> {
    return replayedTenants(this.#sql, refs)
  }

  async deleteOutbox({ ref, commitId }: Inherited, upTo: OutboxPosition): Promise<boolean> {
    try {
      await this.#sql`
        select sys.fn_delete_outbox(${ref.group}, ${ref.topicId}, ${ref.partition}, ${commitId}, ${upTo.seq}, ${upTo.index})`
      return true
    } catch (error) {
      if (codeOf(error) !== fencedState) throw error
      return false
    }
  }

  readOutbox(ref: PartitionRef, after: OutboxPosition | null): Promise<OutboxPage> {
    return readOutbox(this.#sql, ref, after)
  }

  async loadStates(group: string, actor: string, tenants: readonly string[]): Promise<readonly StateRow[]> {
    const rows = await this.#sql<{ tenant_id: string; version: number; state: string; partition: number }[]>`
      select tenant_id, version, state::text as state, partition from sys.actor_state
      where group_name = ${group} and actor = ${actor} and tenant_id = any (${textArray(tenants)}::text[])`
    return rows.map(({ tenant_id, version, state, partition }) => ({
      tenant: tenant_id,
      version,
      json: state,
      partition,
    }))
  }

  async recordOffsets(group: string, offsets: readonly RecordedOffset[]): Promise<void> {
    await this.#sql`
      select sys.fn_record_consumer_offset(${group}, named.topic, named.partition, named.committed, nullif(named.log_end, -1))
      from unnest(
        ${textArray(offsets.map(({ topic }) => topic))}::text[], ${plainArray(offsets.map(({ partition }) => partition))}::integer[],
        ${plainArray(offsets.map(({ offset }) => offset))}::bigint[], ${plainArray(offsets.map(({ end }) => end))}::bigint[]
      ) as named (topic, partition, committed, log_end)`
  }

  async refuseOutbox(ref: PartitionRef, position: OutboxPosition, reason: string): Promise<void> {
    await this
      .#sql`select sys.fn_refuse_outbox(${ref.group}, ${ref.topic}, ${ref.topicId}, ${ref.partition}, ${position.seq}, ${position.index}, ${reason})`
  }

  async #inherits(ref: PartitionRef): Promise<PartitionRef[]> {
    const rows = await this.#sql<{ topic_id: string; partition: number }[]>`
      select older.topic_id, numbers.partition
      from sys.consumed_topics as own
      join sys.consumed_topics as older
        on older.group_name = own.group_name and older.topic = own.topic and older.begun_at < own.begun_at
      cross join generate_series(${ref.partition}::integer, older.partitions - 1, own.partitions) as numbers (partition)
      where own.group_name = ${ref.group} and own.topic_id = ${ref.topicId}
        and exists (
          select from sys.partition_progress as known
          where known.group_name = own.group_name and known.topic_id = older.topic_id and known.partition = numbers.partition
        )
      order by older.begun_at, numbers.partition`
    return rows.map(({ topic_id, partition }) => ({ ...ref, topicId: topic_id, partition }))
  }

  async #raise(ref: PartitionRef): Promise<ProgressRow> {
    try {
      const [row] = await this.#sql<ProgressRow[]>`
        select epoch::text, seq::text, commit_id, watermark::text, ahead::text, kafka_offset::text
        from sys.fn_own(${ref.group}, ${ref.topicId}, ${ref.partition}, ${this.#random.uuid()}, ${this.#process}, ${suspectLimit})`
      if (row === undefined) throw unanswered()
      return row
    } catch (error) {
      throw await this.#refusal(ref, error)
    }
  }

  async #inherit(older: PartitionRef, heir: PartitionRef): Promise<ProgressRow> {
    try {
      const [row] = await this.#sql<ProgressRow[]>`
        select epoch::text, seq::text, commit_id, watermark::text, ahead::text, kafka_offset::text
        from sys.fn_inherit(${older.group}, ${older.topicId}, ${older.partition}, ${heir.topicId}, ${heir.partition}, ${this.#random.uuid()})`
      if (row === undefined) throw unanswered()
      return row
    } catch (error) {
      throw await this.#refusal(older, error)
    }
  }

  /** Why `ref` was not raised; whoever has kept it locked for too long is ended first. */
  async #refusal(ref: PartitionRef, error: unknown): Promise<unknown> {
    const { group, topic, partition } = ref
    const code = codeOf(error)
    if (code === '55P03') await this.#endFrozenHolder(ref)
    if (code === supersededState)
      return new TenantryError(
        supersededCode,
        `Kafka's metadata says ${topic} is another one than the one that group ${group} has begun last: waiting until all brokers know the newest.`,
        { group, topic },
        { cause: error },
      )
    if (code === missingProgressState)
      return new TenantryError(
        noProgressCode,
        `${topic}-${partition} has no row in sys.partition_progress for group ${group}, although the topic was begun with it: restore the row, or begin at a position: tenantry offsets reset --group ${group} --topic ${topic} --partition ${partition} --to OFFSET --skip --reason WHY.`,
        { group, topic, partition },
        { cause: error },
      )
    return error
  }

  /** The same role may end its own backends. */
  async #endFrozenHolder(ref: PartitionRef): Promise<void> {
    await this
      .#sql`select sys.fn_end_lock_holders(${ref.group}, ${ref.topicId}, ${ref.partition}, make_interval(secs => ${this.#frozenAfterMs / 1_000}))`
  }
}

type ProgressRow = {
  epoch: string
  seq: string
  commit_id: string
  watermark: string
  ahead: string
  kafka_offset: string
}

function unanswered(): TenantryError {
  return new TenantryError('TENANTRY_NO_ANSWER', 'PostgreSQL raised an epoch and does not say to what')
}

/** `{[5,9),[12,13)}` */
function rangesOf(multirange: string): Range[] {
  return [...multirange.matchAll(/\[(\d+),(\d+)\)/g)].map(([, from, to]): Range => [Number(from), Number(to)])
}

import type postgres from 'postgres'
import { byteaText, plainArray, textArray } from './array-text.ts'
import type { Ask } from './control.ts'
import { own, type Step } from './group-commit.ts'
import type { ParkedPage, ParkedRow, ParkedTenant, ParkedWanted, ReplayedTenant } from './ownership.ts'
import type { Commit, Outcome, ParkedAt, PartitionRef, Retried } from './transactions.ts'

type Unparked = { readonly outcome: Outcome; readonly row: ParkedAt }
type Parking = { readonly outcome: Outcome; readonly since: number }
type Counted = Unparked & { readonly result: Retried }

/** Parked records get their rows; outcomes of parked ones take theirs with them, and a failed attempt is counted there. */
export function parkingSteps(sql: postgres.Sql, commit: Commit): Step[] {
  const parked: Parking[] = []
  const retried: Counted[] = []
  const ended: Unparked[] = []
  for (let i = 0; i < commit.outcomes.length; i++) {
    const outcome = commit.outcomes[i]
    if (outcome === undefined) continue
    const { row, result } = outcome
    if (result.kind === 'parked') parked.push({ outcome, since: result.since })
    else if (row !== null && result.kind === 'retried') retried.push({ outcome, row, result })
    else if (row !== null) ended.push({ outcome, row })
  }
  return [...park(sql, commit, parked), ...countAttempts(sql, commit, retried), ...unpark(sql, commit, ended)]
}

function refsOf({ partitions }: Commit, outcomes: readonly Outcome[]) {
  const refs = outcomes.map(({ partition }) => partitions[partition]?.ref)
  return {
    groups: textArray(refs.map((ref) => ref?.group ?? '')),
    topicIds: plainArray(refs.map((ref) => ref?.topicId ?? '')),
    numbers: plainArray(refs.map((ref) => ref?.partition ?? 0)),
    tenants: textArray(outcomes.map(({ tenant }) => tenant)),
    offsets: plainArray(outcomes.map(({ record }) => record.offset)),
  }
}

function park(sql: postgres.Sql, commit: Commit, parked: readonly Parking[]): Step[] {
  if (parked.length === 0) return []
  const outcomes = parked.map(({ outcome }) => outcome)
  const { groups, topicIds, numbers, tenants, offsets } = refsOf(commit, outcomes)
  const records = outcomes.map(({ record }) => record)
  const query = sql`
    insert into sys.parked_messages (
      group_name, topic_id, partition, tenant_id, record_offset, origin_topic_id, origin_partition, record_timestamp,
      record_key, record_value, header_names, header_values, attempts, first_failed_at, parked_at, rerun_since)
    select group_name, topic_id, partition, tenant_id, record_offset, topic_id, partition, record_timestamp, record_key,
      record_value, header_names::bytea[], header_values::bytea[], attempts, to_timestamp(first_failed_at / 1000.0),
      least(to_timestamp(since / 1000.0), clock_timestamp()), rerun_since
    from unnest(
      ${groups}::text[], ${topicIds}::uuid[], ${numbers}::integer[], ${tenants}::text[], ${offsets}::bigint[],
      ${plainArray(records.map(({ timestamp }) => storableTime(timestamp)))}::bigint[],
      ${textArray(records.map(({ key }) => byteaText(key)))}::bytea[], ${textArray(records.map(({ value }) => byteaText(value)))}::bytea[],
      ${textArray(records.map(({ headers }) => textArray(headers.map(([name]) => byteaText(name)))))}::text[],
      ${textArray(records.map(({ headers }) => textArray(headers.map(([, value]) => byteaText(value)))))}::text[],
      ${plainArray(outcomes.map(({ attempts }) => attempts))}::integer[],
      ${textArray(outcomes.map(({ firstFailedAt }) => (firstFailedAt > 0 ? String(firstFailedAt) : null)))}::double precision[],
      ${plainArray(parked.map(({ since }) => since))}::double precision[],
      ${textArray(outcomes.map(({ knownSince }) => knownSince))}::timestamptz[]
    ) as given (group_name, topic_id, partition, tenant_id, record_offset, record_timestamp, record_key, record_value,
      header_names, header_values, attempts, first_failed_at, since, rerun_since)`
  return [own(query)]
}

/** Kafka's are 64 bits, whatever a producer wrote into them; what JavaScript read of them may not fit. */
function storableTime(timestamp: number): number {
  return Math.max(-1, Math.min(timestamp, Number.MAX_SAFE_INTEGER))
}

function countAttempts(sql: postgres.Sql, commit: Commit, retried: readonly Counted[]): Step[] {
  if (retried.length === 0) return []
  const outcomes = retried.map(({ outcome }) => outcome)
  const { groups, topicIds, numbers, tenants, offsets } = refsOf(commit, outcomes)
  const query = sql`
    update sys.parked_messages as parked
    set attempts = greatest(parked.attempts, given.attempts), first_failed_at = to_timestamp(given.first_failed_at / 1000.0)
    from (
      select group_name, topic_id, partition, tenant_id, generation, record_offset, max(attempts) as attempts,
        min(first_failed_at) as first_failed_at
      from unnest(
        ${groups}::text[], ${topicIds}::uuid[], ${numbers}::integer[], ${tenants}::text[],
        ${plainArray(retried.map(({ row }) => row.generation))}::integer[], ${offsets}::bigint[],
        ${plainArray(retried.map(({ result }) => result.attempts))}::integer[],
        ${plainArray(outcomes.map(({ firstFailedAt }) => firstFailedAt))}::double precision[]
      ) as each (group_name, topic_id, partition, tenant_id, generation, record_offset, attempts, first_failed_at)
      group by group_name, topic_id, partition, tenant_id, generation, record_offset
    ) as given
    where parked.group_name = given.group_name and parked.topic_id = given.topic_id
      and parked.partition = given.partition and parked.tenant_id = given.tenant_id
      and parked.generation = given.generation and parked.record_offset = given.record_offset`
  return [own(query)]
}

function unpark(sql: postgres.Sql, commit: Commit, ended: readonly Unparked[]): Step[] {
  if (ended.length === 0) return []
  const outcomes = ended.map(({ outcome }) => outcome)
  const { groups, topicIds, numbers, tenants, offsets } = refsOf(commit, outcomes)
  const generations = plainArray(ended.map(({ row }) => row.generation))
  const places = plainArray(outcomes.map(({ partition }) => partition))
  return [
    own(
      sql`select sys.fn_unpark(${groups}, ${topicIds}, ${numbers}, ${tenants}, ${generations}, ${offsets}, ${places})`,
    ),
  ]
}

/** Of an item in memory besides its key and value, about. */
const itemBytes = 200

/** Parked records of some tenants of a partition, one tenant's after the other, while they have less than `maxBytes`. */
export async function readParked(
  sql: Ask,
  { group, topicId, partition }: PartitionRef,
  wanted: readonly ParkedWanted[],
  maxBytes: number,
): Promise<ParkedPage> {
  const found = await sql<ParkedColumns[]>`
    select *
    from (
      select wanted.nth, page.*,
        sum(page.bytes) over (order by wanted.nth, page.generation, page.record_offset) - page.bytes as before,
        sum(page.bytes) over () >= ${maxBytes} as cut
      from unnest(
        ${textArray(wanted.map(({ tenant }) => tenant))}::text[], ${plainArray(wanted.map(({ after }) => after?.generation ?? -2_147_483_648))}::integer[],
        ${plainArray(wanted.map(({ after }) => after?.offset ?? -1))}::bigint[], ${plainArray(wanted.map(({ rows }) => rows))}::integer[]
      ) with ordinality as wanted (tenant_id, generation, record_offset, most, nth)
      cross join lateral (
        select parked.tenant_id, parked.generation, parked.record_offset, parked.origin_topic_id, parked.origin_partition,
          parked.record_timestamp, parked.record_key, parked.record_value, to_json(parked.header_names) as header_names,
          to_json(parked.header_values) as header_values,
          parked.attempts, parked.first_failed_at, parked.parked_at, parked.replay_count, parked.holds_key,
          parked.replay_batch::text as replay_batch, parked.rerun_since::text as rerun_since,
          ${itemBytes} + coalesce(octet_length(parked.record_key), 0) + coalesce(octet_length(parked.record_value), 0) as bytes
        from sys.parked_messages as parked
        where parked.group_name = ${group} and parked.topic_id = ${topicId} and parked.partition = ${partition}
          and parked.tenant_id = wanted.tenant_id
          and (parked.generation, parked.record_offset) > (wanted.generation, wanted.record_offset)
        order by parked.generation, parked.record_offset
        limit wanted.most
      ) as page
    ) as pages
    where before < ${maxBytes}
    order by nth, generation, record_offset`
  return { rows: found.map(parkedRow), cut: found[0]?.cut ?? false }
}

/** Tenants with parked records in a partition. */
export async function parkedTenants(
  sql: Ask,
  { group, topicId, partition }: PartitionRef,
): Promise<readonly ParkedTenant[]> {
  return sql<ParkedTenant[]>`
    select tenant_id as tenant, (count(*) filter (where replay_count = 0))::integer as rows, bool_or(replay_count > 0) as replayed,
      (extract(epoch from min(parked_at)) * 1000)::float8 as since
    from sys.parked_messages
    where group_name = ${group} and topic_id = ${topicId} and partition = ${partition}
    group by tenant_id`
}

/** Tenants of these partitions with dead letters that were brought back. An index has those alone. */
export async function replayedTenants(sql: Ask, refs: readonly PartitionRef[]): Promise<readonly ReplayedTenant[]> {
  const found = await sql<{ place: number; tenant_id: string; generation: number; record_offset: string }[]>`
    select (named.nth - 1)::integer as place, replayed.*
    from unnest(
      ${textArray(refs.map(({ group }) => group))}::text[], ${plainArray(refs.map(({ topicId }) => topicId))}::uuid[],
      ${plainArray(refs.map(({ partition }) => partition))}::integer[]
    ) with ordinality as named (group_name, topic_id, partition, nth)
    cross join lateral (
      select distinct on (parked.tenant_id) parked.tenant_id, parked.generation, parked.record_offset::text
      from sys.parked_messages as parked
      where parked.group_name = named.group_name and parked.topic_id = named.topic_id
        and parked.partition = named.partition and parked.replay_count > 0
      order by parked.tenant_id, parked.generation, parked.record_offset
    ) as replayed`
  return found.map(({ place, tenant_id: tenant, generation, record_offset: offset }) => ({
    place,
    tenant,
    first: { generation, offset: Number(offset) },
  }))
}

function parkedRow(row: ParkedColumns): ParkedRow {
  return {
    tenant: row.tenant_id,
    at: {
      generation: row.generation,
      topicId: row.origin_topic_id,
      partition: row.origin_partition,
      replays: row.replay_count,
      ...(row.holds_key && { holdsKey: true }),
      ...(row.replay_batch !== null && { batch: Number(row.replay_batch) }),
    },
    record: {
      offset: Number(row.record_offset),
      timestamp: Number(row.record_timestamp),
      key: row.record_key,
      value: row.record_value,
      headers: row.header_names.map((name, i) => {
        const value = row.header_values[i] ?? null
        return [bytesOf(name), value === null ? null : bytesOf(value)]
      }),
    },
    attempts: row.attempts,
    firstFailedAt: row.first_failed_at?.getTime() ?? 0,
    since: row.parked_at.getTime(),
    knownSince: row.rerun_since,
  }
}

/** From `\x00ff`. */
function bytesOf(text: string): Buffer {
  return Buffer.from(text.slice(2), 'hex')
}

type ParkedColumns = {
  tenant_id: string
  generation: number
  record_offset: string
  origin_topic_id: string
  origin_partition: number
  record_timestamp: string
  record_key: Buffer | null
  record_value: Buffer | null
  /** As JSON: the driver takes a null among an array's bytes for no bytes. */
  header_names: string[]
  header_values: (string | null)[]
  attempts: number
  first_failed_at: Date | null
  parked_at: Date
  replay_count: number
  holds_key: boolean
  replay_batch: string | null
  rerun_since: string | null
  cut: boolean
}

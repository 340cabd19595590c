import type postgres from 'postgres'
import { plainArray, textArray } from './array-text.ts'
import type { Ask } from './control.ts'
import { own, storable, type Step } from './group-commit.ts'
import type { RetryRow } from './ownership.ts'
import type { Commit, Outcome, PartitionRef, Retried } from './transactions.ts'

/** Failed attempts are kept while they are repeated, and go with their record's outcome. */
export function retrySteps(sql: postgres.Sql, commit: Commit): Step[] {
  const kept = new Map<string, { readonly outcome: Outcome; readonly result: Retried }>()
  const ended: Outcome[] = []
  for (let i = 0; i < commit.outcomes.length; i++) {
    const outcome = commit.outcomes[i]
    if (outcome === undefined) continue
    const { result, partition, record } = outcome
    // Where PostgreSQL was away for long, one record may have failed twice: the last one counts.
    if (result.kind === 'retried' && outcome.row === null)
      kept.set(`${partition}/${record.offset}`, { outcome, result })
    else if (result.kind !== 'retried' && outcome.retried) ended.push(outcome)
  }
  return [...keep(sql, commit, [...kept.values()]), ...end(sql, commit, ended)]
}

function keep(
  sql: postgres.Sql,
  { partitions }: Commit,
  kept: readonly { readonly outcome: Outcome; readonly result: Retried }[],
): Step[] {
  if (kept.length === 0) return []
  const refs = kept.map(({ outcome }) => partitions[outcome.partition]?.ref)
  const results = kept.map(({ result }) => result)
  const outcomes = kept.map(({ outcome }) => outcome)
  const query = sql`
    insert into sys.retries as known (
      group_name, topic_id, partition, record_offset, tenant_id, actor, message_id, message_type, attempts,
      first_failed_at, failed_at, retry_at, reason, error_class, error_message)
    select group_name, topic_id, partition, record_offset, tenant_id, actor, message_id, message_type, attempts,
      to_timestamp(first_failed_at / 1000.0), clock_timestamp(), to_timestamp(retry_at / 1000.0), reason, error_class,
      error_message
    from unnest(
      ${textArray(refs.map((ref) => ref?.group ?? ''))}::text[], ${plainArray(refs.map((ref) => ref?.topicId ?? ''))}::uuid[],
      ${plainArray(refs.map((ref) => ref?.partition ?? 0))}::integer[], ${plainArray(outcomes.map(({ record }) => record.offset))}::bigint[],
      ${textArray(outcomes.map(({ tenant }) => tenant))}::text[], ${textArray(outcomes.map(({ actor }) => actor))}::text[],
      ${textArray(results.map(({ messageId }) => storable(messageId)))}::text[], ${textArray(results.map(({ type }) => storable(type)))}::text[],
      ${plainArray(results.map(({ attempts }) => attempts))}::integer[],
      ${plainArray(outcomes.map(({ firstFailedAt }) => firstFailedAt))}::double precision[],
      ${plainArray(results.map(({ retryAt }) => retryAt))}::double precision[],
      ${textArray(results.map(({ failure }) => storable(failure.reason)))}::text[],
      ${textArray(results.map(({ failure }) => storable(failure.errorClass)))}::text[],
      ${textArray(results.map(({ failure }) => storable(failure.message)))}::text[]
    ) as given (group_name, topic_id, partition, record_offset, tenant_id, actor, message_id, message_type, attempts,
      first_failed_at, retry_at, reason, error_class, error_message)
    on conflict (group_name, topic_id, partition, record_offset) do update
    set attempts = excluded.attempts, failed_at = excluded.failed_at, retry_at = excluded.retry_at,
      reason = excluded.reason, error_class = excluded.error_class, error_message = excluded.error_message`
  return [own(query)]
}

function end(sql: postgres.Sql, { partitions }: Commit, ended: readonly Outcome[]): Step[] {
  if (ended.length === 0) return []
  const refs = ended.map(({ partition }) => partitions[partition]?.ref)
  const query = sql`
    delete from sys.retries as known
    using unnest(
      ${textArray(refs.map((ref) => ref?.group ?? ''))}::text[], ${plainArray(refs.map((ref) => ref?.topicId ?? ''))}::uuid[],
      ${plainArray(refs.map((ref) => ref?.partition ?? 0))}::integer[], ${plainArray(ended.map(({ record }) => record.offset))}::bigint[]
    ) as over (group_name, topic_id, partition, record_offset)
    where known.group_name = over.group_name and known.topic_id = over.topic_id
      and known.partition = over.partition and known.record_offset = over.record_offset`
  return [own(query)]
}

/** Of records below `offset`. */
export async function forgetRetries(
  sql: Ask,
  { group, topicId, partition }: Omit<PartitionRef, 'topic'>,
  offset: number,
): Promise<void> {
  await sql`
    delete from sys.retries
    where group_name = ${group} and topic_id = ${topicId} and partition = ${partition} and record_offset < ${offset}`
}

/**
 * The failed attempts that earlier owners of a partition have left. Those of records that were passed over, as Kafka had
 * lost them, are nobody's any more.
 */
export async function leftRetries(
  sql: Ask,
  { group, topicId, partition }: PartitionRef,
  watermark: number,
): Promise<RetryRow[]> {
  await forgetRetries(sql, { group, topicId, partition }, watermark)
  const rows = await sql<{ record_offset: string; attempts: number; first_failed_at: string }[]>`
    select record_offset::text, attempts, (extract(epoch from first_failed_at) * 1000)::bigint::text as first_failed_at
    from sys.retries
    where group_name = ${group} and topic_id = ${topicId} and partition = ${partition}`
  return rows.map(({ record_offset, attempts, first_failed_at }) => ({
    offset: Number(record_offset),
    attempts,
    firstFailedAt: Number(first_failed_at),
  }))
}

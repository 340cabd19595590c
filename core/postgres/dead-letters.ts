import type postgres from 'postgres'
import { firstFailureOf, goesToTopic, originOf } from '../dead-letter.ts'
import { afterYear9999 } from '../timestamp.ts'
import { byteaText, plainArray, textArray } from './array-text.ts'
import { own, type Step, storable } from './group-commit.ts'
import type { Commit } from './transactions.ts'

/** The rows of records that were given up. Those that go to the topic, too, say so. */
export function deadLetterSteps(
  sql: postgres.Sql,
  { outcomes, partitions }: Commit,
  deadLetterTopic: string | null,
): Step[] {
  const letters = outcomes
    .filter(({ result }) => result.kind === 'failed')
    .flatMap((outcome) => {
      const { result, partition } = outcome
      const at = partitions[partition]
      return result.kind === 'failed' && at !== undefined ? [{ outcome, result, ref: originOf(outcome, at.ref) }] : []
    })
  if (letters.length === 0) return []
  const failures = letters.map(({ result }) => result.failure)
  const records = letters.map(({ outcome }) => outcome.record)
  const query = sql`
    insert into sys.dead_letters (
      group_name, topic, topic_id, partition, record_offset, record_timestamp, record_key, record_value, header_names,
      header_values, tenant_id, actor, message_id, message_type, trace_id, reason, error_class, error_message,
      error_stack, sqlstate, attempts, first_failed_at, failed_at, replay_count, holds_key, published)
    select group_name, topic, topic_id, partition, record_offset, to_timestamp(record_timestamp / 1000.0), record_key,
      record_value, header_names::bytea[], header_values::bytea[], tenant_id, actor, message_id, message_type, trace_id,
      reason, error_class, error_message, error_stack, sqlstate, attempts, to_timestamp(first_failed_at / 1000.0),
      to_timestamp(failed_at / 1000.0), replay_count, holds_key, published
    from unnest(
      ${textArray(letters.map(({ ref }) => ref.group))}::text[], ${textArray(letters.map(({ ref }) => ref.topic))}::text[],
      ${plainArray(letters.map(({ ref }) => ref.topicId))}::uuid[], ${plainArray(letters.map(({ ref }) => ref.partition))}::integer[],
      ${plainArray(records.map(({ offset }) => offset))}::bigint[],
      ${textArray(records.map(({ timestamp }) => (timestamp >= 0 ? String(Math.min(timestamp, afterYear9999 - 1)) : null)))}::bigint[],
      ${textArray(records.map(({ key }) => byteaText(key)))}::bytea[], ${textArray(records.map(({ value }) => byteaText(value)))}::bytea[],
      ${textArray(records.map(({ headers }) => textArray(headers.map(([name]) => byteaText(name)))))}::text[],
      ${textArray(records.map(({ headers }) => textArray(headers.map(([, value]) => byteaText(value)))))}::text[],
      ${textArray(letters.map(({ outcome }) => outcome.tenant))}::text[], ${textArray(letters.map(({ outcome }) => outcome.actor))}::text[],
      ${textArray(letters.map(({ result }) => storable(result.messageId)))}::text[], ${textArray(letters.map(({ result }) => storable(result.type)))}::text[],
      ${textArray(letters.map(({ result }) => storable(result.traceId)))}::text[], ${textArray(failures.map(({ reason }) => storable(reason)))}::text[],
      ${textArray(failures.map(({ errorClass }) => storable(errorClass)))}::text[], ${textArray(failures.map(({ message }) => storable(message)))}::text[],
      ${textArray(failures.map(({ stack }) => storable(stack)))}::text[], ${textArray(failures.map(({ sqlstate }) => sqlstate ?? null))}::text[],
      ${plainArray(letters.map(({ outcome }) => outcome.attempts + 1))}::integer[],
      ${plainArray(letters.map(({ outcome }) => firstFailureOf(outcome)))}::double precision[],
      ${plainArray(letters.map(({ outcome }) => outcome.failedAt))}::double precision[],
      ${plainArray(letters.map(({ outcome }) => outcome.row?.replays ?? 0))}::integer[],
      ${plainArray(letters.map(({ outcome, result }) => String(result.key !== null || outcome.row?.holdsKey === true)))}::boolean[],
      ${textArray(letters.map(({ ref }) => (goesToTopic(ref, deadLetterTopic) ? 'yes' : 'no')))}::text[]
    ) as given (group_name, topic, topic_id, partition, record_offset, record_timestamp, record_key, record_value,
      header_names, header_values, tenant_id, actor, message_id, message_type, trace_id, reason, error_class,
      error_message, error_stack, sqlstate, attempts, first_failed_at, failed_at, replay_count, holds_key, published)
    on conflict do nothing`
  return [own(query)]
}

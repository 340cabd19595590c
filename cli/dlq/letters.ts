import type postgres from 'postgres'
import { TenantryError } from '../../core/errors.ts'
import { byteaValues } from '../../core/postgres/array-values.ts'
import { conditionOf, type Filter } from './filter.ts'

/** A dead letter without its payload. */
export type Letter = {
  readonly id: number
  readonly state: string
  /** `record`: one that was consumed. `message`: one of an actor's that Kafka would not take. */
  readonly kind: 'record' | 'message'
  readonly group: string
  /** Where the record was; of a message, where it was to go, and null. */
  readonly topic: string
  readonly partition: number | null
  readonly offset: number | null
  readonly tenant: string
  readonly actor: string
  readonly type: string
  readonly messageId: string
  readonly traceId: string
  readonly reason: string
  readonly errorClass: string
  readonly errorMessage: string
  readonly sqlstate: string | null
  readonly attempts: number
  readonly replayCount: number
  readonly firstFailedAt: string
  readonly failedAt: string
  /** Whether its message is on the topic: `no`, `queued`, `yes`, or `refused: ` and why. */
  readonly published: string
}

export type Header = readonly [name: Buffer, value: Buffer | null]

/** A dead letter with everything. */
export type WholeLetter = Letter & {
  readonly errorStack: string
  readonly timestamp: string | null
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: readonly Header[]
  /** What operators did with it last. */
  readonly operation: Operation | null
}

type Operation = {
  readonly at: string
  readonly sessionName: string
  readonly givenName: string
  readonly action: string
  readonly reason: string
}

export type Page = { readonly letters: readonly Letter[]; readonly next: number | null }

/** The newest first. `next` is what `before` must be for those that follow; null when there are none. */
export async function listLetters(
  sql: postgres.Sql,
  filter: Filter,
  { limit, before }: { readonly limit: number; readonly before: number | null },
): Promise<Page> {
  const rows = await sql<Columns[]>`
    select ${columns(sql)} from sys.dead_letters as letter
    where ${conditionOf(sql, filter)} and (${before}::bigint is null or id < ${before})
    order by letter.id desc limit ${limit + 1}`
  const letters = rows.slice(0, limit).map(letterOf)
  return { letters, next: rows.length > limit ? (letters.at(-1)?.id ?? null) : null }
}

/** Throws TENANTRY_DEAD_LETTER_UNKNOWN. */
export async function findLetter(sql: postgres.Sql, id: number): Promise<WholeLetter> {
  const [row] = await sql<(Columns & MoreColumns)[]>`
    select ${columns(sql)}, error_stack, record_timestamp, record_key, record_value,
      header_names::text, header_values::text,
      (
        select json_build_object('at', at, 'sessionName', session_name, 'givenName', given_name, 'action', action, 'reason', reason)
        from sys.dlq_audit as audit where audit.operation = letter.operation order by audit.id desc limit 1
      ) as operation
    from sys.dead_letters as letter where id = ${id}`
  if (row === undefined)
    throw new TenantryError('TENANTRY_DEAD_LETTER_UNKNOWN', `There is no dead letter ${id}: see tenantry dlq list.`, {
      id,
    })
  const values = byteaValues(row.header_values)
  return {
    ...letterOf(row),
    errorStack: row.error_stack,
    timestamp: row.record_timestamp?.toISOString() ?? null,
    key: row.record_key,
    value: row.record_value,
    headers: byteaValues(row.header_names).map(
      (name, place): Header => [name ?? Buffer.alloc(0), values[place] ?? null],
    ),
    operation: row.operation && { ...row.operation, at: new Date(row.operation.at).toISOString() },
  }
}

type Columns = {
  id: string
  state: string
  outbox_place: number
  group_name: string
  topic: string
  partition: number
  record_offset: string
  tenant_id: string
  actor: string
  message_type: string
  message_id: string
  trace_id: string
  reason: string
  error_class: string
  error_message: string
  sqlstate: string | null
  attempts: number
  replay_count: number
  first_failed_at: Date
  failed_at: Date
  published_now: string
}

type MoreColumns = {
  error_stack: string
  record_timestamp: Date | null
  record_key: Buffer | null
  record_value: Buffer | null
  header_names: string
  header_values: string
  operation: Operation | null
}

function columns(sql: postgres.Sql) {
  return sql`
    id::text, state, outbox_place, group_name, topic, partition, record_offset::text, tenant_id, actor, message_type,
    message_id, trace_id, reason, error_class, error_message, sqlstate, attempts, replay_count, first_failed_at, failed_at,
    case when published = 'yes' and exists (
      select from sys.outbox as waiting
      where waiting.group_name = letter.group_name and waiting.dead_letter_topic_id = letter.topic_id
        and waiting.dead_letter_partition = letter.partition and waiting.dead_letter_offset = letter.record_offset
    ) then 'queued' else published end as published_now`
}

function letterOf(row: Columns): Letter {
  const consumed = row.outbox_place < 0
  return {
    id: Number(row.id),
    state: row.state,
    kind: consumed ? 'record' : 'message',
    group: row.group_name,
    topic: row.topic,
    partition: consumed ? row.partition : null,
    offset: consumed ? Number(row.record_offset) : null,
    tenant: row.tenant_id,
    actor: row.actor,
    type: row.message_type,
    messageId: row.message_id,
    traceId: row.trace_id,
    reason: row.reason,
    errorClass: row.error_class,
    errorMessage: row.error_message,
    sqlstate: row.sqlstate,
    attempts: row.attempts,
    replayCount: row.replay_count,
    firstFailedAt: row.first_failed_at.toISOString(),
    failedAt: row.failed_at.toISOString(),
    published: row.published_now,
  }
}

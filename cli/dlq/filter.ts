import type postgres from 'postgres'
import { codeOf, TenantryError } from '../../core/errors.ts'
import { plainArray } from '../../core/postgres/array-text.ts'

export const states = ['open', 'discarded', 'replayed'] as const

/** Which dead letters are meant: those for which all of it is true. */
export type Filter = {
  readonly group?: string
  readonly tenant?: string
  readonly topic?: string
  readonly type?: string
  readonly reason?: string
  /** The error's class, or a part of its message. */
  readonly error?: string
  /** By when they were given up. */
  readonly since?: Date
  readonly until?: Date
  /** A comparison by JSON path, for values that are JSON. */
  readonly jsonPath?: string
  readonly state?: (typeof states)[number]
  readonly ids?: readonly number[]
  /** What may be replayed: records of a tenant that were replayed less often. */
  readonly replayable?: number
  /** Up to and including this id. */
  readonly upTo?: number
}

/** The filter as a condition on sys.dead_letters. */
export function conditionOf(sql: postgres.Sql, filter: Filter) {
  const { group, tenant, topic, type, reason, error, since, until, jsonPath, state, ids, upTo, replayable } = filter
  const conditions = [
    ids !== undefined && sql`id = any (${plainArray(ids)}::bigint[])`,
    replayable !== undefined && sql`(outbox_place = -1 and tenant_id <> '' and replay_count < ${replayable})`,
    upTo !== undefined && sql`id <= ${upTo}`,
    state !== undefined && sql`state = ${state}`,
    group !== undefined && sql`group_name = ${group}`,
    tenant !== undefined && sql`tenant_id = ${tenant}`,
    topic !== undefined && sql`topic = ${topic}`,
    type !== undefined && sql`message_type = ${type}`,
    reason !== undefined && sql`reason = ${reason}`,
    error !== undefined && sql`(error_class = ${error} or position(${error} in error_message) > 0)`,
    since !== undefined && sql`failed_at >= ${since}`,
    until !== undefined && sql`failed_at < ${until}`,
    // PostgreSQL looks at what costs least first: this is asked of the rows that are left.
    jsonPath !== undefined && sql`sys.fn_value_matches(record_value, ${jsonPath}::jsonpath)`,
  ]
  return conditions.filter((condition) => condition !== false).reduce((all, one) => sql`${all} and ${one}`, sql`true`)
}

/** Throws TENANTRY_USAGE for a JSON path that PostgreSQL does not read, or that compares nothing. */
export async function checkFilter(sql: postgres.Sql, { jsonPath }: Filter): Promise<void> {
  if (jsonPath === undefined) return
  try {
    await sql`select jsonb_path_match('{}', ${jsonPath}::jsonpath)`
  } catch (error) {
    if (!/^(42601|42704|22...)$/.test(codeOf(error))) throw error
    const reason = error instanceof Error ? error.message.replace(/\.$/, '') : ''
    throw new TenantryError(
      'TENANTRY_USAGE',
      `--json-path wants a comparison, such as '$.payload.amount > 100': ${reason}.`,
      {},
      { cause: error },
    )
  }
}

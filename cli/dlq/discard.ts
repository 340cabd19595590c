import type postgres from 'postgres'
import { messageOf, TenantryError } from '../../core/errors.ts'
import { plainArray } from '../../core/postgres/array-text.ts'
import { conditionOf, type Filter } from './filter.ts'

export type Discarding = {
  readonly filter: Filter
  readonly givenName: string
  readonly reason: string
  /** A UUID: one for all batches, in the audit. */
  readonly operation: string
}

const batchSize = 1_000

/**
 * Marks what is open of these dead letters as discarded, some at a time, each time with a row in sys.dlq_audit. `progress`
 * is told how many are done. Returns how many were. Throws TENANTRY_DLQ_PARTLY when it could not go on.
 */
export async function discard(
  sql: postgres.Sql,
  { filter, givenName, reason, operation }: Discarding,
  progress: (done: number) => void,
): Promise<number> {
  const chosen = conditionOf(sql, { ...filter, state: 'open' })
  let done = 0
  let last = 0
  try {
    for (;;) {
      const batch = await sql<{ id: string }[]>`
        select id::text from sys.dead_letters as letter where ${chosen} and id > ${last} order by letter.id limit ${batchSize}`
      const ids = batch.map(({ id }) => id)
      if (ids.length === 0) return done
      const [row] = await sql<{ count: number }[]>`
        select sys.fn_discard_dead_letters(${plainArray(ids)}::bigint[], ${givenName}, ${reason},
          ${JSON.stringify(filter)}::text::jsonb, ${operation})::float8 as count`
      done += row?.count ?? 0
      last = Number(ids.at(-1))
      progress(done)
    }
  } catch (error) {
    if (done === 0) throw error
    throw new TenantryError(
      'TENANTRY_DLQ_PARTLY',
      `${done} dead letters were discarded, then it could not go on: ${messageOf(error)}. Run it again for the others.`,
      { discarded: done, operation },
      { cause: error },
    )
  }
}

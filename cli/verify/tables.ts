import type postgres from 'postgres'
import { codeOf, messageOf, TenantryError } from '../../core/errors.ts'

/** A connection, or a transaction that keeps one view of everything. */
export type Snapshot = postgres.ISql

/** The names of a table's columns. Throws TENANTRY_VERIFY_PLACE where there is no such table. */
export async function columnsOf(sql: Snapshot, table: string): Promise<readonly string[]> {
  const rows = await sql<{ name: string }[]>`
    select attname as name
    from pg_attribute
    where attrelid = to_regclass(${table}) and attnum > 0 and not attisdropped`
  if (rows.length === 0) throw wrongPlace(table, 'there is no such table, or this login may not see it')
  return rows.map(({ name }) => name)
}

/** Says which place was at fault when PostgreSQL refuses to read it. */
export async function named<T>(place: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read()
  } catch (error) {
    // Classes 42 (no such column, no right) and 22 (a value that does not fit); anything else is not the place's fault.
    if (/^(42|22)/.test(codeOf(error))) throw wrongPlace(place, messageOf(error), error)
    throw error
  }
}

/** What was named cannot be looked at. */
export function wrongPlace(place: string, reason: string, cause?: unknown): TenantryError {
  return new TenantryError(
    'TENANTRY_VERIFY_PLACE',
    `${place} cannot be read: ${reason}. Check --effects, --order and --chain.`,
    { place },
    { cause },
  )
}

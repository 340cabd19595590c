import postgres from 'postgres'
import { z } from 'zod'
import { exitCodeOf } from '../cli/exit.ts'
import { data, table, tellError, visible } from '../cli/output.ts'
import { explained } from '../cli/postgres-errors.ts'
import { loadConfig } from '../core/config/load.ts'
import { TenantryError } from '../core/errors.ts'

// node tools/up.mjs examples/sql.ts STATEMENT: runs it, or several, in the database of DATABASE_URL, for those without
// psql, and prints its rows.

try {
  const [statement] = process.argv.slice(2)
  if (statement === undefined)
    throw new TenantryError('TENANTRY_USAGE', 'sql.ts wants a statement, as in: examples/sql.ts "select now()"')
  const { config } = loadConfig({ env: process.env, needs: ['postgres'] })
  const sql = postgres(config.postgres.url, { max: 1, onnotice() {} })
  try {
    for (const rows of await explained(run(sql, statement))) {
      const [first] = rows
      if (first) data(table([Object.keys(first), ...rows.map((row) => Object.values(row).map(shown))]))
    }
  } finally {
    await sql.end({ timeout: 5 })
  }
} catch (error) {
  tellError(error, false)
  process.exitCode = exitCodeOf(error)
}

/** The rows of each statement. Of one the driver gives its rows, and of several a list of them. */
async function run(sql: postgres.Sql, statement: string) {
  const given: readonly unknown[] = [...(await sql.unsafe(statement))]
  return z.array(z.array(z.record(z.string(), z.unknown()))).parse(Array.isArray(given[0]) ? given : [given])
}

function shown(value: unknown): string {
  if (value instanceof Date) return value.toISOString()
  if (Buffer.isBuffer(value)) return visible(value.toString())
  return visible(typeof value === 'string' ? value : JSON.stringify(value))
}

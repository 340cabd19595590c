import postgres from 'postgres'
import { z } from 'zod'
import { exitCodeOf } from '../cli/exit.ts'
import { data, table, tellError } from '../cli/output.ts'
import { explained } from '../cli/postgres-errors.ts'
import { loadConfig } from '../core/config/load.ts'
import { TenantryError } from '../core/errors.ts'

// node tools/up.mjs examples/sql.ts STATEMENT: runs it in the database of DATABASE_URL, for those without psql, and
// prints its rows.

try {
  const [statement] = process.argv.slice(2)
  if (statement === undefined)
    throw new TenantryError('TENANTRY_USAGE', 'sql.ts wants a statement, as in: examples/sql.ts "select now()"')
  const { config } = loadConfig({ env: process.env, needs: ['postgres'] })
  const sql = postgres(config.postgres.url, { max: 1, onnotice() {} })
  try {
    const rows = z.array(z.record(z.string(), z.unknown())).parse([...(await explained(run(sql, statement)))])
    const [first] = rows
    if (first) data(table([Object.keys(first), ...rows.map((row) => Object.values(row).map(String))]))
  } finally {
    await sql.end({ timeout: 5 })
  }
} catch (error) {
  tellError(error, false)
  process.exitCode = exitCodeOf(error)
}

async function run(sql: postgres.Sql, statement: string) {
  return await sql.unsafe(statement)
}

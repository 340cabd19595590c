import type postgres from 'postgres'
import { requireSchema } from '../core/postgres/migrate.ts'
import { shortStatementMs, withSession } from '../core/postgres/session.ts'
import { explained } from './postgres-errors.ts'

/** Uses one connection to a database with the schema that this version needs. Throws what `explained` throws. */
export function usingDatabase<T>(url: string, command: string, use: (sql: postgres.Sql) => Promise<T>): Promise<T> {
  const session = { name: `tenantry ${command}`, statementMs: shortStatementMs }
  return explained(
    withSession(url, session, async (sql) => {
      await requireSchema(sql)
      return use(sql)
    }),
  )
}

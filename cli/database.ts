import postgres from 'postgres'
import { ownSettings } from '../core/postgres/lane-connection.ts'
import { requireSchema } from '../core/postgres/migrate.ts'
import { explained } from './postgres-errors.ts'

/** Uses one connection to a database with the schema that this version needs. Throws what `explained` throws. */
export function usingDatabase<T>(url: string, command: string, use: (sql: postgres.Sql) => Promise<T>): Promise<T> {
  const connect = async () => {
    const sql = postgres(url, {
      max: 1,
      onnotice() {},
      connect_timeout: 10,
      connection: { ...ownSettings, application_name: `tenantry ${command}` },
    })
    try {
      await requireSchema(sql)
      return await use(sql)
    } finally {
      await sql.end({ timeout: 5 })
    }
  }
  return explained(connect())
}

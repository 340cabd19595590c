import type postgres from 'postgres'
import { TenantryError } from '../errors.ts'
import { isServerError } from './sqlstate.ts'

/** The oldest PostgreSQL with all that sessions and migrations use; it brought transaction_timeout. */
const leastVersion = 17

/** What a session's first query says of the server, in the columns of `serverFacts`. */
export type ServerFacts = {
  readonly server: string
  readonly server_number: number
  /** Where a setting that every session asks for has come from. */
  readonly settings_from: string
}

/** Columns for the first query of a session that has asked for `sessionSettings` as it connected. */
export function serverFacts(sql: postgres.Sql): postgres.PendingQuery<postgres.Row[]> {
  return sql`
    current_setting('server_version') as server, current_setting('server_version_num')::integer as server_number,
    (select source from pg_settings where name = 'array_nulls') as settings_from`
}

/**
 * Throws TENANTRY_POSTGRES_VERSION where the server is too old, and TENANTRY_POSTGRES_POOLED where a pooler has dropped the
 * session's settings: it may also change the backend beneath us, and a lane that ends "its" backend would end another's.
 */
export function requireServer({ server, server_number: number, settings_from: from }: ServerFacts): void {
  if (number < leastVersion * 10_000) {
    throw new TenantryError(
      'TENANTRY_POSTGRES_VERSION',
      `This is PostgreSQL ${server}, and tenantry needs ${leastVersion} or later: upgrade the server, or set postgres.url to another.`,
      { found: server, least: leastVersion },
    )
  }
  if (from !== 'client' && from !== 'session') throw pooled("it drops a session's settings")
}

/** The same of what refused a connection; any other error as it is. PostgreSQL itself never says this. */
export function explainRefusal(error: unknown): unknown {
  return isServerError(error) && error.message.startsWith('unsupported startup parameter')
    ? pooled(error.message, error)
    : error
}

function pooled(reason: string, cause?: Error): TenantryError {
  return new TenantryError(
    'TENANTRY_POSTGRES_POOLED',
    `There is a connection pooler before PostgreSQL (${reason}): set postgres.url, and postgres.migrateUrl, to the server itself.`,
    {},
    { cause },
  )
}

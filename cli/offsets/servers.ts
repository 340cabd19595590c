import type postgres from 'postgres'
import { systemClock } from '../../core/clock.ts'
import { connectionOf } from '../../core/config/kafka-connection.ts'
import type { Config } from '../../core/config/schema.ts'
import { codeOf, TenantryError } from '../../core/errors.ts'
import { Cluster } from '../../core/kafka/cluster.ts'
import { requireSchema } from '../../core/postgres/migrate.ts'
import { shortStatementMs, withSession } from '../../core/postgres/session.ts'
import { explained } from '../postgres-errors.ts'

/** Both truths: PostgreSQL's, which counts, and Kafka's. */
export type Servers = { readonly sql: postgres.Sql; readonly cluster: Cluster }

/** Uses a connection to each; throws what `explained` throws, and TENANTRY_OFFSETS_BUSY. */
export function usingServers<T>(config: Config, use: (servers: Servers) => Promise<T>): Promise<T> {
  return explained(used(config, use))
}

async function used<T>(config: Config, use: (servers: Servers) => Promise<T>): Promise<T> {
  const { url, lockTimeoutMs } = config.postgres
  const session = { name: 'tenantry offsets', statementMs: shortStatementMs, lockTimeoutMs }
  const cluster = new Cluster(connectionOf(config), systemClock)
  try {
    return await withSession(url, session, async (sql) => {
      await requireSchema(sql)
      return use({ sql, cluster })
    })
  } catch (error) {
    if (codeOf(error) !== '55P03') throw error
    throw new TenantryError(
      'TENANTRY_OFFSETS_BUSY',
      `A commit of these partitions has held them for ${lockTimeoutMs / 1_000} s: nothing was done. Run it again; where that does not help, a daemon or a backend of its is frozen, and must end first.`,
      {},
      { cause: error },
    )
  } finally {
    await cluster.close()
  }
}

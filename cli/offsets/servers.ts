import postgres from 'postgres'
import { systemClock } from '../../core/clock.ts'
import { connectionOf } from '../../core/config/kafka-connection.ts'
import type { Config } from '../../core/config/schema.ts'
import { codeOf, TenantryError } from '../../core/errors.ts'
import { Cluster } from '../../core/kafka/cluster.ts'
import { ownSettings } from '../../core/postgres/lane-connection.ts'
import { requireSchema } from '../../core/postgres/migrate.ts'
import { explained } from '../postgres-errors.ts'

/** Both truths: PostgreSQL's, which counts, and Kafka's. */
export type Servers = { readonly sql: postgres.Sql; readonly cluster: Cluster }

/** Uses a connection to each; throws what `explained` throws, and TENANTRY_OFFSETS_BUSY. */
export function usingServers<T>(config: Config, use: (servers: Servers) => Promise<T>): Promise<T> {
  return explained(used(config, use))
}

async function used<T>(config: Config, use: (servers: Servers) => Promise<T>): Promise<T> {
  const { url, lockTimeoutMs } = config.postgres
  const sql = postgres(url, {
    max: 1,
    onnotice() {},
    connect_timeout: 10,
    connection: { ...ownSettings, application_name: 'tenantry offsets', lock_timeout: lockTimeoutMs },
  })
  const cluster = new Cluster(connectionOf(config), systemClock)
  try {
    await requireSchema(sql)
    return await use({ sql, cluster })
  } catch (error) {
    if (codeOf(error) !== '55P03') throw error
    throw new TenantryError(
      'TENANTRY_OFFSETS_BUSY',
      `A commit of these partitions has held them for ${lockTimeoutMs / 1_000} s: nothing was done. Run it again; where that does not help, a daemon or a backend of its is frozen, and must end first.`,
      {},
      { cause: error },
    )
  } finally {
    await Promise.all([cluster.close(), sql.end({ timeout: 5 })])
  }
}

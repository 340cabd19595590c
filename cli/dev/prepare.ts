import { systemClock } from '../../core/clock.ts'
import { topicSpecsOf } from '../../core/config/kafka-connection.ts'
import type { Config } from '../../core/config/schema.ts'
import { applyTopics } from '../../core/kafka/topics.ts'
import { migrateUp } from '../../core/postgres/migrate.ts'
import type { Addresses } from './dev.ts'

/**
 * Makes an empty local cluster one that a daemon can start on: migrates PostgreSQL, and creates the configured topics
 * with as many copies as there are brokers for. Harmless when repeated.
 */
export async function prepareDev(addresses: Addresses, config: Pick<Config, 'topics'>): Promise<void> {
  const bootstrap = addresses.kafka.split(',')
  const specs = topicSpecsOf(config, bootstrap.length)
  await Promise.all([
    migrateUp(addresses.postgres),
    applyTopics({ bootstrap, clientId: 'tenantry-dev' }, systemClock, specs),
  ])
}

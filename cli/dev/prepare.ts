import type { Config } from '../../core/config/schema.ts'
import { systemClock } from '../../core/clock.ts'
import { applyTopics } from '../../core/kafka/topics.ts'
import { migrateUp } from '../../core/postgres/migrate.ts'
import type { Addresses } from './dev.ts'

/**
 * Makes an empty local cluster one that a daemon can start on: migrates PostgreSQL, and creates the configured topics
 * with as many copies as there are brokers for. Harmless when repeated.
 */
export async function prepareDev(addresses: Addresses, topics: Config['topics']): Promise<void> {
  const bootstrap = addresses.kafka.split(',')
  const specs = Object.entries(topics).map(([name, topic]) => ({
    ...topic,
    name,
    configs: Object.fromEntries(Object.entries(topic.configs).map(([key, value]) => [key, String(value)])),
    replicationFactor: Math.min(topic.replicationFactor, bootstrap.length),
    minInSyncReplicas: Math.min(topic.minInSyncReplicas, bootstrap.length),
  }))
  await Promise.all([
    migrateUp(addresses.postgres),
    applyTopics({ bootstrap, clientId: 'tenantry-dev' }, systemClock, specs),
  ])
}

import type { Clock } from '../clock.ts'
import { TenantryError } from '../errors.ts'
import { Cluster } from './cluster.ts'
import type { KafkaConnection } from './options.ts'

/**
 * Resolves when the topic exists and we may see it. `otherwise` ends the sentence about one that does not. Rejects with
 * TENANTRY_TOPIC_MISSING, or TENANTRY_KAFKA_UNAVAILABLE when the cluster does not say.
 */
export async function requireTopic(
  connection: KafkaConnection,
  clock: Clock,
  topic: string,
  otherwise: string,
): Promise<void> {
  const cluster = new Cluster(connection, clock)
  try {
    if ((await cluster.describe(topic)) === undefined)
      throw new TenantryError('TENANTRY_TOPIC_MISSING', `The topic ${topic} does not exist: ${otherwise}`, { topic })
  } finally {
    await cluster.close()
  }
}

import type { Clock } from '../clock.ts'
import { TenantryError } from '../errors.ts'
import { Cluster } from './cluster.ts'
import type { KafkaConnection } from './options.ts'

/**
 * Resolves when the brokers have the group protocol `consumer`; both drivers would try for ever, and say little of why.
 * Rejects with TENANTRY_KAFKA_PROTOCOL, or TENANTRY_KAFKA_UNAVAILABLE when the cluster does not say.
 */
export async function requireConsumerProtocol(connection: KafkaConnection, clock: Clock): Promise<void> {
  const cluster = new Cluster(connection, clock)
  try {
    // Its first version is that of Kafka's previews.
    if (!(await cluster.speaks('ConsumerGroupHeartbeat', 1))) throw noConsumerProtocol()
  } finally {
    await cluster.close()
  }
}

/** The brokers are too old for KIP-848, or are set to do without. */
export function noConsumerProtocol(cause?: Error): TenantryError {
  return new TenantryError(
    'TENANTRY_KAFKA_PROTOCOL',
    'The brokers do not have the group protocol "consumer" (KIP-848): set consumer.protocol to classic, or use Kafka 4.0 or later.',
    {},
    { cause },
  )
}

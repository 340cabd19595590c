import type { KafkaConnection } from '../kafka/options.ts'
import type { TopicSpec } from '../kafka/topic-spec.ts'
import type { Config } from './schema.ts'

/** Java's clients, too, give a request up after so long. */
const requestMs = { least: 5_000, most: 30_000 } as const

/** How to reach the cluster, as the drivers want it. */
export function connectionOf({ kafka, consumer }: Config): KafkaConnection {
  const { ca, cert, key, keyPassword, verify, enabled } = kafka.tls
  return {
    bootstrap: kafka.brokers,
    clientId: kafka.clientId,
    // What a broken connection holds up is found anew before the member's session is over.
    requestTimeoutMs: Math.max(
      requestMs.least,
      Math.min(requestMs.most, Math.floor((consumer.sessionTimeoutMs * 2) / 3)),
    ),
    ...(enabled && {
      tls: {
        ...(ca !== undefined && { ca }),
        ...(cert !== undefined && { cert }),
        ...(key !== undefined && { key }),
        ...(keyPassword !== undefined && { passphrase: keyPassword }),
        rejectUnauthorized: verify,
      },
    }),
    ...(kafka.sasl && { sasl: kafka.sasl }),
  }
}

/**
 * The topics that configuration wants. `maxReplicas` lowers copies to what a small cluster has brokers for; records must
 * still be in one copy fewer than there are, two of three, one of one.
 */
export function topicSpecsOf(
  { topics }: Pick<Config, 'topics'>,
  maxReplicas = Number.POSITIVE_INFINITY,
): readonly TopicSpec[] {
  return Object.entries(topics).map(
    ([name, { partitions, retentionMs, replicationFactor, minInSyncReplicas, configs }]) => {
      const replicas = Math.min(replicationFactor, maxReplicas)
      return {
        name,
        partitions,
        retentionMs,
        replicationFactor: replicas,
        minInSyncReplicas:
          replicas < replicationFactor ? Math.min(minInSyncReplicas, Math.max(1, replicas - 1)) : minInSyncReplicas,
        configs: Object.fromEntries(Object.entries(configs).map(([key, value]) => [key, String(value)])),
      }
    },
  )
}

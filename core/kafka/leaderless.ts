import { type ClusterMetadata, findErrorBy } from '@platformatic/kafka'
import { z } from 'zod'

/** An answer to a question for metadata, as @platformatic/kafka's errors have it. */
const answer = z.object({
  clusterId: z.string(),
  controllerId: z.number(),
  brokers: z.array(z.object({ nodeId: z.number(), host: z.string(), port: z.number(), rack: z.string().nullable() })),
  topics: z.array(
    z.object({
      errorCode: z.literal(0),
      name: z.string(),
      topicId: z.string(),
      partitions: z.array(
        z.object({
          partitionIndex: z.number(),
          leaderId: z.number(),
          leaderEpoch: z.number(),
          replicaNodes: z.array(z.number()),
          isrNodes: z.array(z.number()),
          offlineReplicas: z.array(z.number()),
        }),
      ),
    }),
  ),
})

/**
 * What brokers have said where partitions have no leader, and else nothing is wrong: for @platformatic/kafka one such
 * partition makes an error of the whole answer. Such a partition's leader is -1. Undefined: something else is wrong.
 */
export function leaderlessMetadata(error: unknown, now: number): ClusterMetadata | undefined {
  if (!(error instanceof Error)) return undefined
  const { success, data } = answer.safeParse(findErrorBy(error, 'code', 'PLT_KFK_RESPONSE')?.['response'])
  if (!success) return undefined
  const topics = data.topics.map(({ name, topicId, partitions }) => {
    const sorted = partitions
      .toSorted((a, b) => a.partitionIndex - b.partitionIndex)
      .map(({ leaderId, leaderEpoch, replicaNodes, isrNodes, offlineReplicas }) => {
        return { leader: leaderId, leaderEpoch, replicas: replicaNodes, isr: isrNodes, offlineReplicas }
      })
    return [name, { id: topicId, partitions: sorted, partitionsCount: sorted.length, lastUpdate: now }] as const
  })
  return {
    id: data.clusterId,
    controllerId: data.controllerId,
    brokers: new Map(data.brokers.map(({ nodeId, host, port, rack }) => [nodeId, { host, port, rack }])),
    topics: new Map(topics),
    lastUpdate: now,
  }
}

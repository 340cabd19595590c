import { TenantryError } from '../../core/errors.ts'
import { didYouMean } from '../../core/nearest-name.ts'
import type { Servers } from './servers.ts'

/** Partitions of a topic that a group has begun to read, as both servers know them. */
export type Place = {
  readonly group: string
  readonly topic: string
  readonly topicId: string
  readonly partitions: readonly number[]
}

export type Named = {
  readonly group: string
  readonly topic: string
  /** All that there are when left out. */
  readonly partitions?: readonly number[]
}

/**
 * Finds what was named. Throws TENANTRY_OFFSETS_PLACE for what the group has not begun to read, TENANTRY_TOPIC_MISSING,
 * TENANTRY_OFFSETS_RECREATED and TENANTRY_OTHER_CLUSTER where Kafka has another topic, or is another one.
 */
export async function findPlace({ sql, cluster }: Servers, { group, topic, partitions }: Named): Promise<Place> {
  const rows = await sql<ConsumedRow[]>`
    select group_name, topic, topic_id::text, cluster_id, partitions from sys.consumed_topics order by begun_at desc`
  const own = rows.filter((row) => row.group_name === group)
  if (own.length === 0)
    throw unknown('group', group, new Set(rows.map(({ group_name }) => group_name)), 'with this database')
  const read = own.filter((row) => row.topic === topic)
  if (read.length === 0) throw unknown('topic', topic, new Set(own.map((row) => row.topic)), `by group ${group}`)
  const [found, clusterId] = await Promise.all([cluster.describe(topic), cluster.clusterId()])
  if (read.some(({ cluster_id }) => cluster_id !== clusterId))
    throw new TenantryError(
      'TENANTRY_OTHER_CLUSTER',
      `Group ${group} has its progress for Kafka cluster ${read[0]?.cluster_id ?? ''}, but this is cluster ${clusterId}: check kafka.brokers and postgres.url.`,
      { group, clusterId },
    )
  if (found === undefined)
    throw new TenantryError('TENANTRY_TOPIC_MISSING', `The topic ${topic} does not exist in Kafka any more.`, { topic })
  const begun = read.find(({ topic_id }) => topic_id === found.id)
  if (begun === undefined)
    throw new TenantryError(
      'TENANTRY_OFFSETS_RECREATED',
      `The topic ${topic} was recreated, and no daemon of group ${group} has begun to read it yet: it begins at 0 by itself.`,
      { group, topic, topicId: found.id },
    )
  const all = Array.from({ length: begun.partitions }, (_, partition) => partition)
  for (const partition of partitions ?? []) {
    if (partition >= found.partitions)
      throw new TenantryError(
        'TENANTRY_OFFSETS_PLACE',
        `The topic ${topic} has no partition ${partition}: it has 0 to ${found.partitions - 1}.`,
        { topic, partition },
      )
    if (partition >= begun.partitions)
      throw new TenantryError(
        'TENANTRY_OFFSETS_PLACE',
        `Partition ${partition} of ${topic} was added, and no daemon of group ${group} has begun to read it yet: it begins at 0 by itself.`,
        { topic, partition },
      )
  }
  const wanted = partitions === undefined ? all : [...new Set(partitions)].sort((a, b) => a - b)
  return { group, topic, topicId: found.id, partitions: wanted }
}

type ConsumedRow = { group_name: string; topic: string; topic_id: string; cluster_id: string; partitions: number }

function unknown(what: 'group' | 'topic', name: string, known: ReadonlySet<string>, where: string): TenantryError {
  const list = [...known].sort()
  return new TenantryError(
    'TENANTRY_OFFSETS_PLACE',
    `No ${what} ${name} was ever read ${where}${didYouMean(name, list)}: there is ${list.join(', ') || 'none'}.`,
    { [what]: name },
  )
}

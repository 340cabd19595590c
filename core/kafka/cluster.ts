import {
  type Broker,
  type ClusterMetadata,
  FetchIsolationLevels,
  FindCoordinatorKeyTypes,
  findErrorBy,
} from '@platformatic/kafka'
import { type Clock, withDeadline } from '../clock.ts'
import { errorOf, messageOf, TenantryError } from '../errors.ts'
import { AnyBroker } from './any-broker.ts'
import { leaderlessMetadata } from './leaderless.ts'
import type { KafkaConnection } from './options.ts'
import type { LogRange, PartitionOffset, TopicDescription, TopicPartition } from './source.ts'

/** ListOffsets answers these for the log's start and its end. */
const logStart = -2n
const logEnd = -1n

/**
 * What both drivers ask the cluster, and neither their consumer: topics, the logs' bounds, the group's offsets. One
 * client of @platformatic/kafka, so that the answers mean the same whichever driver reads. Every method rejects with
 * `TENANTRY_KAFKA_UNAVAILABLE` when the cluster does not answer.
 */
export class Cluster {
  readonly #brokers: AnyBroker
  readonly #clock: Clock
  readonly #names = new Map<string, string>()

  constructor(connection: KafkaConnection, clock: Clock) {
    this.#brokers = new AnyBroker(connection, clock)
    this.#clock = clock
  }

  /** Undefined for a topic that does not exist. */
  async describe(topic: string): Promise<TopicDescription | undefined> {
    try {
      const { topics } = await this.#metadata([topic])
      const found = topics.get(topic)
      return found && { topic, id: found.id, partitions: found.partitionsCount }
    } catch (error) {
      if (isUnknownTopic(error)) return undefined
      throw unavailable(`describe topic ${topic}`, error)
    }
  }

  async clusterId(): Promise<string> {
    try {
      const { id } = await this.#metadata([])
      return id
    } catch (error) {
      throw unavailable('read the cluster id', error)
    }
  }

  /** `end` is the last stable offset: what a read-committed consumer can reach. */
  async range(partitions: readonly TopicPartition[]): Promise<readonly LogRange[]> {
    const starts = await this.#offsets(partitions, logStart)
    const ends = await this.#offsets(partitions, logEnd)
    return partitions.flatMap((partition) => {
      const start = starts.get(keyOf(partition))
      const end = ends.get(keyOf(partition))
      return start === undefined || end === undefined ? [] : [{ ...plain(partition), start, end }]
    })
  }

  async offsetsAt(partitions: readonly TopicPartition[], timestamp: number): Promise<readonly PartitionOffset[]> {
    const found = await this.#offsets(partitions, BigInt(Math.max(0, Math.trunc(timestamp))))
    const late = partitions.filter((partition) => (found.get(keyOf(partition)) ?? -1) < 0)
    const ends = late.length === 0 ? new Map<string, number>() : await this.#offsets(late, logEnd)
    return partitions.flatMap((partition) => {
      const at = found.get(keyOf(partition)) ?? -1
      const offset = at >= 0 ? at : ends.get(keyOf(partition))
      return offset === undefined ? [] : [{ ...plain(partition), offset }]
    })
  }

  /** The group's offsets, waiting for none: a partition under an open transaction rejects as unavailable (KIP-447). */
  async committed(group: string, partitions: readonly TopicPartition[]): Promise<readonly PartitionOffset[]> {
    if (partitions.length === 0) return []
    try {
      const topics = byTopic(partitions, ({ partition }) => partition)
      const wanted = {
        groupId: group,
        topics: topics.map(([name, partitionIndexes]) => ({ name, partitionIndexes })),
      }
      const groups = await this.#brokers.ask((client) =>
        client.listConsumerGroupOffsets({ groups: [wanted], requireStable: true }),
      )
      return groups.flatMap(({ topics: answered }) =>
        answered.flatMap(({ name, partitions: found }) =>
          found
            .filter(({ committedOffset }) => committedOffset >= 0n)
            .map(({ partitionIndex, committedOffset }) => ({
              topic: name,
              partition: partitionIndex,
              offset: Number(committedOffset),
            })),
        ),
      )
    } catch (error) {
      throw unavailable(`read the offsets of group ${group}`, error)
    }
  }

  /** Where a group is coordinated. */
  async coordinator(group: string): Promise<Broker> {
    try {
      const [found] = await this.#brokers.ask((client) =>
        client.findCoordinator({ keyType: FindCoordinatorKeyTypes.GROUP, keys: [group] }),
      )
      if (!found) throw new Error('no broker coordinates it')
      return { host: found.host, port: found.port }
    } catch (error) {
      throw unavailable(`find the coordinator of group ${group}`, error)
    }
  }

  /** Leaders, ids and partition counts of topics; those that do not exist, or that we may not see, are left out. */
  async topology(topics: readonly string[]): Promise<ClusterMetadata> {
    try {
      return await this.#metadata(topics)
    } catch (error) {
      if (!isUnknownTopic(error) && !isDenied(error)) throw unavailable('read the topics', error)
    }
    const known: string[] = []
    for (const topic of topics) {
      const found = await this.describe(topic).catch((error: unknown) => {
        if (isDenied(error)) return undefined
        throw error
      })
      if (found) known.push(topic)
    }
    try {
      return await this.#metadata(known)
    } catch (error) {
      throw unavailable('read the topics', error)
    }
  }

  /** Names by topic id; from memory unless `fresh`. */
  async topicNames(topics: readonly string[], fresh: boolean): Promise<ReadonlyMap<string, string>> {
    if (fresh || topics.some((topic) => ![...this.#names.values()].includes(topic))) {
      const { topics: found } = await this.topology(topics)
      for (const [name, { id }] of found) this.#names.set(id, name)
    }
    return this.#names
  }

  /** The highest version of an API that the brokers offer, within what we speak. Rejects when there is none. */
  async version(api: string, { min, max }: { readonly min: number; readonly max: number }): Promise<number> {
    try {
      const offered = (await this.#brokers.ask((client) => client.listApis())).find(({ name }) => name === api)
      const version = offered ? Math.min(offered.maxVersion, max) : -1
      if (!offered || version < Math.max(offered.minVersion, min))
        throw new Error(`the brokers speak ${api} up to ${offered?.maxVersion ?? 'no'} version, ${min} is needed`)
      return version
    } catch (error) {
      throw unavailable(`use ${api}`, error)
    }
  }

  /** Whether the broker that was asked offers this version of an API. */
  async speaks(api: string, version: number): Promise<boolean> {
    try {
      const offered = await this.#brokers.ask((client) => client.listApis())
      return offered.some(
        ({ name, minVersion, maxVersion }) => name === api && minVersion <= version && version <= maxVersion,
      )
    } catch (error) {
      throw unavailable('list what it speaks', error)
    }
  }

  async close(): Promise<void> {
    await withDeadline(this.#clock, this.#brokers.close(), 2_000)
  }

  async #metadata(topics: readonly string[]): Promise<ClusterMetadata> {
    const metadata = await this.#brokers.ask((client) =>
      client.metadata({ topics: [...topics], forceUpdate: true, retries: 0 }).catch((error: unknown) => {
        const found = leaderlessMetadata(error, this.#clock.now())
        if (found === undefined) throw error
        return found
      }),
    )
    this.#brokers.learn(metadata)
    return metadata
  }

  async #offsets(partitions: readonly TopicPartition[], timestamp: bigint): Promise<Map<string, number>> {
    const offsets = new Map<string, number>()
    if (partitions.length === 0) return offsets
    try {
      const wanted = byTopic(partitions, ({ partition }) => ({ partitionIndex: partition, timestamp }))
      const topics = await this.#brokers.ask((client) =>
        client.listOffsets({
          topics: wanted.map(([name, of]) => ({ name, partitions: of })),
          isolationLevel: FetchIsolationLevels.READ_COMMITTED,
        }),
      )
      for (const topic of topics) {
        for (const { partitionIndex, offset } of topic.partitions)
          offsets.set(`${topic.name} ${partitionIndex}`, Number(offset))
      }
    } catch (error) {
      throw unavailable('list offsets', error)
    }
    return offsets
  }
}

/** A partition's name as a map's key: topics hold no spaces. */
export function keyOf({ topic, partition }: TopicPartition): string {
  return `${topic} ${partition}`
}

function plain({ topic, partition }: TopicPartition): TopicPartition {
  return { topic, partition }
}

function byTopic<T>(
  partitions: readonly TopicPartition[],
  map: (partition: TopicPartition) => T,
): [topic: string, items: T[]][] {
  return [...Map.groupBy(partitions, ({ topic }) => topic)].map(([topic, of]) => [topic, of.map(map)])
}

/** The client turns UNKNOWN_TOPIC_OR_PARTITION of a metadata request into an error with this text and no code. */
export function isUnknownTopic(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  return findErrorBy(error, 'apiCode', 3) !== null || /Unknown topic /.test(error.message)
}

/** TOPIC_AUTHORIZATION_FAILED, however deep. */
function isDenied(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  return findErrorBy(error, 'apiCode', 29) !== null || isDenied(error.cause)
}

export function unavailable(what: string, cause: unknown): TenantryError {
  return new TenantryError(
    'TENANTRY_KAFKA_UNAVAILABLE',
    `Kafka did not let us ${what}: ${reasonOf(cause)}. Check that the brokers are up and that this client may do it.`,
    { what },
    { cause: errorOf(cause) },
  )
}

/** The reasons within reasons: the client wraps errors in errors. */
export function reasonOf(error: unknown): string {
  if (error instanceof AggregateError) {
    const last: unknown = error.errors.at(-1)
    if (last !== undefined) return reasonOf(last)
  }
  const message = messageOf(error).replace(/\.+$/, '')
  return error instanceof Error && error.cause !== undefined ? `${message}: ${reasonOf(error.cause)}` : message
}

import { ConfigResourceTypes, IncrementalAlterConfigOperationTypes } from '@platformatic/kafka'
import { TenantryError } from '../errors.ts'
import { type Clock, sleep, withDeadline } from '../clock.ts'
import { AnyBroker } from './any-broker.ts'
import { isOneOf } from './coordinator.ts'
import { isUnknownTopic, unavailable } from './cluster.ts'
import type { KafkaConnection } from './options.ts'
import { type ActualTopic, topicConfigs, type TopicSpec } from './topic-spec.ts'

/**
 * Topics on a cluster: reads them, and creates, grows and configures them. It deletes nothing. What is to be changed is
 * read first, so changes go by way of a broker that has answered.
 */
export class TopicAdmin {
  readonly #brokers: AnyBroker
  readonly #clock: Clock

  constructor(connection: KafkaConnection, clock: Clock) {
    this.#brokers = new AnyBroker({ ...connection, clientId: `${connection.clientId}-topics` }, clock)
    this.#clock = clock
  }

  /** Those of the specified topics that exist, with all their settings. */
  async read(specs: readonly TopicSpec[]): Promise<readonly ActualTopic[]> {
    const found: ActualTopic[] = []
    for (const spec of specs) {
      const topic = await this.#describe(spec)
      if (topic) found.push(topic)
    }
    return found
  }

  /** Creates topics and waits until each partition has a leader. One that somebody else has just created is no error. */
  async create(specs: readonly TopicSpec[]): Promise<void> {
    for (const spec of specs) {
      try {
        await this.#brokers.prompt.createTopics({
          topics: [{ topic: spec.name, partitions: spec.partitions, replicas: spec.replicationFactor }],
          configs: Object.entries(topicConfigs(spec)).map(([name, value]) => ({ name, value })),
        })
      } catch (error) {
        if (isOneOf(error, ['INVALID_CONFIG'])) throw invalid(spec.name, topicConfigs(spec))
        if (!isOneOf(error, ['TOPIC_ALREADY_EXISTS'])) throw unavailable(`create topic ${spec.name}`, error)
      }
    }
    for (const spec of specs) await this.#settled(spec)
  }

  /** Adds partitions up to `partitions`. */
  async grow(topics: readonly { readonly topic: string; readonly partitions: number }[]): Promise<void> {
    for (const { topic, partitions } of topics) {
      try {
        await this.#brokers.prompt.createPartitions({ topics: [{ name: topic, count: partitions, assignments: null }] })
      } catch (error) {
        throw unavailable(`add partitions to topic ${topic}`, error)
      }
    }
  }

  /** Sets single settings; the others of the topic stay as they are. */
  async configure(
    changes: readonly { readonly topic: string; readonly setting: string; readonly value: string }[],
  ): Promise<void> {
    for (const { topic, setting, value } of changes) {
      try {
        await this.#brokers.prompt.incrementalAlterConfigs({
          resources: [
            {
              resourceType: ConfigResourceTypes.TOPIC,
              resourceName: topic,
              configs: [{ name: setting, configOperation: IncrementalAlterConfigOperationTypes.SET, value }],
            },
          ],
        })
      } catch (error) {
        if (isOneOf(error, ['INVALID_CONFIG'])) throw invalid(topic, { [setting]: value })
        throw unavailable(`set ${setting} of topic ${topic}`, error)
      }
    }
  }

  async close(): Promise<void> {
    await withDeadline(this.#clock, this.#brokers.close(), 2_000)
  }

  async #describe(spec: TopicSpec): Promise<ActualTopic | undefined> {
    try {
      const { topics } = await this.#brokers.ask((client) =>
        client.metadata({ topics: [spec.name], forceUpdate: true, retries: 0 }),
      )
      const topic = topics.get(spec.name)
      if (!topic) return undefined
      const [described] = await this.#brokers.ask((client) =>
        client.describeConfigs({
          resources: [
            {
              resourceType: ConfigResourceTypes.TOPIC,
              resourceName: spec.name,
            },
          ],
        }),
      )
      return {
        name: spec.name,
        id: topic.id,
        partitions: topic.partitionsCount,
        replicationFactor: topic.partitions[0]?.replicas.length ?? 0,
        configs: Object.fromEntries((described?.configs ?? []).map(({ name, value }) => [name, value ?? ''])),
      }
    } catch (error) {
      if (isUnknownTopic(error)) return undefined
      throw unavailable(`read topic ${spec.name}`, error)
    }
  }

  /** The broker that is asked next may not have heard of the topic yet. */
  async #settled(spec: TopicSpec): Promise<void> {
    const deadline = this.#clock.monotonic() + 10_000
    for (;;) {
      const topic = await this.#describe(spec).catch(() => undefined)
      if (topic && topic.partitions >= spec.partitions) return
      if (this.#clock.monotonic() > deadline)
        throw unavailable(`see topic ${spec.name} after creating it`, new Error('it did not appear within 10 s'))
      await sleep(this.#clock, 50)
    }
  }
}

/** Brokers do not say which of them they mean. */
function invalid(topic: string, configs: Readonly<Record<string, string>>): TenantryError {
  const given = Object.entries(configs).map(([setting, value]) => `${setting} = ${value}`)
  return new TenantryError(
    'TENANTRY_TOPIC_INVALID',
    `Kafka refuses the settings of topic ${topic}: a name or a value among ${given.join(', ')}. Correct topics.${topic}.configs.`,
    { topic },
  )
}

import { TenantryError } from '../errors.ts'

/** A topic as configuration wants it. */
export type TopicSpec = {
  readonly name: string
  readonly partitions: number
  readonly retentionMs: number
  readonly replicationFactor: number
  readonly minInSyncReplicas: number
  /** Further topic configuration, by Kafka's names and values. */
  readonly configs?: Readonly<Record<string, string>>
}

/** A topic as the cluster has it. `configs` are all its settings as they are in force, wherever they come from. */
export type ActualTopic = {
  readonly name: string
  readonly id: string
  readonly partitions: number
  readonly replicationFactor: number
  readonly configs: Readonly<Record<string, string>>
}

/** Kafka's configuration of a topic that a specification fixes. */
export function topicConfigs(spec: TopicSpec): Readonly<Record<string, string>> {
  return {
    'retention.ms': String(spec.retentionMs),
    'min.insync.replicas': String(spec.minInSyncReplicas),
    ...spec.configs,
  }
}

/** Throws when two specifications name one topic, or a number makes no sense. */
export function checkSpecs(desired: readonly TopicSpec[]): void {
  const names = new Set<string>()
  for (const { name, partitions, replicationFactor, minInSyncReplicas } of desired) {
    if (names.has(name))
      throw new TenantryError('TENANTRY_TOPIC_TWICE', `Topic ${name} is specified twice. Keep one of the two.`, {
        topic: name,
      })
    names.add(name)
    if (partitions < 1)
      throw new TenantryError('TENANTRY_TOPIC_INVALID', `Topic ${name} needs at least one partition.`, {
        topic: name,
        partitions,
      })
    if (minInSyncReplicas > replicationFactor)
      throw new TenantryError(
        'TENANTRY_TOPIC_INVALID',
        `Topic ${name} wants ${minInSyncReplicas} replicas in sync of ${replicationFactor}: nothing could ever be written to it. Lower min in-sync replicas.`,
        { topic: name, replicationFactor, minInSyncReplicas },
      )
  }
}

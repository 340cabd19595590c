import type { Clock } from '../clock.ts'
import { didYouMean } from '../nearest-name.ts'
import { TopicAdmin } from './admin.ts'
import type { KafkaConnection } from './options.ts'
import { type ActualTopic, topicConfigs, type TopicSpec } from './topic-spec.ts'

/**
 * What separates a topic from its specification. `refused` is what apply will not do, because records or partitions
 * would go, or because Kafka needs a plan of its own for it.
 */
export type TopicDifference =
  | { readonly kind: 'create'; readonly topic: string; readonly spec: TopicSpec }
  | { readonly kind: 'partitions'; readonly topic: string; readonly from: number; readonly to: number }
  | {
      readonly kind: 'config'
      readonly topic: string
      readonly setting: string
      readonly from: string
      readonly to: string
    }
  | {
      readonly kind: 'refused'
      readonly topic: string
      readonly setting: string
      readonly from: string
      readonly to: string
      readonly reason: string
    }

type SettingDifference = Extract<TopicDifference, { readonly setting: string }>

/** Settings whose lowering makes the broker delete records; -1 is without a limit. */
const keeping: ReadonlySet<string> = new Set(['retention.ms', 'retention.bytes'])

/** Compares, in the order of `desired`; topics that nobody specified are none of its business. */
export function planTopics(desired: readonly TopicSpec[], actual: readonly ActualTopic[]): readonly TopicDifference[] {
  const byName = new Map(actual.map((topic) => [topic.name, topic]))
  // A cluster's topics all have the same settings; where there is no topic yet, only the cluster knows them.
  const known = new Set(actual.flatMap(({ configs }) => Object.keys(configs)))
  return desired.flatMap((spec): TopicDifference[] => {
    const topic = byName.get(spec.name)
    const unknown = known.size === 0 ? [] : unknownSettings(spec, known)
    if (topic === undefined) return unknown.length > 0 ? unknown : [{ kind: 'create', topic: spec.name, spec }]
    return [
      ...partitionDifference(spec, topic),
      ...replicationDifference(spec, topic),
      ...unknown,
      ...configDifferences(spec, topic).filter(({ setting }) => !unknown.some((one) => one.setting === setting)),
    ]
  })
}

/** Reads the topics, applies what can be applied, and returns every difference there was, the refused ones too. */
export async function applyTopics(
  connection: KafkaConnection,
  clock: Clock,
  desired: readonly TopicSpec[],
): Promise<readonly TopicDifference[]> {
  const admin = new TopicAdmin(connection, clock)
  try {
    const differences = planTopics(desired, await admin.read(desired))
    await admin.create(differences.flatMap((difference) => (difference.kind === 'create' ? [difference.spec] : [])))
    await admin.grow(
      differences.flatMap((difference) =>
        difference.kind === 'partitions' ? [{ topic: difference.topic, partitions: difference.to }] : [],
      ),
    )
    await admin.configure(
      differences.flatMap((difference) =>
        difference.kind === 'config'
          ? [{ topic: difference.topic, setting: difference.setting, value: difference.to }]
          : [],
      ),
    )
    return differences
  } finally {
    await admin.close()
  }
}

/** Only the differences; changes nothing. */
export async function compareTopics(
  connection: KafkaConnection,
  clock: Clock,
  desired: readonly TopicSpec[],
): Promise<readonly TopicDifference[]> {
  const admin = new TopicAdmin(connection, clock)
  try {
    return planTopics(desired, await admin.read(desired))
  } finally {
    await admin.close()
  }
}

function partitionDifference(spec: TopicSpec, topic: ActualTopic): TopicDifference[] {
  if (spec.partitions === topic.partitions) return []
  if (spec.partitions > topic.partitions)
    return [{ kind: 'partitions', topic: spec.name, from: topic.partitions, to: spec.partitions }]
  return [
    refused(
      spec.name,
      'partitions',
      topic.partitions,
      spec.partitions,
      'Kafka cannot take partitions away; a new topic is needed',
    ),
  ]
}

function replicationDifference(spec: TopicSpec, topic: ActualTopic): TopicDifference[] {
  if (spec.replicationFactor === topic.replicationFactor) return []
  return [
    refused(
      spec.name,
      'replication factor',
      topic.replicationFactor,
      spec.replicationFactor,
      'moving replicas needs a plan: kafka-reassign-partitions.sh',
    ),
  ]
}

/** Also of a topic that is to be created, which it is not without them. */
function unknownSettings({ name, configs = {} }: TopicSpec, known: ReadonlySet<string>): SettingDifference[] {
  return Object.entries(configs).flatMap(([setting, to]) =>
    known.has(setting)
      ? []
      : [refused(name, setting, '(unset)', to, `Kafka has no such setting${didYouMean(setting, known)}`)],
  )
}

function configDifferences(spec: TopicSpec, topic: ActualTopic): SettingDifference[] {
  return Object.entries(topicConfigs(spec)).flatMap(([setting, to]): SettingDifference[] => {
    const from = topic.configs[setting] ?? ''
    if (from === to) return []
    if (keeping.has(setting) && isLower(to, from))
      return [
        refused(spec.name, setting, from, to, 'records would be deleted; if that is meant: kafka-configs.sh --alter'),
      ]
    if (setting === 'min.insync.replicas' && Number(to) > topic.replicationFactor)
      return [
        refused(spec.name, setting, from, to, 'there are fewer copies than that: nothing could be written any more'),
      ]
    if (setting === 'cleanup.policy' && deletesMore(to, from))
      return [
        refused(spec.name, setting, from, to, 'records would be deleted; if that is meant: kafka-configs.sh --alter'),
      ]
    return [{ kind: 'config', topic: spec.name, setting, from, to }]
  })
}

/** Each word of a policy is a way to delete: by age, or all but a key's (a tenant's) last record. */
function deletesMore(to: string, from: string): boolean {
  const ways = (policy: string) => policy.split(',').map((way) => way.trim())
  return ways(to).some((way) => !ways(from).includes(way))
}

function isLower(to: string, from: string): boolean {
  const limit = (value: string) => (Number(value) < 0 ? Number.POSITIVE_INFINITY : Number(value))
  return limit(to) < limit(from)
}

function refused(
  topic: string,
  setting: string,
  from: string | number,
  to: string | number,
  reason: string,
): SettingDifference {
  return { kind: 'refused', topic, setting, from: String(from), to: String(to), reason }
}

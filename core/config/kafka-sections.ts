import { z } from 'zod'
import { groupNameForm, topicNameForm } from '../kafka/names.ts'
import {
  choice,
  confluentKeys,
  count,
  duration,
  durationBetween,
  flag,
  oneOf,
  optionalText,
  size,
  text,
} from './fields.ts'

/** The sections that concern Kafka: kafka, producer, consumer, topics, deadLetters, groups. */

const broker = z
  .string({ error: 'expected host:port' })
  .regex(/^(\[[0-9a-fA-F:.]+\]|[^\s:/,@]+):\d{1,5}$/, { error: 'expected host:port, such as kafka-1:9092' })

const tls = z
  .strictObject({
    enabled: flag({ doc: 'Speak TLS to the brokers.', default: false }),
    ca: optionalText({
      doc: "The authorities to trust: a PEM file's path, or the PEM itself. The system's own where it is not given.",
    }),
    cert: optionalText({ doc: "Our certificate for mutual TLS: a PEM file's path, or the PEM itself." }),
    key: optionalText({ doc: "The certificate's key: a PEM file's path, or the PEM itself.", secret: true }),
    keyPassword: optionalText({ doc: 'Password of the key.', secret: true }),
    verify: flag({ doc: "Check the broker's certificate and name. False is for tests only.", default: true }),
  })
  .prefault({})
  .meta({ description: 'Encryption to the brokers, and our certificate.' })

const sasl = z
  .strictObject({
    mechanism: oneOf(['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512']).meta({ description: 'How to log in.' }),
    username: z
      .string({ error: 'expected a text (put it in quotes)' })
      .min(1)
      .meta({ description: 'Whom to log in as.' }),
    password: z
      .string({ error: 'expected a text (put it in quotes)' })
      .min(1)
      .meta({ description: 'Its password.', secret: true }),
  })
  .optional()
  .meta({ description: 'Login at the brokers; none where it is not given.' })

export const kafka = z
  .strictObject({
    brokers: z
      .array(broker, { error: 'expected a list of host:port' })
      .default([])
      .meta({ description: 'Some of the brokers, as host:port; the others are found through them. Required.' }),
    clientId: text({ doc: "Name of this client in the brokers' logs, metrics and quotas.", default: 'tenantry' }),
    driver: choice(['auto', 'confluent', 'platformatic'], {
      doc: 'The library that speaks to Kafka. `auto`: confluent on Node where its addon loads, otherwise platformatic.',
      default: 'auto',
    }),
    tls,
    sasl,
    confluent: confluentKeys('Keys of librdkafka, for the confluent driver.'),
  })
  .prefault({})
  .meta({ description: 'How to reach Kafka.' })

export const producer = z
  .strictObject({
    compression: choice(['none', 'gzip', 'snappy', 'lz4', 'zstd'], {
      doc: 'Compression of what the outbox publishes.',
      default: 'none',
    }),
    deliveryTimeout: duration({
      doc: 'How long one delivery may take, its retries included, before the outbox tries again.',
      default: '30s',
      min: '1s',
      max: '10m',
    }),
  })
  .transform(({ deliveryTimeout, ...rest }) => ({
    ...rest,
    deliveryTimeoutMs: deliveryTimeout,
  }))
  .prefault({})
  .meta({ description: 'How the outbox publishes. Always acks=all and idempotent.' })

const foreignOffset = ['stop', 'ignore', 'accept'] as const
const outOfRange = ['stop', 'earliest', 'latest'] as const

export const consumer = z
  .strictObject({
    protocol: choice(['consumer', 'classic'], {
      doc: 'Group protocol: `consumer` is KIP-848 (Kafka 4.0 and later), `classic` the older one with cooperative assignment, for older brokers, too.',
      default: 'consumer',
    }),
    sessionTimeout: duration({
      doc: 'How long a silent member keeps its partitions. With `consumer` the brokers decide (group.consumer.session.timeout.ms).',
      default: '45s',
      min: '1s',
      max: '30m',
    }),
    releaseTimeout: duration({
      doc: 'How long revoked partitions wait for what is in flight to be committed before they are given up.',
      default: '10s',
      min: '100ms',
      max: '5m',
    }),
    maxFetchBytes: size({
      doc: 'Bound of what is fetched and not yet delivered, over all partitions of a group.',
      default: '32MiB',
      min: '64KiB',
      max: '2GiB',
    }),
    tenantHeader: optionalText({
      doc: "Name of the header that holds the tenant. The record's key where it is not given.",
    }),
    offsetInterval: duration({
      doc: "How often Kafka's committed offsets follow the progress in PostgreSQL.",
      default: '1s',
      min: '100ms',
      max: '5m',
    }),
    onForeignOffset: choice(foreignOffset, {
      doc: "When somebody moved the group's offset with Kafka's own tools: stop the partition and say so, ignore it and go on from our own progress, or accept it and go on there. Accepted, an offset further back has its records run again, once each, whatever keys they have; one further on has those between passed over.",
      default: 'stop',
    }),
    onOutOfRange: choice(outOfRange, {
      doc: 'When retention ran past our position, or the log was truncated: stop the partition and say so, or go on from the earliest or latest record.',
      default: 'stop',
    }),
    confluent: confluentKeys('Keys of librdkafka for consumers, over kafka.confluent.'),
  })
  .transform(({ sessionTimeout, releaseTimeout, offsetInterval, ...rest }) => ({
    ...rest,
    sessionTimeoutMs: sessionTimeout,
    releaseTimeoutMs: releaseTimeout,
    offsetIntervalMs: offsetInterval,
  }))
  .prefault({})
  .meta({ description: 'How records are fetched, and what a group does unless groups.<name> says otherwise.' })

const topicName = z
  .string()
  .regex(topicNameForm, { error: "expected a topic's name: letters, digits, dots, underscores, hyphens" })

/** Kafka's settings that have keys of their own, which others rely on. */
const ownTopicSettings = new Map([
  ['retention.ms', 'retention'],
  ['min.insync.replicas', 'minInSyncReplicas'],
])

const topic = z
  .strictObject({
    partitions: count({
      doc: 'How many partitions. Apply may add some, never remove one.',
      default: 12,
      min: 1,
      max: 10_000,
    }),
    retention: z
      .union([z.literal('forever'), durationBetween('1s', '3650d')], {
        error: 'expected a duration such as "7d", or forever',
      })
      .prefault('7d')
      .meta({ description: 'How long Kafka keeps a record.', unit: 'duration' }),
    replicationFactor: count({ doc: 'Copies of each partition.', default: 3, min: 1, max: 32 }),
    minInSyncReplicas: count({
      doc: 'Copies that must have a record before it counts as written.',
      default: 2,
      min: 1,
      max: 32,
    }),
    configs: z
      .record(
        z.string(),
        z.union([z.string(), z.number(), z.boolean()], { error: 'expected a text, a number, or true or false' }),
      )
      .default({})
      .meta({ description: "Further settings of the topic, by Kafka's names." }),
  })
  .superRefine(({ replicationFactor, minInSyncReplicas, configs }, context) => {
    for (const [setting, key] of ownTopicSettings)
      if (Object.hasOwn(configs, setting))
        context.addIssue({ code: 'custom', path: ['configs', setting], message: `is ${key} here: set that instead` })
    if (minInSyncReplicas > replicationFactor) {
      context.addIssue({
        code: 'custom',
        path: ['minInSyncReplicas'],
        message: `${minInSyncReplicas} is more than replicationFactor ${replicationFactor}: nothing could ever be written`,
      })
    }
  })
  .transform(({ retention, ...rest }) => ({ ...rest, retentionMs: retention === 'forever' ? -1 : retention }))

export const topics = z
  .record(topicName, topic)
  .prefault({
    'core.commands.v1': { partitions: 12, retention: '7d' },
    'core.events.v1': { partitions: 12, retention: '30d' },
    'sys.deadletter.v1': { partitions: 6, retention: '30d' },
    'sys.audit.v1': { partitions: 12, retention: '90d' },
  })
  .meta({
    description:
      'What `tenantry topics plan` and `apply` want the topics to be. The four standard ones are there without being named.',
  })

export const deadLetters = z
  .strictObject({
    topic: topicName.default('sys.deadletter.v1').meta({
      description:
        'Where the messages of dead letters go, beside their rows in `sys.dead_letters`; `off`: nowhere. The daemon waits for it at start.',
    }),
  })
  .transform(({ topic: name }) => ({ topic: name === 'off' ? null : name }))
  .prefault({})
  .meta({ description: 'Records that were given up.' })

const start = z
  .union(
    [oneOf(['earliest', 'latest', 'error']), z.iso.datetime({ offset: true }).transform((time) => Date.parse(time))],
    {
      error: 'expected earliest, latest, error, or a time such as "2026-11-01T00:00:00Z"',
    },
  )
  .prefault('error')
  .meta({
    description:
      'Where to begin a topic that this group has never read and for which Kafka has no offset either: `earliest`, `latest`, a time such as `"2026-11-01T00:00:00Z"`, or `error`: say that it must be decided.',
  })

const groupName = z
  .string()
  .regex(groupNameForm, { error: "expected a group's name: letters, digits, dots, underscores, hyphens" })

const group = z.strictObject({
  topics: z
    .array(topicName, { error: 'expected a list of topics' })
    .min(1, { error: 'expected at least one topic' })
    .optional()
    .meta({
      description:
        "The topics that this daemon reads for the group; those of the group's actors where it is not given.",
    }),
  start,
  protocol: oneOf(['consumer', 'classic']).optional().meta({ description: 'Instead of consumer.protocol.' }),
  instanceId: optionalText({
    doc: 'Static membership (group.instance.id): the member keeps its partitions over a restart. Different for each daemon, such as `${HOSTNAME}`.',
  }),
  onForeignOffset: oneOf(foreignOffset).optional().meta({ description: 'Instead of consumer.onForeignOffset.' }),
  onOutOfRange: oneOf(outOfRange).optional().meta({ description: 'Instead of consumer.onOutOfRange.' }),
  confluent: confluentKeys("Keys of librdkafka for this group's consumer, over the others."),
})

export const groups = z.record(groupName, group).prefault({}).meta({
  description: 'The consumer groups that this daemon runs, by name. Every group that an actor names must be here.',
})

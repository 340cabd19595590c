import { createRequire } from 'node:module'
import { errorOf, messageOf, TenantryError } from '../errors.ts'
import { requestTimeoutOf, type SourceOptions } from './options.ts'
import type { PartitionOffset, TopicPartition } from './source.ts'

/** What of the addon's low-level consumer we use. Its own typings leave half of it out. */
export interface NativeConsumer {
  connect(
    metadata: { readonly allTopics: boolean; readonly timeout: number },
    done: (error: NativeError | null | undefined) => void,
  ): void
  disconnect(done: () => void): void
  subscribe(topics: readonly string[]): void
  setDefaultConsumeTimeout(ms: number): void
  consume(count: number, done: (error: NativeError | null, messages: readonly NativeMessage[]) => void): void
  incrementalAssign(partitions: readonly (TopicPartition & { readonly offset?: number })[]): void
  incrementalUnassign(partitions: readonly TopicPartition[]): void
  assignmentLost(): boolean
  pause(partitions: readonly TopicPartition[]): void
  resume(partitions: readonly TopicPartition[]): void
  /** Asynchronous: the answer comes through `offset_commit_cb`. (So does that of `commitCb`, whatever its name says.) */
  commit(offsets: readonly PartitionOffset[]): void
  getWatermarkOffsets(topic: string, partition: number): { readonly lowOffset: number; readonly highOffset: number }
  on(event: 'partition.eof', listener: (eof: PartitionOffset) => void): void
  on(event: 'event.error', listener: (error: NativeError) => void): void
  on(
    event: 'event.log',
    listener: (line: { readonly severity: number; readonly fac: string; readonly message: string }) => void,
  ): void
  on(event: 'event.stats', listener: (stats: { readonly message: string }) => void): void
}

export type NativeError = Error & { readonly code: number; readonly isFatal?: boolean }

export type NativeMessage = {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly timestamp: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers?: readonly Readonly<Record<string, Buffer>>[]
}

export type NativeConfig = Readonly<Record<string, string | number | boolean | ((...args: never[]) => void)>>

export type Addon = {
  readonly KafkaConsumer: new (config: NativeConfig, topicConfig: NativeConfig) => NativeConsumer
}

/** librdkafka's codes, those that decide something here. */
export const codes = {
  assignPartitions: -175,
  revokePartitions: -174,
  fatal: -150,
  autoOffsetReset: -140,
  allBrokersDown: -187,
  illegalGeneration: 22,
  unknownMemberId: 25,
  fencedInstanceId: 82,
  groupIdNotFound: 69,
  fencedMemberEpoch: 110,
  unreleasedInstanceId: 111,
} as const

/** Why nobody needs to try, for whoever says what to do instead. */
export const notOnBun = 'The confluent driver is a native addon that does not run on Bun'

/**
 * Loads the addon, on Node and in the process's main thread only: it registers itself once per process, and on Bun it
 * ends the process for want of a V8 symbol. Throws a TenantryError that says what to do.
 */
export function loadAddon(): Addon {
  if (process.versions['bun'] !== undefined) {
    throw new TenantryError(
      'TENANTRY_DRIVER_UNAVAILABLE',
      `${notOnBun}. Set the driver to auto or platformatic, or run on Node.`,
      { driver: 'confluent' },
    )
  }
  if (process.env['TENANTRY_NO_ADDON'] === '1') {
    throw new TenantryError(
      'TENANTRY_DRIVER_UNAVAILABLE',
      'TENANTRY_NO_ADDON is set, so the confluent driver is not loaded. Unset it, or set the driver to auto or platformatic.',
      { driver: 'confluent' },
    )
  }
  try {
    const addon: unknown = createRequire(import.meta.url)('@confluentinc/kafka-javascript')
    if (isAddon(addon)) return addon
    throw new Error('it exports no KafkaConsumer')
  } catch (error) {
    throw new TenantryError(
      'TENANTRY_DRIVER_UNAVAILABLE',
      `The confluent driver's native addon does not load (${messageOf(error).split('\n')[0]}). Set the driver to auto or platformatic; or install g++, make and python3 and run npm rebuild @confluentinc/kafka-javascript with the Node that runs tenantry.`,
      { driver: 'confluent' },
      { cause: errorOf(error) },
    )
  }
}

function isAddon(loaded: unknown): loaded is Addon {
  return (
    typeof loaded === 'object' &&
    loaded !== null &&
    'KafkaConsumer' in loaded &&
    typeof loaded.KafkaConsumer === 'function'
  )
}

/** Throws a TenantryError for settings that librdkafka does not take. Connects to nothing. */
export function checkNativeConfig(addon: Addon, options: SourceOptions): void {
  try {
    new addon.KafkaConsumer(nativeConfig(options, {}), {})
  } catch (error) {
    throw new TenantryError(
      'TENANTRY_KAFKA_OPTION_REFUSED',
      `librdkafka refuses its settings: ${messageOf(error)}. Correct the driver settings.`,
      {},
      { cause: errorOf(error) },
    )
  }
}

/**
 * With `consumer` also how long the coordinator waits until a member has let go of what it must. librdkafka 2.15.1 may never
 * say that it has, when the heartbeat that says so meets a coordinator that goes: its partitions stay where they are, and
 * those that it should get are nobody's, until then. The default of five minutes is too long for that.
 */
function maxPollIntervalMs({ protocol, sessionTimeoutMs, releaseTimeoutMs }: SourceOptions): number {
  return protocol === 'consumer' ? releaseTimeoutMs + 30_000 : Math.max(300_000, sessionTimeoutMs, releaseTimeoutMs * 2)
}

/**
 * The consumer's settings. Fetching is tuned for few, large requests per partition, with the whole queue bounded, and
 * with a short wait once the bound was met: librdkafka's default of one second stalls a fast consumer.
 */
export function nativeConfig(options: SourceOptions, callbacks: NativeConfig): NativeConfig {
  const { tls, sasl } = options
  const queueKilobytes = Math.max(1_024, Math.floor(options.maxFetchBytes / 1_024))
  const fetchBytes = Math.max(65_536, Math.min(1_048_576, Math.floor(options.maxFetchBytes / 4)))
  const kind = options.protocol === 'consumer'
  return {
    'queued.min.messages': 20_000,
    'queued.max.messages.kbytes': queueKilobytes,
    'fetch.message.max.bytes': fetchBytes,
    // Not below what one message may be (message.max.bytes): librdkafka refuses that.
    'fetch.max.bytes': Math.max(1_048_576, Math.floor(options.maxFetchBytes / 2)),
    'fetch.queue.backoff.ms': 10,
    'fetch.error.backoff.ms': 200,
    // A partition that has room again waits for the request that the broker keeps for those with nothing new: with the
    // default of 500 ms one tenant's backlog went at 16,000 messages a second, with this at 60,000.
    'fetch.wait.max.ms': 100,
    'socket.keepalive.enable': true,
    'socket.timeout.ms': requestTimeoutOf(options),
    'socket.nagle.disable': true,
    'reconnect.backoff.max.ms': 2_000,
    'topic.metadata.refresh.interval.ms': 10_000,
    'max.poll.interval.ms': maxPollIntervalMs(options),
    ...options.passThrough,
    'bootstrap.servers': options.bootstrap.join(','),
    'client.id': options.clientId,
    'group.id': options.group,
    'group.protocol': options.protocol,
    ...(!kind && {
      'partition.assignment.strategy': 'cooperative-sticky',
      'session.timeout.ms': options.sessionTimeoutMs,
      'heartbeat.interval.ms': Math.max(100, Math.min(3_000, Math.floor(options.sessionTimeoutMs / 4))),
    }),
    ...(options.groupInstanceId !== undefined && { 'group.instance.id': options.groupInstanceId }),
    // For the one line that tells by which id a topic is fetched.
    debug: [options.passThrough?.['debug'], 'metadata'].filter((context) => context !== undefined).join(),
    'isolation.level': 'read_committed',
    'enable.auto.commit': false,
    'enable.auto.offset.store': false,
    'check.crcs': true,
    'enable.partition.eof': true,
    'statistics.interval.ms': 1_000,
    'allow.auto.create.topics': false,
    'security.protocol': tls ? (sasl ? 'sasl_ssl' : 'ssl') : sasl ? 'sasl_plaintext' : 'plaintext',
    ...(tls?.ca !== undefined && { 'ssl.ca.pem': tls.ca }),
    ...(tls?.cert !== undefined && { 'ssl.certificate.pem': tls.cert }),
    ...(tls?.key !== undefined && { 'ssl.key.pem': tls.key }),
    ...(tls?.passphrase !== undefined && { 'ssl.key.password': tls.passphrase }),
    ...(tls && { 'enable.ssl.certificate.verification': tls.rejectUnauthorized ?? true }),
    ...(sasl && { 'sasl.mechanisms': sasl.mechanism, 'sasl.username': sasl.username, 'sasl.password': sasl.password }),
    ...callbacks,
  }
}

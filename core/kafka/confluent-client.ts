import { z } from 'zod'
import { TenantryError } from '../errors.ts'
import { unavailable } from './cluster.ts'
import {
  type Addon,
  codes,
  type NativeConsumer,
  type NativeError,
  type NativeMessage,
  nativeConfig,
} from './confluent-addon.ts'
import { NativeCommits } from './confluent-commits.ts'
import { plain } from './confluent-partitions.ts'
import { noConsumerProtocol } from './required-protocol.ts'
import type { SourceOptions } from './options.ts'
import { instanceFenced, type OffsetCommitReply, type PartitionOffset, type TopicPartition } from './source.ts'

/** Records of one poll. More would block the thread longer than a poll saves. */
const pollRecords = 2_000
/** A member that has known its coordinator for so long and was assigned nothing has joined and gets nothing. */
const settledMs = 2_000

export type RebalanceKind = 'assigned' | 'revoked' | 'lost'

/** What a client tells its owner, in callbacks of the addon. */
export interface NativeOwner {
  /** To be answered by an assign or unassign. Not told while the client leaves. */
  rebalanced(kind: RebalanceKind, partitions: readonly TopicPartition[]): void
  /** Something waits to be polled. */
  signalled(): void
  /** The client is of no use any more. */
  failed(error: TenantryError): void
  troubled(error: TenantryError): void
  /** A member of its group, though nothing was assigned to it. */
  settled(): void
  /** A position was refused; the addon does not say which. */
  positionRefused(): void
  /** From now on the client fetches the topic by this id, and no other. */
  identified(topic: string, id: string): void
}

/** The records of one poll, and the logs' ends that it came by. */
export type NativePoll = { readonly messages: readonly NativeMessage[]; readonly ends: readonly PartitionOffset[] }

/** Of librdkafka's statistics: the state of the coordinator's connection, and for how many milliseconds it has been so. */
const groupStats = z.object({ cgrp: z.object({ state: z.string(), stateage: z.number() }) })

/** What librdkafka says, and only at `debug=metadata`, before it fetches a topic by an id that it has not fetched it by. */
const identifies = /Topic (\S+) changed id from \S+ to (\S+)$/
const debugSeverity = 7

const nothing: NativePoll = { messages: [], ends: [] }

/** One consumer of the addon, from its connection to its end, with the addon's ways straightened. */
export class NativeClient {
  readonly consumer: NativeConsumer
  readonly #options: SourceOptions
  readonly #owner: NativeOwner
  readonly #commits: NativeCommits
  readonly #topicIds = new Map<string, string>()
  #ends: PartitionOffset[] = []
  #fatalReason = ''
  #leaving = false

  constructor(addon: Addon, options: SourceOptions, owner: NativeOwner) {
    this.#options = options
    this.#owner = owner
    this.consumer = new addon.KafkaConsumer(
      nativeConfig(options, {
        rebalance_cb: (error: NativeError | undefined, partitions: readonly TopicPartition[]) =>
          this.#rebalanced(error, partitions),
        offset_commit_cb: (error: NativeError | undefined, offsets: readonly PartitionOffset[]) =>
          this.#commits.answered(error ?? undefined, offsets),
        queue_non_empty_cb: () => owner.signalled(),
      }),
      { 'auto.offset.reset': 'error' },
    )
    this.#commits = new NativeCommits(this.consumer, options.clock, options.sessionTimeoutMs)
    this.#listen()
  }

  /** Connects and joins the group; the assignment comes later. Rejects when no broker answers. */
  async connect(): Promise<void> {
    this.consumer.setDefaultConsumeTimeout(0)
    const error = await new Promise<Error | undefined>((resolve) => {
      this.consumer.connect({ allTopics: false, timeout: 10_000 }, (failed) => resolve(failed ?? undefined))
    })
    if (error) throw unavailable('reach its brokers', error)
    this.consumer.subscribe(this.#options.topics)
  }

  /** What is there now; waits for nothing. Never rejects. */
  poll(): Promise<NativePoll> {
    return new Promise((resolve) => {
      this.consumer.consume(pollRecords, (error, messages) => {
        // The addon emits the ends before it hands over the records, which lie in front of them.
        const ends = this.#ends
        this.#ends = []
        if (!error) return resolve({ messages, ends })
        this.#pollFailed(error)
        resolve(nothing)
      })
    })
  }

  commit(offsets: readonly PartitionOffset[]): Promise<OffsetCommitReply> {
    return this.#commits.commit(offsets)
  }

  /**
   * Leaves the group. Resolves when nothing is left of the client, which librdkafka does not promise: until then it holds
   * a thread of libuv's pool. No poll may be under way: disconnecting beneath one crashes the process.
   */
  disconnect(): Promise<void> {
    this.#leaving = true
    this.#commits.close()
    this.#answerRebalance()
    return new Promise((resolve) => this.consumer.disconnect(resolve))
  }

  /** By which it fetches the topic; undefined while it does not know. */
  topicId(topic: string): string | undefined {
    return this.#topicIds.get(topic)
  }

  #listen(): void {
    const { log, protocol, passThrough } = this.#options
    const wordy = passThrough?.['debug'] !== undefined
    this.consumer.on('event.error', (error) => {
      log.debug('kafka.client.error', { reason: error.message }, 'librdkafka reports an error')
      if (this.#leaving) return
      if (/Fatal error/.test(error.message)) this.#owner.failed(fatalError(error, this.#fatalReason))
      else if (/All broker connections are down|Authentication failure|SSL/.test(error.message)) {
        this.#owner.troubled(unavailable('reach its brokers', error))
      }
    })
    this.consumer.on('event.log', ({ severity, fac, message }) => {
      // The addon hands over a fatal error without its reason; that stands here only.
      if (fac === 'FATAL') {
        this.#fatalReason = message.replace(/^.*?Fatal error: /, '')
        // Nor is it certain to come at all: a poll that has read something before it swallows it.
        this.#owner.failed(fatalError(Object.assign(new Error(message), { code: codes.fatal }), this.#fatalReason))
      }
      const [, topic, id] = (severity === debugSeverity && identifies.exec(message)) || []
      if (topic !== undefined && id !== undefined) this.#identified(topic, uuidOf(id))
      if (severity === debugSeverity && !wordy) return
      // Failed connections are told by `troubled`, once.
      const level = severity <= 3 && fac !== 'FAIL' ? 'warn' : 'debug'
      log[level]('kafka.client.log', { facility: fac }, message)
    })
    this.consumer.on('event.stats', ({ message }) => {
      if (protocol !== 'consumer' || this.#leaving) return
      const { data } = groupStats.safeParse(JSON.parse(message))
      // By KIP-848 a member that is assigned nothing gets no rebalance callback, and its join state stays 'init'.
      if (data?.cgrp.state === 'up' && data.cgrp.stateage >= settledMs) this.#owner.settled()
    })
    this.consumer.on('partition.eof', (end) => this.#ends.push(end))
  }

  #identified(topic: string, id: string): void {
    if (this.#leaving) return
    const before = this.#topicIds.get(topic)
    this.#topicIds.set(topic, id)
    // What librdkafka knows of the earlier one's leaders would keep it from the new one's, as their epochs begin anew.
    if (before !== undefined && before !== id) this.#owner.failed(otherTopic(topic, before, id))
    else this.#owner.identified(topic, id)
  }

  #rebalanced(error: NativeError | undefined, partitions: readonly TopicPartition[]): void {
    if (this.#leaving) return this.#answerRebalance()
    const told = partitions.map(plain)
    if (error?.code === codes.assignPartitions) this.#owner.rebalanced('assigned', told)
    else this.#owner.rebalanced(this.consumer.assignmentLost() ? 'lost' : 'revoked', told)
  }

  /**
   * Gives librdkafka the answer that it may wait for: closing, it waits without end for an answer to what it has told
   * before. A revocation is answered by an unassign, an assignment by an assign, or by an unassign once the addon has
   * begun to close. What it does not wait for changes nothing.
   */
  #answerRebalance(): void {
    for (const answer of ['incrementalAssign', 'incrementalUnassign'] as const) {
      try {
        this.consumer[answer]([])
      } catch {} // it closes, or has closed
    }
  }

  #pollFailed(error: NativeError): void {
    const { code, message } = error
    this.#options.log.debug('kafka.poll.failed', { code, reason: message }, 'a poll failed')
    if (code === codes.fatal || code === codes.fencedInstanceId)
      this.#owner.failed(fatalError(error, this.#fatalReason))
    else if (code === codes.autoOffsetReset) this.#owner.positionRefused()
    else if (code === codes.allBrokersDown || code > 0) this.#owner.troubled(unavailable('read', error))
  }
}

/** Of an id as librdkafka writes it. */
function uuidOf(base64: string): string {
  const hex = Buffer.from(base64, 'base64').toString('hex')
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

/** The client fetches by the id `now`. */
export function otherTopic(topic: string, wanted: string, now: string): TenantryError {
  return new TenantryError(
    'TENANTRY_KAFKA_OTHER_TOPIC',
    `Topic ${topic} was deleted and made anew, or brokers do not agree on it yet. Joining the group again.`,
    { topic, wanted, now },
  )
}

/** What the addon threw, as an end of its client. */
export function asFatal(error: Error): TenantryError {
  if (error instanceof TenantryError) return error
  return new TenantryError(
    'TENANTRY_KAFKA_FATAL',
    `The Kafka client failed (${error.message}); joining the group again with a new one.`,
    {},
    { cause: error },
  )
}

function fatalError(error: NativeError, reason: string): TenantryError {
  if (/Static consumer fenced/.test(reason)) return instanceFenced(error)
  if (/instance ID is still used/.test(reason)) {
    return new TenantryError(
      'TENANTRY_INSTANCE_IN_USE',
      'Another member of the group uses the same group.instance.id. Give each daemon its own; waiting for it to go.',
      {},
      { cause: error },
    )
  }
  if (reason.startsWith('Broker: API version not supported: ConsumerGroupHeartbeat')) return noConsumerProtocol(error)
  return new TenantryError(
    'TENANTRY_KAFKA_FATAL',
    `The Kafka client gave up (${reason || error.message}); joining the group again with a new one.`,
    { code: error.code },
    { cause: error },
  )
}

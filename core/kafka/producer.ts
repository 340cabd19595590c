import {
  type Broker,
  type ClusterMetadata,
  type CompressionAlgorithmValue,
  ConnectionPool,
  initProducerIdV5,
} from '@platformatic/kafka'
import type { Clock } from '../clock.ts'
import { messageOf } from '../errors.ts'
import type { Log } from '../log.ts'
import { Cluster, reasonOf, withDeadline } from './cluster.ts'
import { retryMs } from './membership.ts'
import { partitionOf } from './murmur2.ts'
import { clientOptions, type KafkaConnection } from './options.ts'
import { nameOf, type Outgoing, OutgoingPartition, type SentBatch, verdictOf } from './outgoing.ts'
import { produce, produceVersions } from './produce-protocol.ts'
import type { Delivery, Publisher } from './publisher.ts'
import { type OutgoingRecord, type ProducerIdentity, recordBytes, writeBatch } from './record-batch-writer.ts'

export type PublisherOptions = KafkaConnection & {
  readonly clock: Clock
  readonly log: Log
  /** Default none. */
  readonly compression?: CompressionAlgorithmValue
  /** How long a message is tried before it counts as failed. Default 30 s. */
  readonly deliveryTimeoutMs?: number
  /** Of one partition's batch, before compression. Default 512 KiB: brokers take 1 MiB unless told otherwise. */
  readonly maxBatchBytes?: number
}

export type OutgoingMessage = OutgoingRecord & {
  readonly topic: string
  /** Where undefined, by the key; without a key, in turn. */
  readonly partition?: number
}

const maxRequestBytes = 8 * 1024 * 1024
const maxRequestMs = 15_000
/** A topic that was just created may be unknown to the broker that is asked. */
const unknownTopicTries = 3

/**
 * Sends messages with acks of all replicas, idempotently (a retry is recognised by the broker), placed as Java's producer
 * places them. One batch a partition is on its way at a time, and one request a broker; what is given meanwhile goes with
 * the next. A partition whose batch cannot be delivered in time fails as a whole, so no message overtakes another.
 *
 * Not over @platformatic/kafka's Producer: it answers for a whole send only, not per message, and resends all of it.
 */
export class KafkaPublisher implements Publisher {
  readonly #options: PublisherOptions
  readonly #cluster: Cluster
  readonly #pool: ConnectionPool
  readonly #partitions = new Map<string, OutgoingPartition>()
  readonly #busy = new Map<number, Promise<void>>()
  readonly #maxBatchBytes: number
  readonly #deliveryTimeoutMs: number
  readonly #requestTimeoutMs: number
  #topology: ClusterMetadata | undefined
  #refreshing: Promise<void> | undefined
  #refreshedAt = Number.NEGATIVE_INFINITY
  #version = 0
  #turn = 0
  #stopped = false
  #woken = false

  constructor(options: PublisherOptions) {
    const { clientId, connectTimeout, tls, sasl } = clientOptions(options)
    this.#options = options
    this.#maxBatchBytes = options.maxBatchBytes ?? 512 * 1024
    this.#deliveryTimeoutMs = options.deliveryTimeoutMs ?? 30_000
    this.#requestTimeoutMs = Math.min(maxRequestMs, this.#deliveryTimeoutMs)
    this.#cluster = new Cluster(options, options.clock)
    this.#pool = new ConnectionPool(clientId, {
      ...(connectTimeout !== undefined && { connectTimeout }),
      ...(tls && { tls }),
      ...(sasl && { sasl }),
      requestTimeout: this.#requestTimeoutMs + 2_000,
    })
  }

  /** One answer a message, in the order given. Never rejects. */
  async send(messages: readonly OutgoingMessage[]): Promise<readonly Delivery[]> {
    if (messages.length === 0) return []
    const topology = await this.#topicsOf(messages)
    if (typeof topology === 'string') return messages.map(() => ({ kind: 'failed', reason: topology }))
    return new Promise((resolve) => {
      const deliveries: Delivery[] = new Array(messages.length)
      let open = messages.length
      const deadline = this.#options.clock.monotonic() + this.#deliveryTimeoutMs
      for (const [i, message] of messages.entries()) {
        const settle = (delivery: Delivery) => {
          deliveries[i] = delivery
          open -= 1
          if (open === 0) resolve(deliveries)
        }
        const count = topology.topics.get(message.topic)?.partitionsCount ?? 0
        const partition =
          count === 0
            ? -1
            : (message.partition ?? (message.key === null ? this.#turn++ % count : partitionOf(message.key, count)))
        if (partition < 0 || partition >= count)
          settle({
            kind: 'refused',
            reason:
              count === 0
                ? `topic ${message.topic} does not exist`
                : `topic ${message.topic} has no partition ${partition}`,
          })
        else
          this.#queue(message.topic, partition).waiting.push({
            record: message,
            bytes: recordBytes(message),
            deadline,
            settle,
          })
      }
      this.#wake()
    })
  }

  /** Fails what is still waiting after `deadlineMs`, and closes. */
  async stop(deadlineMs = 5_000): Promise<void> {
    if (this.#stopped) return
    const { clock } = this.#options
    const until = clock.monotonic() + deadlineMs
    while (clock.monotonic() < until && [...this.#partitions.values()].some((partition) => !partition.idle)) {
      await new Promise<void>((resolve) => clock.after(10, resolve))
    }
    this.#stopped = true
    await withDeadline(clock, this.#pool.close(), 2_000)
    for (const partition of this.#partitions.values()) partition.fail('the publisher was stopped')
    await withDeadline(clock, Promise.allSettled(this.#busy.values()), 2_000)
    await this.#cluster.close()
  }

  #queue(topic: string, partition: number): OutgoingPartition {
    const key = `${topic} ${partition}`
    const found = this.#partitions.get(key)
    if (found) return found
    const added = new OutgoingPartition(topic, partition)
    this.#partitions.set(key, added)
    return added
  }

  /** The topology with all topics of `messages` that exist; a reason where none can be had. */
  async #topicsOf(messages: readonly OutgoingMessage[]): Promise<ClusterMetadata | string> {
    const { clock } = this.#options
    const deadline = clock.monotonic() + this.#deliveryTimeoutMs
    const topics = new Set(messages.map(({ topic }) => topic))
    for (let tries = 0; ; tries++) {
      const known = this.#topology
      if (known && [...topics].every((topic) => known.topics.get(topic) !== undefined)) return known
      if (known && tries >= unknownTopicTries) return known
      for (const topic of topics) this.#topics.add(topic)
      try {
        await this.#refresh()
      } catch (error) {
        if (clock.monotonic() > deadline || this.#stopped) return messageOf(error)
      }
      const fresh = this.#topology
      if (fresh && [...topics].every((topic) => fresh.topics.get(topic) !== undefined)) return fresh
      await new Promise<void>((resolve) => clock.after(retryMs.first, resolve))
    }
  }

  readonly #topics = new Set<string>()

  #refresh(): Promise<void> {
    this.#refreshing ??= this.#cluster
      .topology([...this.#topics])
      .then((topology) => {
        this.#topology = topology
        this.#refreshedAt = this.#options.clock.monotonic()
        this.#wake()
      })
      .finally(() => {
        this.#refreshing = undefined
      })
    return this.#refreshing
  }

  #wake(): void {
    if (this.#woken || this.#stopped) return
    this.#woken = true
    queueMicrotask(() => {
      this.#woken = false
      if (!this.#stopped) this.#dispatch()
    })
  }

  #dispatch(): void {
    const { clock } = this.#options
    const now = clock.monotonic()
    const topology = this.#topology
    if (!topology) return
    const byLeader = new Map<number, OutgoingPartition[]>()
    for (const partition of this.#partitions.values()) {
      if (partition.idle || partition.onItsWay || partition.notBefore > now) continue
      const oldest = partition.sent?.messages[0] ?? partition.waiting[0]
      if (oldest && oldest.deadline <= now) {
        this.#expire(partition)
        continue
      }
      const leader = topology.topics.get(partition.topic)?.partitions[partition.partition]?.leader ?? -1
      if (!topology.brokers.has(leader)) {
        this.#delay(partition)
        this.#outdated()
        continue
      }
      const of = byLeader.get(leader)
      if (of) of.push(partition)
      else byLeader.set(leader, [partition])
    }
    for (const [node, of] of byLeader) {
      const broker = topology.brokers.get(node)
      if (!broker || this.#busy.has(node)) continue
      const busy = this.#send(broker, of).finally(() => {
        this.#busy.delete(node)
        this.#wake()
      })
      this.#busy.set(node, busy)
    }
  }

  async #send(broker: Broker, partitions: readonly OutgoingPartition[]): Promise<void> {
    const sending = new Map<OutgoingPartition, SentBatch>()
    for (const partition of partitions) partition.onItsWay = true
    try {
      this.#version ||= await this.#cluster.version('Produce', produceVersions)
      const connection = await this.#pool.get(broker)
      let bytes = 0
      for (const partition of partitions) {
        if (bytes >= maxRequestBytes) break
        if (!partition.identity) {
          const { producerId, producerEpoch } = await initProducerIdV5.api.async(
            connection,
            null,
            this.#requestTimeoutMs,
            -1n,
            -1,
          )
          partition.identity = { producerId, producerEpoch }
          partition.sequence = 0
        }
        partition.sent ??= this.#write(partition, partition.identity)
        if (!partition.sent) continue
        bytes += partition.sent.batch.length
        sending.set(partition, partition.sent)
      }
      if (sending.size === 0) return
      const requests = [...sending].map(([{ topic, partition }, { batch }]) => ({ topic, partition, batch }))
      for (const sent of sending.values()) sent.unsure = true
      const answers = await produce(connection, this.#version, this.#requestTimeoutMs, requests)
      for (const { topic, partition, error, message } of answers) {
        const of = this.#partitions.get(`${topic} ${partition}`)
        const sent = of && sending.get(of)
        if (of && sent) this.#settle(of, sent, error, message)
      }
    } catch (error) {
      if (this.#stopped) return
      this.#options.log.debug(
        'kafka.produce.failed',
        { broker: `${broker.host}:${broker.port}`, reason: reasonOf(error) },
        'a produce request failed',
      )
      for (const partition of partitions) this.#delay(partition)
      this.#outdated()
    } finally {
      for (const partition of partitions) partition.onItsWay = false
    }
  }

  #write(partition: OutgoingPartition, identity: ProducerIdentity): SentBatch | undefined {
    const messages = partition.take(this.#maxBatchBytes)
    if (messages.length === 0) return undefined
    const { clock, compression } = this.#options
    const batch = writeBatch(
      messages.map(({ record }) => record),
      clock.now(),
      identity,
      partition.sequence,
      compression ?? 'none',
    )
    return { messages, batch, unsure: false }
  }

  #settle(partition: OutgoingPartition, sent: SentBatch, code: number, message: string): void {
    if (partition.sent !== sent) return
    const verdict = verdictOf(code)
    const reason = message === '' ? nameOf(code) : `${nameOf(code)}: ${message}`
    if (verdict === 'delivered') {
      this.#finish(partition, sent.messages, { kind: 'delivered' })
      // Sequence numbers wrap around within 31 bits.
      partition.sequence = (partition.sequence + sent.messages.length) % 2_147_483_648
      partition.most = Math.min(Number.POSITIVE_INFINITY, partition.most * 2)
    } else if (verdict === 'refused' || (verdict === 'refused-together' && sent.messages.length === 1)) {
      this.#finish(partition, sent.messages, { kind: 'refused', reason })
    } else if (verdict === 'refused-together') {
      // One of them: in halves, in order, until it stands alone.
      partition.most = Math.ceil(sent.messages.length / 2)
      partition.waiting.unshift(...sent.messages)
      partition.sent = undefined
    } else if (verdict === 'resequence') {
      partition.identity = undefined
      partition.waiting.unshift(...sent.messages)
      partition.sent = undefined
      this.#delay(partition)
    } else {
      this.#delay(partition)
      this.#outdated()
    }
  }

  #finish(partition: OutgoingPartition, messages: readonly Outgoing[], delivery: Delivery): void {
    partition.sent = undefined
    partition.attempts = 0
    for (const message of messages) message.settle(delivery)
  }

  /** Its oldest message has had its time. Whether a batch on its way arrived is not known: the next needs a new identity. */
  #expire(partition: OutgoingPartition): void {
    if (partition.sent?.unsure) partition.identity = undefined
    partition.fail(`not delivered within ${this.#deliveryTimeoutMs} ms`)
  }

  #delay(partition: OutgoingPartition): void {
    const { clock } = this.#options
    partition.attempts += 1
    const ms = Math.min(1_000, 20 * 2 ** Math.min(6, partition.attempts - 1))
    partition.notBefore = clock.monotonic() + ms
    clock.after(ms, () => {
      // Not by comparing times: a timer may run a moment early, and no other would come.
      partition.notBefore = 0
      this.#wake()
    })
  }

  #outdated(): void {
    const { clock } = this.#options
    if (clock.monotonic() - this.#refreshedAt < retryMs.first) return
    this.#refresh().catch(() => clock.after(1_000, () => this.#wake()))
  }
}

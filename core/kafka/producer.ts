import {
  type Broker,
  type ClusterMetadata,
  type CompressionAlgorithmValue,
  ConnectionPool,
  initProducerIdV5,
} from '@platformatic/kafka'
import { backOffMs, type Clock, sleep, withDeadline } from '../clock.ts'
import { messageOf } from '../errors.ts'
import type { Log } from '../log.ts'
import { Cluster, reasonOf } from './cluster.ts'
import { partitionOf } from './murmur2.ts'
import { type KafkaConnection, poolOptions, requestTimeoutOf } from './options.ts'
import { nameOf, type Outgoing, OutgoingPartition, type SentBatch, verdictOf } from './outgoing.ts'
import { produce, produceVersions } from './produce-protocol.ts'
import type { Delivery, Publisher } from './publisher.ts'
import { type OutgoingRecord, type ProducerIdentity, recordBytes, writeBatch } from './record-batch-writer.ts'
import { Topology } from './topology.ts'

export type PublisherOptions = KafkaConnection & {
  readonly clock: Clock
  readonly log: Log
  /** Default none. */
  readonly compression?: CompressionAlgorithmValue
  /** How long a message is tried before it counts as failed. Default 30 s. */
  readonly deliveryTimeoutMs?: number
}

export type OutgoingMessage = OutgoingRecord & {
  readonly topic: string
  /** Where undefined, by the key; without a key, in turn. */
  readonly partition?: number
}

/** Of one partition's batch, before compression: brokers take 1 MiB unless told otherwise. */
const maxBatchBytes = 512 * 1024
const maxRequestBytes = 8 * 1024 * 1024
const maxRequestMs = 15_000
const retryMs = { first: 20, most: 1_000 } as const
/**
 * What goes to a partition that has been of no use for all of a message's time gets this much: who gave it waits as long
 * for what goes to other partitions.
 */
const failingMs = 2_000

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
  readonly #topology: Topology
  readonly #partitions = new Map<string, OutgoingPartition>()
  readonly #busy = new Map<number, Promise<void>>()
  readonly #deliveryTimeoutMs: number
  readonly #requestTimeoutMs: number
  #version = 0
  #turn = 0
  #stopped = false
  #woken = false

  constructor(options: PublisherOptions) {
    this.#options = options
    this.#deliveryTimeoutMs = options.deliveryTimeoutMs ?? 30_000
    this.#requestTimeoutMs = Math.min(maxRequestMs, requestTimeoutOf(options), this.#deliveryTimeoutMs)
    this.#cluster = new Cluster(options, options.clock)
    this.#topology = new Topology(this.#cluster, options.clock)
    this.#pool = new ConnectionPool(options.clientId, poolOptions(options, this.#requestTimeoutMs + 2_000))
  }

  /**
   * One answer a message, in the order given. Never rejects. What one call gives goes before what a later call gives,
   * where both go to one partition.
   */
  async send(messages: readonly OutgoingMessage[]): Promise<readonly Delivery[]> {
    if (messages.length === 0) return []
    const topics = new Set(messages.map(({ topic }) => topic))
    const deadline = this.#options.clock.monotonic() + this.#deliveryTimeoutMs
    try {
      const delivered = await this.#topology.admit(topics, deadline, (topology) => ({
        deliveries: this.#enqueue(messages, topology, deadline),
      }))
      return await delivered.deliveries
    } catch (error) {
      return messages.map(() => ({ kind: 'failed', reason: messageOf(error) }))
    }
  }

  #enqueue(messages: readonly OutgoingMessage[], topology: ClusterMetadata, deadline: number): Promise<Delivery[]> {
    return new Promise((resolve) => {
      const deliveries: Delivery[] = []
      const soon = this.#options.clock.monotonic() + failingMs
      let open = messages.length
      for (const [i, message] of messages.entries()) {
        const settle = (delivery: Delivery) => {
          deliveries[i] = delivery
          open -= 1
          if (open === 0) resolve(deliveries)
        }
        const count = topology.topics.get(message.topic)?.partitionsCount ?? 0
        const partition = this.#partitionFor(message, count)
        if (count === 0) settle({ kind: 'failed', reason: 'it does not exist, or this client may not see it' })
        else if (partition < 0 || partition >= count) {
          settle({ kind: 'refused', reason: `topic ${message.topic} has no partition ${partition}` })
        } else {
          const to = this.#queue(message.topic, partition)
          const until = to.failing ? Math.min(deadline, soon) : deadline
          to.waiting.push({ record: message, bytes: recordBytes(message), deadline: until, settle })
        }
      }
      this.#wake()
    })
  }

  #partitionFor({ key, partition }: OutgoingMessage, count: number): number {
    if (partition !== undefined || count === 0) return partition ?? -1
    return key === null ? this.#turn++ % count : partitionOf(key, count)
  }

  /** Fails what is still waiting after `deadlineMs`, and closes. */
  async stop(deadlineMs = 5_000): Promise<void> {
    if (this.#stopped) return
    const { clock } = this.#options
    const until = clock.monotonic() + deadlineMs
    while (clock.monotonic() < until && [...this.#partitions.values()].some((partition) => !partition.idle)) {
      await sleep(clock, 10)
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
    const topology = this.#topology.current
    if (!topology) return
    const byLeader = new Map<number, OutgoingPartition[]>()
    for (const partition of this.#partitions.values()) {
      const { oldest } = partition
      if (!oldest || partition.onItsWay || partition.resting) continue
      if (oldest.deadline <= now) {
        this.#expire(partition)
        continue
      }
      const leader = topology.topics.get(partition.topic)?.partitions[partition.partition]?.leader ?? -1
      if (!topology.brokers.has(leader)) {
        partition.reason = `partition ${partition.partition} has no leader`
        this.#delay(partition)
        this.#topology.outdated()
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
      for (const partition of partitions) {
        partition.reason = reasonOf(error)
        this.#delay(partition)
      }
      this.#topology.outdated()
    } finally {
      for (const partition of partitions) partition.onItsWay = false
    }
  }

  #write(partition: OutgoingPartition, identity: ProducerIdentity): SentBatch | undefined {
    const messages = partition.take(maxBatchBytes)
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
      partition.failing = false
      this.#finish(partition, sent.messages, { kind: 'delivered' })
      // Sequence numbers wrap around within 31 bits.
      partition.sequence = (partition.sequence + sent.messages.length) % 2_147_483_648
      partition.most *= 2
    } else if (verdict === 'failed') {
      // An earlier try of this batch, unanswered, may have arrived: its numbers must not be used again.
      partition.identity = undefined
      partition.fail(reason)
    } else if (verdict === 'refused' && sent.messages.length === 1) {
      this.#finish(partition, sent.messages, { kind: 'refused', reason })
    } else if (verdict === 'refused') {
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
      partition.reason = reason
      this.#delay(partition)
      this.#topology.outdated()
    }
  }

  #finish(partition: OutgoingPartition, messages: readonly Outgoing[], delivery: Delivery): void {
    partition.sent = undefined
    partition.attempts = 0
    partition.reason = ''
    for (const message of messages) message.settle(delivery)
  }

  /** Its oldest message has had its time. Whether a batch on its way arrived is not known: the next needs a new identity. */
  #expire(partition: OutgoingPartition): void {
    if (partition.sent?.unsure) partition.identity = undefined
    const why = partition.reason === '' ? '' : ` (${partition.reason})`
    partition.reason = ''
    const what = partition.failing ? 'still not delivered' : `not delivered within ${this.#deliveryTimeoutMs} ms`
    partition.fail(`${what}${why}`)
    partition.failing = true
  }

  #delay(partition: OutgoingPartition): void {
    partition.attempts += 1
    partition.resting = true
    void this.#rest(partition)
  }

  async #rest(partition: OutgoingPartition): Promise<void> {
    const { clock } = this.#options
    await sleep(clock, backOffMs(partition.attempts, retryMs))
    // By what was known it has failed, and the same broker would take as long again. Only the look that is under way is
    // waited for: while another partition has no leader, one follows the other.
    const left = (partition.oldest?.deadline ?? 0) - clock.monotonic()
    await withDeadline(clock, this.#topology.settled, Math.max(0, left))
    partition.resting = false
    this.#wake()
  }
}

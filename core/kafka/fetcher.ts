import { type Broker, type ClusterMetadata, ConnectionPool } from '@platformatic/kafka'
import { errorOf } from '../errors.ts'
import { type Cluster, keyOf, unavailable } from './cluster.ts'
import { fetch, type FetchedPartition, type FetchPartition, fetchVersions } from './fetch-protocol.ts'
import { backOffMs, withDeadline } from '../clock.ts'
import { retryMs } from './membership.ts'
import { poolOptions, type SourceOptions } from './options.ts'
import type { Reading } from './reading.ts'

/** The broker waits so long for something new before it answers. */
const longPollMs = 100
/** A partition with so much fetched and not delivered is asked for no more. */
const aheadBytes = 64 * 1024
const maxAnswerBytes = 4 * 1024 * 1024
const maxPartitionBytes = 1024 * 1024
/** What waits for something new may take this part of all that may be fetched, so that there is room to read meanwhile. */
const pollShare = 1 / 4
const offsetOutOfRange = 1
/** The partition is, for now or for good, not where or what we thought. */
const stale: ReadonlySet<number> = new Set([3, 5, 6, 9, 56, 74, 75, 78, 100, 103])

export type FetcherOptions = {
  readonly source: SourceOptions
  readonly cluster: Cluster
  readonly readings: ReadonlyMap<string, Reading>
  /** Something can be delivered. */
  readonly arrived: () => void
  readonly outOfRange: (reading: Reading) => void
  /** Brokers have another topic of its name: either it was made anew, or they lag. */
  readonly otherTopic: (reading: Reading) => void
  readonly failed: (error: Error) => void
}

/** Requests to one broker, one at a time: a broker answers those of one connection in turn. */
class Line {
  readonly pool: ConnectionPool
  readonly busy = new Map<number, Promise<void>>()

  constructor({ source }: FetcherOptions) {
    this.pool = new ConnectionPool(source.clientId, poolOptions(source))
  }
}

type Asked = { readonly reading: Reading; readonly token: number; readonly position: number }

/**
 * Fetches from every broker that leads one of our partitions, naming the partitions that may be read now: a paused one is
 * left out, and so is one whose last fetch still waits to be delivered. Those that have read all there is are asked for
 * over a line of their own: the broker keeps that request until there is something new, and a partition with a backlog
 * that resumed meanwhile would wait with it. (One tenant's backlog beside eleven idle partitions: 29,000 messages a
 * second so, and 104,000 with two lines.)
 */
export class Fetcher {
  readonly #options: FetcherOptions
  readonly #reads: Line
  readonly #polls: Line
  readonly #notBefore = new Map<number, number>()
  readonly #failures = new Map<number, number>()
  #topology: ClusterMetadata | undefined
  #refreshing = false
  #refreshedAt = Number.NEGATIVE_INFINITY
  #version = 0
  #stopped = false
  #woken = false
  #reservedBytes = 0
  #served = 0

  constructor(options: FetcherOptions) {
    this.#options = options
    this.#reads = new Line(options)
    this.#polls = new Line(options)
  }

  /** No broker that we want something of refuses us. One that failed and leads nothing of ours is never asked again. */
  get healthy(): boolean {
    if (this.#failures.size === 0) return true
    const topology = this.#topology
    const wanted = [...this.#options.readings.values()].filter((reading) => !reading.silent)
    if (topology === undefined) return wanted.length === 0
    return !wanted.some((reading) => this.#failures.has(leaderOf(reading, topology)))
  }

  /** Something changed: partitions to read, room for more. Sends whatever requests can be sent now. */
  wake(): void {
    if (this.#woken || this.#stopped) return
    this.#woken = true
    // Once for all that changes within this turn.
    queueMicrotask(() => {
      this.#woken = false
      if (!this.#stopped) this.#send()
    })
  }

  /** Leaders or ids have changed. */
  refresh(): void {
    this.#topology = undefined
    this.wake()
  }

  /** Its batch could be fetched and not be decoded: again from there, later. */
  unreadable(reading: Reading, error: Error): void {
    const position = reading.position
    const token = reading.token
    reading.seek(position, token, reading.topicId)
    this.#delay(reading)
    this.#options.failed(error)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    const { clock } = this.#options.source
    const lines = [this.#reads, this.#polls]
    await withDeadline(clock, Promise.all(lines.map(({ pool }) => pool.close())), 2_000)
    await withDeadline(clock, Promise.allSettled(lines.flatMap(({ busy }) => [...busy.values()])), 2_000)
  }

  #send(): void {
    const { readings, source } = this.#options
    const now = source.clock.monotonic()
    const wanted = [...readings.values()].filter(
      (reading) => !reading.silent && !reading.asked && reading.notBefore <= now,
    )
    if (wanted.length === 0) return
    const topology = this.#topology
    if (!topology) return void this.#refresh()
    const byLeader = new Map<number, Reading[]>()
    for (const reading of wanted) {
      const id = topology.topics.get(reading.topic)?.id
      if (id !== undefined && reading.topicId !== undefined && id !== reading.topicId) {
        this.#delay(reading)
        this.#outdated()
        this.#options.otherTopic(reading)
        continue
      }
      const leader = leaderOf(reading, topology)
      if (leader < 0 || !topology.brokers.has(leader)) {
        this.#delay(reading)
        this.#outdated()
        continue
      }
      const of = byLeader.get(leader)
      if (of) of.push(reading)
      else byLeader.set(leader, [reading])
    }
    const most = Math.max(aheadBytes, source.maxFetchBytes)
    for (const [node, of] of byLeader) {
      const broker = topology.brokers.get(node)
      if (!broker || (this.#notBefore.get(node) ?? 0) > now) continue
      const hungry = Map.groupBy(
        of.filter((reading) => reading.waitingBytes < aheadBytes),
        (reading) => (reading.atEnd ? this.#polls : this.#reads),
      )
      this.#ask(this.#reads, broker, node, hungry.get(this.#reads) ?? [], topology, most)
      this.#ask(this.#polls, broker, node, hungry.get(this.#polls) ?? [], topology, most * pollShare)
    }
  }

  #ask(line: Line, broker: Broker, node: number, readings: Reading[], topology: ClusterMetadata, most: number): void {
    if (readings.length === 0 || line.busy.has(node)) return
    const maxBytes = Math.floor(Math.min(maxAnswerBytes, most, this.#room()))
    if (maxBytes < Math.min(aheadBytes, most)) return
    // The broker fills its answer in our order, and gives only the first a batch that is larger than the limit.
    readings.sort((a, b) => a.served - b.served)
    const busy = this.#fetch(line, node, broker, readings, topology, maxBytes).finally(() => {
      line.busy.delete(node)
      this.wake()
    })
    line.busy.set(node, busy)
  }

  /** How much may be fetched on top of what waits and what was asked for. An empty queue always has room. */
  #room(): number {
    let waiting = this.#reservedBytes
    for (const reading of this.#options.readings.values()) waiting += reading.waitingBytes
    return waiting === 0
      ? Math.max(aheadBytes, this.#options.source.maxFetchBytes)
      : this.#options.source.maxFetchBytes - waiting
  }

  async #fetch(
    line: Line,
    node: number,
    broker: Broker,
    readings: readonly Reading[],
    topology: ClusterMetadata,
    maxBytes: number,
  ): Promise<void> {
    const { source, cluster } = this.#options
    const perPartition = Math.min(maxPartitionBytes, maxBytes)
    const asked = new Map<string, Asked>()
    const partitions: FetchPartition[] = []
    for (const reading of readings) {
      const topic = topology.topics.get(reading.topic)
      if (!topic) continue
      reading.asked = true
      asked.set(`${topic.id} ${reading.partition}`, { reading, token: reading.token, position: reading.fetchPosition })
      partitions.push({
        topicId: topic.id,
        partition: reading.partition,
        position: reading.fetchPosition,
        maxBytes: perPartition,
      })
    }
    this.#reservedBytes += maxBytes
    try {
      this.#version ||= await cluster.version('Fetch', fetchVersions)
      const connection = await line.pool.get(broker)
      const response = await fetch(connection, this.#version, { maxWaitMs: longPollMs, maxBytes, partitions })
      if (this.#stopped) return
      if (response.error !== 0) throw new Error(`broker ${node} answered the fetch with error ${response.error}`)
      this.#failures.delete(node)
      for (const partition of response.partitions)
        this.#take(asked.get(`${partition.topicId} ${partition.partition}`), partition)
    } catch (error) {
      if (this.#stopped) return
      const failures = (this.#failures.get(node) ?? 0) + 1
      this.#failures.set(node, failures)
      const ms = backOffMs(failures, retryMs)
      this.#notBefore.set(node, source.clock.monotonic() + ms)
      source.clock.after(ms, () => {
        this.#notBefore.delete(node)
        this.wake()
      })
      this.#options.failed(unavailable(`fetch from broker ${node}`, error))
      this.#outdated()
    } finally {
      this.#reservedBytes -= maxBytes
      for (const { reading } of asked.values()) reading.asked = false
    }
  }

  #take(asked: Asked | undefined, partition: FetchedPartition): void {
    if (!asked) return
    const { reading, token, position } = asked
    // Sought elsewhere, given up or assigned anew while the answer was on its way.
    if (
      this.#options.readings.get(keyOf(reading)) !== reading ||
      reading.token !== token ||
      reading.fetchPosition !== position ||
      reading.revoked ||
      reading.outside
    )
      return
    if (partition.error !== 0) return this.#refused(reading, partition.error)
    try {
      reading.take(partition)
      reading.failures = 0
      if (partition.batches.length > 0) reading.served = ++this.#served
    } catch (error) {
      this.#delay(reading)
      this.#options.failed(errorOf(error))
    }
    if (reading.ready) this.#options.arrived()
  }

  #refused(reading: Reading, code: number): void {
    this.#delay(reading)
    if (code === offsetOutOfRange) return this.#options.outOfRange(reading)
    if (stale.has(code)) {
      this.#outdated()
      // Leaders move within a second or two: that is no trouble yet.
      if (reading.failures < 4) return
    }
    this.#options.failed(unavailable(`fetch ${reading.topic} ${reading.partition}`, new Error(`error ${code}`)))
  }

  #delay(reading: Reading): void {
    const { clock } = this.#options.source
    reading.failures += 1
    const ms = backOffMs(reading.failures, retryMs)
    reading.notBefore = clock.monotonic() + ms
    clock.after(ms, () => {
      // Not by comparing times: a timer may run a moment early, and no other would come.
      reading.notBefore = 0
      this.wake()
    })
  }

  #outdated(): void {
    if (this.#options.source.clock.monotonic() - this.#refreshedAt > retryMs.first) this.#topology = undefined
  }

  #refresh(): void {
    if (this.#refreshing) return
    this.#refreshing = true
    const { cluster, source, failed } = this.#options
    const settle = () => {
      this.#refreshing = false
      this.wake()
    }
    cluster
      .topology(source.topics)
      .then((topology) => {
        this.#topology = topology
        this.#refreshedAt = source.clock.monotonic()
        settle()
      })
      .catch((error: unknown) => {
        failed(errorOf(error))
        source.clock.after(1_000, settle)
      })
  }
}

/** -1 where there is none. */
function leaderOf({ topic, partition }: Reading, { topics }: ClusterMetadata): number {
  return topics.get(topic)?.partitions[partition]?.leader ?? -1
}

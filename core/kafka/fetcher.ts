import { type Broker, type ClusterMetadata, ConnectionPool } from '@platformatic/kafka'
import { errorOf } from '../errors.ts'
import { type Cluster, keyOf, unavailable } from './cluster.ts'
import { fetch, type FetchedPartition, type FetchPartition, fetchVersions } from './fetch-protocol.ts'
import { backOffMs, sleep, withDeadline } from '../clock.ts'
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
/** A partition fails so often before that counts as trouble: leaders move within a second or two. */
const patience = 4
/** A broker that is cut off from the others answers for partitions that another one leads by now: only looking tells. */
const maxAgeMs = 30_000
const offsetOutOfRange = 1
/** The partition is, for now or for good, not where or what we thought. */
const stale: ReadonlySet<number> = new Set([3, 5, 6, 9, 56, 74, 75, 78, 100, 103])

export type FetcherOptions = {
  readonly source: SourceOptions
  readonly cluster: Pick<Cluster, 'topology' | 'version'>
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
  readonly #resting = new Set<number>()
  readonly #failures = new Map<number, number>()
  #topology: ClusterMetadata | undefined
  #refreshing: Promise<void> | undefined
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

  /**
   * Nothing that we want is refused, or has no leader. A broker that failed and leads nothing of ours is never asked
   * again.
   */
  get healthy(): boolean {
    const wanted = [...this.#options.readings.values()].filter((reading) => !reading.silent)
    if (wanted.some(({ failures }) => failures >= patience)) return false
    if (this.#failures.size === 0) return true
    const topology = this.#topology
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
    const wanted = [...readings.values()].filter((reading) => !reading.silent && !reading.asked && !reading.resting)
    if (wanted.length === 0) return
    const topology = this.#topology
    if (!topology || now - this.#refreshedAt > maxAgeMs) this.#refresh()
    if (!topology) return
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
        this.#misplaced(reading, id === undefined ? 'it does not exist, or we may not see it' : 'it has no leader')
        continue
      }
      const of = byLeader.get(leader)
      if (of) of.push(reading)
      else byLeader.set(leader, [reading])
    }
    const most = Math.max(aheadBytes, source.maxFetchBytes)
    for (const [node, of] of byLeader) {
      const broker = topology.brokers.get(node)
      if (!broker || this.#resting.has(node)) continue
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
    const { cluster } = this.#options
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
      this.#resting.add(node)
      void this.#rest(failures).then(() => {
        this.#resting.delete(node)
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
    if (stale.has(code)) return this.#misplaced(reading, `error ${code}`)
    this.#delay(reading)
    if (code === offsetOutOfRange) this.#options.outOfRange(reading)
    else this.#told(reading, `error ${code}`)
  }

  /** It is not where or what we thought. */
  #misplaced(reading: Reading, reason: string): void {
    this.#delay(reading)
    this.#outdated()
    if (reading.failures >= patience) this.#told(reading, reason)
  }

  #told({ topic, partition }: Reading, reason: string): void {
    this.#options.failed(unavailable(`fetch ${topic} ${partition}`, new Error(reason)))
  }

  #delay(reading: Reading): void {
    reading.failures += 1
    reading.resting = true
    void this.#rest(reading.failures).then(() => {
      reading.resting = false
      this.wake()
    })
  }

  /** By what was known it has failed, and the same broker would take as long again: a look under way is waited for. */
  async #rest(failures: number): Promise<void> {
    await sleep(this.#options.source.clock, backOffMs(failures, retryMs))
    await this.#refreshing
  }

  /** What is known is looked at anew; whatever else has a leader is read by it meanwhile. */
  #outdated(): void {
    if (this.#options.source.clock.monotonic() - this.#refreshedAt > retryMs.first) this.#refresh()
  }

  #refresh(): void {
    this.#refreshing ??= this.#look().finally(() => {
      this.#refreshing = undefined
      this.wake()
    })
  }

  async #look(): Promise<void> {
    const { cluster, source, failed } = this.#options
    try {
      this.#topology = await cluster.topology(source.topics)
      this.#refreshedAt = source.clock.monotonic()
    } catch (error) {
      failed(errorOf(error))
      await sleep(source.clock, 1_000)
    }
  }
}

/** -1 where there is none. */
function leaderOf({ topic, partition }: Reading, { topics }: ClusterMetadata): number {
  return topics.get(topic)?.partitions[partition]?.leader ?? -1
}

import { setImmediate as turn } from 'node:timers/promises'
import { ClassicMembership } from './classic-membership.ts'
import { Cluster, keyOf } from './cluster.ts'
import { ConsumerMembership } from './consumer-membership.ts'
import { GroupCoordinator } from './coordinator.ts'
import { Fetcher } from './fetcher.ts'
import type { Membership } from './membership.ts'
import type { SourceOptions } from './options.ts'
import { Reading } from './reading.ts'
import type { Timer } from '../clock.ts'
import { errorOf } from '../errors.ts'
import type {
  LogRange,
  OffsetCommitReply,
  PartitionOffset,
  RecordBatch,
  Source,
  SourceListener,
  TopicDescription,
  TopicPartition,
} from './source.ts'
import { TopicWatch } from './topic-watch.ts'
import { Trouble } from './trouble.ts'

/** Records decoded before the event loop gets its turn: heartbeats and PostgreSQL's answers wait for it. */
const turnRecords = 1_000
const commitAttempts = 3

/**
 * The driver in TypeScript, for Node and Bun, over @platformatic/kafka's connections and protocol. Not over its Consumer:
 * that joins a KIP-848 group only for a stream (no seek, no pause by partition), acknowledges a revocation before anyone
 * can answer it, and filters aborted transactions wrongly. Membership, fetching and decoding are ours; see
 * consumer-membership.ts, classic-membership.ts, fetcher.ts and record-batch.ts.
 */
export class PlatformaticSource implements Source {
  readonly lingering = 0
  readonly #options: SourceOptions
  readonly #cluster: Cluster
  readonly #coordinator: GroupCoordinator
  readonly #membership: Membership
  readonly #readings = new Map<string, Reading>()
  readonly #revocations = new Map<string, Timer>()
  #fetcher: Fetcher | undefined
  #watch: TopicWatch | undefined
  #trouble: Trouble | undefined
  #listener: SourceListener | undefined
  #loop: Promise<void> = Promise.resolve()
  #wake: (() => void) | undefined
  #stopping = false
  #stopped: Promise<void> | undefined
  #joined: (() => void) | undefined
  /** Heartbeats are answered. */
  #healthy = true
  /** It is being asked which topic has a name: not all partitions of one need to. */
  #asking = false

  constructor(options: SourceOptions) {
    const { group, topics, clock, log, sessionTimeoutMs, releaseTimeoutMs, protocol } = options
    const groupInstanceId = options.groupInstanceId ?? null
    this.#options = options
    this.#cluster = new Cluster(options, clock)
    // A join waits for all members to let go of what they must.
    this.#coordinator = new GroupCoordinator(
      options,
      this.#cluster,
      group,
      groupInstanceId,
      releaseTimeoutMs + sessionTimeoutMs + 30_000,
    )
    const membership = {
      group,
      topics,
      groupInstanceId,
      sessionTimeoutMs,
      releaseTimeoutMs,
      coordinator: this.#coordinator,
      clock,
      log,
    }
    this.#membership =
      protocol === 'consumer'
        ? new ConsumerMembership(membership, this.#cluster)
        : new ClassicMembership(membership, this.#cluster)
  }

  async start(listener: SourceListener): Promise<void> {
    const { clock, topics } = this.#options
    const trouble = new Trouble(listener)
    this.#listener = listener
    this.#trouble = trouble
    const fetcher = new Fetcher({
      source: this.#options,
      cluster: this.#cluster,
      readings: this.#readings,
      arrived: () => this.#wake?.(),
      outOfRange: (reading) => void this.#outOfRange(reading),
      otherTopic: (reading) => void this.#otherTopic(reading),
      failed: (error) => trouble.tell(error),
    })
    this.#fetcher = fetcher
    this.#watch = new TopicWatch({
      cluster: this.#cluster,
      topics,
      clock,
      changed: (topic) => this.#topicChanged(topic),
      failed: (error) => trouble.tell(error),
      answered: (found) => {
        this.#membership.topicsSeen(found)
        if (fetcher.healthy && this.#healthy) trouble.clear()
      },
    })
    this.#watch.start()
    const joined = new Promise<void>((resolve) => {
      this.#joined = resolve
    })
    this.#membership.start({
      joined: () => this.#joined?.(),
      assigned: (partitions) => this.#assigned(partitions),
      revoked: (partitions) => this.#revoked(partitions),
      lost: (partitions) => this.#lost(partitions),
      failed: (error) => {
        this.#healthy = false
        trouble.tell(error)
      },
      answered: () => {
        this.#healthy = true
        if (fetcher.healthy) trouble.clear()
      },
    })
    this.#loop = this.#run()
    await joined
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop()
    return this.#stopped
  }

  seek(partition: TopicPartition & { readonly topicId?: string }, position: number, token: number): void {
    const reading = this.#readings.get(keyOf(partition))
    if (!reading || reading.revoked) return
    reading.seek(position, token, partition.topicId)
    this.#fetcher?.wake()
  }

  #topicChanged(topic: TopicDescription): void {
    this.#fetcher?.refresh()
    this.#membership.topicsChanged()
    this.#listener?.topicChanged(topic)
  }

  /** Not by what the fetcher knows, which may be older than what was sought. */
  async #otherTopic(reading: Reading): Promise<void> {
    if (this.#asking) return
    this.#asking = true
    const { topicId } = reading
    try {
      const now = await this.#cluster.describe(reading.topic)
      if (now !== undefined && now.id !== topicId && reading.topicId === topicId && !this.#stopped)
        this.#topicChanged(now)
    } catch (error) {
      this.#trouble?.tell(errorOf(error))
    } finally {
      this.#asking = false
    }
  }

  pause(partitions: readonly TopicPartition[]): void {
    for (const partition of partitions) this.#readings.get(keyOf(partition))?.pause()
  }

  resume(partitions: readonly TopicPartition[]): void {
    for (const partition of partitions) this.#readings.get(keyOf(partition))?.resume()
    this.#fetcher?.wake()
    this.#wake?.()
  }

  release(partitions: readonly TopicPartition[]): void {
    const released = partitions.filter((partition) => {
      const key = keyOf(partition)
      const timer = this.#revocations.get(key)
      if (!timer) return false
      timer.cancel()
      this.#revocations.delete(key)
      return this.#readings.delete(key)
    })
    if (released.length > 0) this.#membership.release(released)
  }

  async commit(offsets: readonly PartitionOffset[]): Promise<OffsetCommitReply> {
    if (offsets.length === 0) return 'committed'
    const owned = offsets.map((offset) => this.#readings.get(keyOf(offset)))
    let reply: OffsetCommitReply = 'unavailable'
    for (let attempt = 0; attempt < commitAttempts; attempt++) {
      if (owned.some((reading, i) => !reading || this.#readings.get(keyOf(offsets[i] ?? offsetOfNothing)) !== reading))
        return 'not-member'
      const identity = this.#membership.identity()
      if (!identity) return 'not-member'
      reply = await this.#coordinator.commit(identity, offsets)
      if (reply === 'committed') break
      const now = this.#membership.identity()
      // Refused under an epoch that has passed meanwhile: the member may well be in the next one.
      if (this.#membership.rebalancing || !now || (now.epoch === identity.epoch && now.memberId === identity.memberId))
        break
    }
    if (reply === 'not-member') {
      if (this.#membership.rebalancing) return 'unavailable'
      this.#membership.doubt()
    }
    return reply === 'committed' &&
      owned.some((reading, i) => this.#readings.get(keyOf(offsets[i] ?? offsetOfNothing)) !== reading)
      ? 'not-member'
      : reply
  }

  committed(partitions: readonly TopicPartition[]): Promise<readonly PartitionOffset[]> {
    return this.#cluster.committed(this.#options.group, partitions)
  }

  range(partitions: readonly TopicPartition[]): Promise<readonly LogRange[]> {
    return this.#cluster.range(partitions)
  }

  offsetsAt(partitions: readonly TopicPartition[], timestamp: number): Promise<readonly PartitionOffset[]> {
    return this.#cluster.offsetsAt(partitions, timestamp)
  }

  describe(topic: string): Promise<TopicDescription | undefined> {
    return this.#cluster.describe(topic)
  }

  clusterId(): Promise<string> {
    return this.#cluster.clusterId()
  }

  #assigned(partitions: readonly TopicPartition[]): void {
    for (const partition of partitions) this.#readings.set(keyOf(partition), new Reading(partition))
    this.#listener?.assigned(partitions)
  }

  #revoked(partitions: readonly TopicPartition[]): void {
    for (const partition of partitions) {
      this.#readings.get(keyOf(partition))?.revoke()
      this.#revocations.set(
        keyOf(partition),
        this.#options.clock.after(this.#options.releaseTimeoutMs, () => this.release([partition])),
      )
    }
    this.#listener?.revoked(partitions)
  }

  #lost(partitions: readonly TopicPartition[]): void {
    for (const partition of partitions) {
      const key = keyOf(partition)
      this.#revocations.get(key)?.cancel()
      this.#revocations.delete(key)
      this.#readings.delete(key)
    }
    this.#listener?.lost(partitions)
  }

  /** Delivers what the fetcher brought, partition by partition in turn, a bounded number of records at a time. */
  async #run(): Promise<void> {
    while (!this.#stopping) {
      const batches = this.#next()
      if (batches.length === 0) {
        await this.#sleep()
        continue
      }
      this.#listener?.records(batches)
      this.#fetcher?.wake()
      await turn()
    }
  }

  /** The readings take turns: who came last in one call comes first in the next. */
  #next(): RecordBatch[] {
    const batches: RecordBatch[] = []
    let records = 0
    const readings = [...this.#readings]
    for (const [key, reading] of readings) {
      if (!reading.ready) continue
      if (records >= turnRecords) break
      this.#readings.delete(key)
      this.#readings.set(key, reading)
      try {
        const batch = reading.next(turnRecords - records)
        records += batch.records.length
        batches.push(batch)
      } catch (error) {
        this.#fetcher?.unreadable(reading, errorOf(error))
      }
    }
    return batches
  }

  #sleep(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#wake = undefined
        resolve()
      }
      if (this.#stopping) this.#wake()
    })
  }

  /** The broker says that the position is not in its log; its log may also have grown, or shrunk, just now. */
  async #outOfRange(reading: Reading): Promise<void> {
    const { token, position } = reading
    try {
      const [range] = await this.#cluster.range([reading])
      if (!range || this.#readings.get(keyOf(reading)) !== reading || reading.token !== token || reading.silent) return
      if (position >= range.start && position <= range.end) return
      reading.outside = true
      this.#listener?.outOfRange({ topic: reading.topic, partition: reading.partition }, position, range)
    } catch (error) {
      this.#trouble?.tell(errorOf(error))
    }
  }

  async #stop(): Promise<void> {
    this.#stopping = true
    this.#joined?.()
    this.#watch?.stop()
    for (const timer of this.#revocations.values()) timer.cancel()
    this.#wake?.()
    await this.#loop
    await this.#fetcher?.stop()
    await this.#membership.stop()
    this.#readings.clear()
    await this.#coordinator.close()
    await this.#cluster.close()
  }
}

const offsetOfNothing: TopicPartition = { topic: '', partition: -1 }

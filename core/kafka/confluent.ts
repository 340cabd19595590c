import { setImmediate as turn } from 'node:timers/promises'
import { backOffMs, withDeadline } from '../clock.ts'
import { errorOf, type TenantryError } from '../errors.ts'
import { Cluster } from './cluster.ts'
import { type Addon, checkNativeConfig, loadAddon } from './confluent-addon.ts'
import { NativeAssignment, pauseGraceMs } from './confluent-assignment.ts'
import { asFatal, NativeClient, type NativeOwner, type RebalanceKind } from './confluent-client.ts'
import { type NativePartition, NativePartitions, plain } from './confluent-partitions.ts'
import type { SourceOptions } from './options.ts'
import { QuietWatch } from './quiet-watch.ts'
import {
  instanceFencedCode,
  type LogRange,
  type OffsetCommitReply,
  type PartitionOffset,
  type RecordBatch,
  type Source,
  type SourceListener,
  type TopicDescription,
  type TopicPartition,
} from './source.ts'
import { TopicWatch } from './topic-watch.ts'
import { Trouble } from './trouble.ts'

/** Polls wait in JavaScript, not in libuv's pool; this is the longest that a wake-up lost in the addon can cost. */
const idlePollMs = 500
/** How long a client may take to leave its group: two requests to the coordinator. */
const leaveMs = 10_000
/** Before a new client takes the place of one that has failed. */
const restartMs = { first: 500, most: 10_000 } as const

/**
 * The driver over librdkafka, by its low-level `consume(n)`. One loop owns the consumer: it carries out what the methods
 * asked for, polls, and tells the listener; nothing is assigned, paused or resumed while a poll is under way, so that no
 * record of an older assignment can turn up in a newer one.
 */
export class ConfluentSource implements Source, NativeOwner {
  readonly #options: SourceOptions
  readonly #addon: Addon
  readonly #cluster: Cluster
  readonly #partitions = new NativePartitions()
  readonly #assignment: NativeAssignment
  readonly #quiet: QuietWatch
  /** Clients that should have left, and hang in librdkafka. */
  readonly #lingering = new Set<NativeClient>()
  /** Keeps the process alive while the source runs, as a socket of JavaScript's own would. */
  readonly #alive = new MessageChannel().port1
  #listener: SourceListener | undefined
  #trouble: Trouble | undefined
  #watch: TopicWatch | undefined
  /** Undefined while there is none that the loop serves. */
  #client: NativeClient | undefined
  #loop: Promise<void> = Promise.resolve()
  #stopped: Promise<void> | undefined
  #stopping = false
  #joined: (() => void) | undefined
  /** Something happened since the last poll began: do not wait. */
  #signalled = false
  #wake: (() => void) | undefined
  #fatal: TenantryError | undefined
  #restarts = 0

  /** Throws a TenantryError when the addon does not load, or refuses a setting. */
  constructor(options: SourceOptions) {
    this.#options = options
    this.#addon = loadAddon()
    checkNativeConfig(this.#addon, options)
    this.#cluster = new Cluster(options, options.clock)
    this.#assignment = new NativeAssignment(options, this.#partitions, {
      assigned: (partitions) => {
        this.#trouble?.clear()
        this.#hasJoined()
        if (partitions.length > 0) this.#listener?.assigned(partitions)
      },
      revoked: (partitions) => this.#listener?.revoked(partitions),
      lost: (partitions) => this.#listener?.lost(partitions),
      overdue: (partitions) => this.release(partitions),
      failed: (error) => this.failed(error),
      hasFailed: () => this.#fatal !== undefined,
    })
    this.#quiet = new QuietWatch({
      cluster: this.#cluster,
      clock: options.clock,
      partitions: this.#partitions,
      outOfRange: (partition, range) => this.#listener?.outOfRange(plain(partition), partition.position, range),
      refetched: () => this.signalled(),
      stalled: (error) => this.failed(error),
      failed: (error) => this.#trouble?.tell(error),
    })
  }

  async start(listener: SourceListener): Promise<void> {
    const { clock, topics } = this.#options
    this.#listener = listener
    this.#alive.on('message', () => {})
    const trouble = new Trouble(listener)
    this.#trouble = trouble
    this.#watch = new TopicWatch({
      cluster: this.#cluster,
      topics,
      clock,
      changed: (topic) => listener.topicChanged(topic),
      failed: (error) => trouble.tell(error),
      answered: () => {
        if (!this.#fatal && this.#quiet.healthy) trouble.clear()
      },
    })
    this.#watch.start()
    const joined = new Promise<void>((resolve) => {
      this.#joined = resolve
    })
    this.#loop = this.#run()
    await joined
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop()
    return this.#stopped
  }

  get lingering(): number {
    return this.#lingering.size
  }

  seek(partition: TopicPartition & { readonly topicId?: string }, position: number, token: number): void {
    const found = this.#partitions.get(partition)
    if (!found || found.revoked) return
    found.seek(position, token, partition.topicId)
    this.signalled()
  }

  pause(partitions: readonly TopicPartition[]): void {
    const now = this.#options.clock.monotonic()
    for (const partition of partitions) this.#partitions.get(partition)?.pause(now)
  }

  resume(partitions: readonly TopicPartition[]): void {
    for (const partition of partitions) this.#partitions.get(partition)?.resume()
    this.signalled()
  }

  release(partitions: readonly TopicPartition[]): void {
    for (const partition of partitions) {
      const found = this.#partitions.get(partition)
      if (found?.revoked) found.released = true
    }
    this.signalled()
  }

  async commit(offsets: readonly PartitionOffset[]): Promise<OffsetCommitReply> {
    if (offsets.length === 0) return 'committed'
    const owned = offsets.map((offset) => this.#partitions.get(offset))
    if (owned.includes(undefined)) return 'not-member'
    if (!this.#client) return 'unavailable'
    const reply = await this.#client.commit(offsets)
    // Lost, and perhaps assigned anew, while the answer was on its way: it proves nothing for the assignment of today.
    return reply === 'committed' && offsets.some((offset, i) => this.#partitions.get(offset) !== owned[i])
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

  rebalanced(kind: RebalanceKind, partitions: readonly TopicPartition[]): void {
    this.#assignment.rebalanced(kind, partitions)
    this.signalled()
  }

  signalled(): void {
    this.#signalled = true
    this.#wake?.()
  }

  failed(error: TenantryError): void {
    // The error may come before its reason, and this one decides whether to join again.
    if (this.#fatal === undefined || error.code === instanceFencedCode) this.#fatal = error
    this.signalled()
  }

  troubled(error: TenantryError): void {
    this.#trouble?.tell(error)
  }

  settled(): void {
    if (!this.#stopping) this.#hasJoined()
  }

  positionRefused(): void {
    this.#quiet.hurry()
  }

  identified(topic: string, id: string): void {
    this.#assignment.identified(topic, id)
  }

  #hasJoined(): void {
    this.#restarts = 0
    this.#joined?.()
    this.#joined = undefined
  }

  #untilStopped(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve
      if (this.#stopping) resolve()
    })
  }

  async #run(): Promise<void> {
    while (!this.#stopping) {
      this.#fatal = undefined
      const client = new NativeClient(this.#addon, this.#options, this)
      try {
        await client.connect()
        this.#client = client
        await this.#serve(client)
        await this.#discard(client)
      } catch (error) {
        this.#fatal ??= asFatal(errorOf(error))
        if (this.#client) await this.#discard(client)
      }
      if (this.#stopping) return
      if (this.#fatal) this.#trouble?.tell(this.#fatal)
      if (this.#fatal?.code === instanceFencedCode) return this.#untilStopped()
      this.#restarts += 1
      await this.#wait(backOffMs(this.#restarts, restartMs))
    }
  }

  async #serve(client: NativeClient): Promise<void> {
    while (!this.#stopping && !this.#fatal) {
      this.#assignment.carryOut(client)
      this.#signalled = false
      if (this.#assignment.rests) {
        await this.#wait(pauseGraceMs)
        continue
      }
      const { messages, ends } = await client.poll()
      // What librdkafka said before it fetched these is heard by then: that they are of another topic, maybe. In the same
      // turn it may come after them. A busy loop must not starve timers and sockets, either.
      await turn()
      await turn()
      if (this.#stopping || this.#fatal) return
      this.#partitions.take(messages, this.#options.clock.monotonic())
      for (const end of ends) this.#partitions.get(end)?.reached(end.offset)
      this.#deliver(client)
      this.#quiet.look()
      if (messages.length === 0 && !this.#signalled) await this.#wait(idlePollMs)
    }
  }

  #deliver(client: NativeClient): void {
    const now = this.#options.clock.monotonic()
    const batches: RecordBatch[] = []
    for (const partition of this.#partitions.all()) {
      if (partition.silent || !partition.hasNews) continue
      const end = partition.atEnd ? partition.position : this.#highWatermark(client, partition)
      batches.push(partition.batch(end, now))
    }
    if (batches.length > 0) this.#listener?.records(batches)
  }

  #highWatermark(client: NativeClient, partition: NativePartition): number {
    try {
      return Math.max(
        partition.position,
        client.consumer.getWatermarkOffsets(partition.topic, partition.partition).highOffset,
      )
    } catch {
      return -1
    }
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#options.clock.after(ms, () => this.#wake?.())
      this.#wake = () => {
        timer.cancel()
        this.#wake = undefined
        resolve()
      }
      if (this.#stopping) this.#wake()
    })
  }

  /** Ends the client; what it had is lost. No poll is under way. */
  async #discard(client: NativeClient): Promise<void> {
    this.#assignment.clear()
    const gone = this.#partitions.all().map(plain)
    this.#client = undefined
    await this.#leave(client)
    this.#partitions.clear()
    if (!this.#stopping && gone.length > 0) this.#listener?.lost(gone)
  }

  async #leave(client: NativeClient): Promise<void> {
    const { clock, log } = this.#options
    this.#lingering.add(client)
    const left = client.disconnect().then(() => this.#lingering.delete(client))
    if (await withDeadline(clock, left, leaveMs)) return
    log.warn(
      'kafka.client.lingers',
      { deadlineMs: leaveMs },
      'librdkafka does not end; the group counts us as a member until our session has expired.',
    )
  }

  async #stop(): Promise<void> {
    this.#stopping = true
    this.#joined?.()
    this.#watch?.stop()
    this.signalled()
    await this.#loop
    this.#alive.close()
    await this.#cluster.close()
  }
}

import { setImmediate as turn } from 'node:timers/promises'
import { backOffMs, type Timer, withDeadline } from '../clock.ts'
import { errorOf, TenantryError } from '../errors.ts'
import { Cluster } from './cluster.ts'
import { type Addon, checkNativeConfig, loadAddon } from './confluent-addon.ts'
import { NativeClient, type NativeOwner, otherTopic } from './confluent-client.ts'
import { type NativePartition, NativePartitions } from './confluent-partitions.ts'
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
/** A pause shorter than this is kept in memory: the addon's own throws away what it has fetched. */
const pauseGraceMs = 250
/** Records kept so, and the part of the bytes that may be fetched: past them the addon is told after all. */
const heldRecords = 10_000
const heldShare = 1 / 4
/** How long a client may take to leave its group: two requests to the coordinator. */
const leaveMs = 10_000
/** Before a new client takes the place of one that has failed. */
const restartMs = { first: 500, most: 10_000 } as const

type Rebalance = { readonly kind: 'assigned' | 'revoked' | 'lost'; readonly partitions: readonly TopicPartition[] }

/**
 * The driver over librdkafka, by its low-level `consume(n)`. One loop owns the consumer: it carries out what the methods
 * asked for, polls, and tells the listener; nothing is assigned, paused or resumed while a poll is under way, so that no
 * record of an older assignment can turn up in a newer one. A partition enters librdkafka's assignment at its first
 * `seek`, at that position, and so never fetches from a committed or default offset.
 */
export class ConfluentSource implements Source, NativeOwner {
  readonly #options: SourceOptions
  readonly #addon: Addon
  readonly #cluster: Cluster
  readonly #partitions = new NativePartitions()
  readonly #rebalances: Rebalance[] = []
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
  /** The group wants partitions back and has not got its answer. */
  #revoking: { readonly partitions: readonly TopicPartition[]; readonly timer: Timer } | undefined
  #fatal: TenantryError | undefined
  #restarts = 0

  /** Throws a TenantryError when the addon does not load, or refuses a setting. */
  constructor(options: SourceOptions) {
    this.#options = options
    this.#addon = loadAddon()
    checkNativeConfig(this.#addon, options)
    this.#cluster = new Cluster(options, options.clock)
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
    const { clock, log, topics } = this.#options
    this.#listener = listener
    this.#alive.on('message', () => {})
    const trouble = new Trouble(listener, log)
    this.#trouble = trouble
    this.#watch = new TopicWatch({
      cluster: this.#cluster,
      topics,
      clock,
      changed: (topic) => listener.topicChanged(topic),
      failed: (error) => trouble.tell(error),
      answered: () => {
        if (!this.#fatal) trouble.clear()
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

  rebalanced(kind: Rebalance['kind'], partitions: readonly TopicPartition[]): void {
    this.#rebalances.push({ kind, partitions })
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
    for (const partition of this.#partitions.all()) if (partition.topic === topic) this.#compare(partition, id)
  }

  /**
   * Whoever sought and the client mean different topics of one name, and either may be behind. With a new client both ask
   * again.
   */
  #compare({ topic, topicId, revoked }: NativePartition, id: string | undefined): void {
    if (!revoked && topicId !== undefined && id !== undefined && id !== topicId)
      this.failed(otherTopic(topic, topicId, id))
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
      this.#answerRebalances(client)
      this.#finishRevocation(client)
      this.#startSought(client)
      this.#pauseAndResume(client)
      this.#signalled = false
      if (this.#resting()) {
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

  /**
   * Everything is paused, for a short while: what is there stays with librdkafka. Read and held here, it cost a sixth of
   * the rate at which a backlog is worked off. A rebalance waits for its answer no longer than the pause is short.
   */
  #resting(): boolean {
    const now = this.#options.clock.monotonic()
    const started = this.#partitions.all().filter((partition) => partition.started)
    return (
      started.length > 0 &&
      started.every(
        (partition) =>
          partition.silent && !partition.revoked && !partition.stopped && now - partition.pausedAt < pauseGraceMs,
      )
    )
  }

  #answerRebalances(client: NativeClient): void {
    for (let event = this.#rebalances.shift(); event; event = this.#rebalances.shift()) {
      const { kind, partitions } = event
      if (kind === 'assigned') {
        client.consumer.incrementalAssign([])
        const added = partitions.map((partition) => this.#partitions.add(partition))
        this.#trouble?.clear()
        this.#hasJoined()
        if (added.length > 0) this.#listener?.assigned(partitions)
      } else if (kind === 'lost') {
        this.#revoking?.timer.cancel()
        this.#revoking = undefined
        this.#unassign(client, partitions)
        const held = partitions.filter((partition) => this.#partitions.delete(partition))
        if (held.length > 0) this.#listener?.lost(held)
      } else {
        const held = partitions.filter((partition) => this.#partitions.get(partition)?.revoke())
        const timer = this.#options.clock.after(this.#options.releaseTimeoutMs, () => this.release(partitions))
        this.#revoking = { partitions, timer }
        if (held.length > 0) this.#listener?.revoked(held)
      }
    }
  }

  #finishRevocation(client: NativeClient): void {
    const revoking = this.#revoking
    if (!revoking || revoking.partitions.some((partition) => this.#partitions.get(partition)?.released === false))
      return
    revoking.timer.cancel()
    this.#revoking = undefined
    this.#unassign(client, revoking.partitions)
    for (const partition of revoking.partitions) this.#partitions.delete(partition)
  }

  /** Takes out of librdkafka's assignment what had been put in; also its answer to a revocation, when nothing had. */
  #unassign(client: NativeClient, partitions: readonly TopicPartition[]): void {
    const started = partitions.filter((partition) => this.#partitions.get(partition)?.started)
    try {
      client.consumer.incrementalUnassign(started)
    } catch (error) {
      this.failed(asFatal(errorOf(error)))
    }
  }

  #startSought(client: NativeClient): void {
    const sought = this.#partitions.all().filter((partition) => partition.sought)
    if (sought.length === 0) return
    for (const partition of sought) this.#compare(partition, client.topicId(partition.topic))
    if (this.#fatal) return
    const restarted = sought.filter((partition) => partition.started)
    // Taking a partition out would answer the group's pending revocation: that one first.
    if (restarted.length > 0 && this.#revoking) return
    if (restarted.length > 0) client.consumer.incrementalUnassign(restarted.map(plain))
    // The addon remembers a pause over the end of an assignment.
    client.consumer.resume(sought.map(plain))
    const now = this.#options.clock.monotonic()
    client.consumer.incrementalAssign(sought.map((partition) => partition.start(now)))
  }

  #pauseAndResume(client: NativeClient): void {
    const now = this.#options.clock.monotonic()
    const mostBytes = this.#options.maxFetchBytes * heldShare
    const stop: NativePartition[] = []
    const go: NativePartition[] = []
    for (const partition of this.#partitions.all()) {
      if (!partition.started) continue
      if (partition.silent && !partition.stopped) {
        const much = partition.held.length >= heldRecords || partition.heldBytes >= mostBytes
        if (partition.revoked || much || now - partition.pausedAt >= pauseGraceMs) stop.push(partition)
      } else if (!partition.silent && partition.stopped) go.push(partition)
    }
    if (stop.length > 0) client.consumer.pause(stop.map(plain))
    for (const partition of stop) partition.stopped = true
    if (go.length > 0) client.consumer.resume(go.map(plain))
    for (const partition of go) {
      partition.stopped = false
      partition.heardAt = now
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
    this.#revoking?.timer.cancel()
    this.#revoking = undefined
    this.#rebalances.length = 0
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

function plain({ topic, partition }: TopicPartition): TopicPartition {
  return { topic, partition }
}

function asFatal(error: Error): TenantryError {
  if (error instanceof TenantryError) return error
  return new TenantryError(
    'TENANTRY_KAFKA_FATAL',
    `The Kafka client failed (${error.message}); joining the group again with a new one.`,
    {},
    { cause: error },
  )
}

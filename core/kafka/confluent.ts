import { setImmediate as turn } from 'node:timers/promises'
import type { Timer } from '../clock.ts'
import { errorOf, TenantryError } from '../errors.ts'
import { Cluster, keyOf, unavailable, withDeadline } from './cluster.ts'
import {
  type Addon,
  checkNativeConfig,
  codes,
  loadAddon,
  type NativeConsumer,
  type NativeError,
  type NativeMessage,
  nativeConfig,
} from './confluent-addon.ts'
import { NativeCommits } from './confluent-commits.ts'
import type { SourceOptions } from './options.ts'
import { NativePartition, NativePartitions, recordOf } from './confluent-partitions.ts'
import type {
  LogRange,
  OffsetCommitReply,
  PartitionOffset,
  Source,
  SourceListener,
  TopicDescription,
  TopicPartition,
} from './source.ts'
import { TopicWatch } from './topic-watch.ts'
import { Trouble } from './trouble.ts'

/** Records of one poll. More would block the thread longer than a poll saves. */
const pollRecords = 2_000
/** Polls wait in JavaScript, not in libuv's pool; this is the longest that a wake-up lost in the addon can cost. */
const idlePollMs = 500
/** A pause shorter than this is kept in memory: the addon's own throws away what it has fetched. */
const pauseGraceMs = 250
const heldRecords = 1_000
/** A partition that delivered nothing for so long is compared with its log. */
const quietMs = 1_500
const refetchMs = 5_000
const beyondMs = 12_000
const stalledMs = 60_000
/** A member that has known its coordinator for so long and was assigned nothing has joined and gets nothing. */
const settledMs = 2_000

type Rebalance = { readonly kind: 'assigned' | 'revoked' | 'lost'; readonly partitions: readonly TopicPartition[] }

/**
 * The driver over librdkafka, by its low-level `consume(n)`. One loop owns the consumer: it carries out what the methods
 * asked for, polls, and tells the listener; nothing is assigned, paused or resumed while a poll is under way, so that no
 * record of an older assignment can turn up in a newer one. A partition enters librdkafka's assignment at its first
 * `seek`, at that position, and so never fetches from a committed or default offset.
 */
export class ConfluentSource implements Source {
  readonly #options: SourceOptions
  readonly #addon: Addon
  readonly #cluster: Cluster
  readonly #partitions = new NativePartitions()
  readonly #rebalances: Rebalance[] = []
  /** Logs' ends that the current poll has come by. */
  #ends: PartitionOffset[] = []
  #listener: SourceListener | undefined
  #trouble: Trouble | undefined
  #watch: TopicWatch | undefined
  #consumer: NativeConsumer | undefined
  #commits: NativeCommits | undefined
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
  #fatalReason = ''
  /** Keeps the process alive while the source runs, as a socket of JavaScript's own would. */
  readonly #alive = new MessageChannel().port1
  #checked = 0
  #checking = false
  #restarts = 0

  /** Throws a TenantryError when the addon does not load, or refuses a setting. */
  constructor(options: SourceOptions) {
    this.#options = options
    this.#addon = loadAddon()
    checkNativeConfig(this.#addon, options)
    this.#cluster = new Cluster(options, options.clock)
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

  seek(partition: TopicPartition, position: number, token: number): void {
    const found = this.#partitions.get(partition)
    if (!found || found.revoked) return
    found.seek(position, token)
    this.#signal()
  }

  pause(partitions: readonly TopicPartition[]): void {
    const now = this.#options.clock.monotonic()
    for (const partition of partitions) this.#partitions.get(partition)?.pause(now)
  }

  resume(partitions: readonly TopicPartition[]): void {
    for (const partition of partitions) this.#partitions.get(partition)?.resume()
    this.#signal()
  }

  release(partitions: readonly TopicPartition[]): void {
    for (const partition of partitions) {
      const found = this.#partitions.get(partition)
      if (found?.revoked) found.released = true
    }
    this.#signal()
  }

  async commit(offsets: readonly PartitionOffset[]): Promise<OffsetCommitReply> {
    if (offsets.length === 0) return 'committed'
    const owned = offsets.map((offset) => this.#partitions.get(offset))
    if (owned.includes(undefined)) return 'not-member'
    if (!this.#commits) return 'unavailable'
    const reply = await this.#commits.commit(offsets)
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

  #signal(): void {
    this.#signalled = true
    this.#wake?.()
  }

  async #run(): Promise<void> {
    while (!this.#stopping) {
      try {
        const consumer = await this.#connect()
        if (consumer) await this.#serve(consumer)
      } catch (error) {
        this.#fail(errorOf(error))
      }
      await this.#discard()
      if (this.#stopping) return
      if (this.#fatal) this.#trouble?.tell(this.#fatal)
      // Whoever has our instance id would be fenced by us, and we by it, for ever.
      if (this.#fatal?.code === fencedCode) return this.#untilStopped()
      this.#restarts += 1
      await this.#wait(Math.min(10_000, 250 * 2 ** Math.min(6, this.#restarts)))
    }
  }

  async #connect(): Promise<NativeConsumer | undefined> {
    const { clock, log, topics, sessionTimeoutMs } = this.#options
    this.#fatal = undefined
    const consumer: NativeConsumer = new this.#addon.KafkaConsumer(
      nativeConfig(this.#options, {
        rebalance_cb: (error: NativeError | undefined, partitions: readonly TopicPartition[]) =>
          this.#rebalanced(consumer, error, partitions),
        offset_commit_cb: (error: NativeError | undefined, offsets: readonly PartitionOffset[]) =>
          commits.answered(error ?? undefined, offsets),
        queue_non_empty_cb: () => this.#signal(),
      }),
      { 'auto.offset.reset': 'error' },
    )
    const commits = new NativeCommits(consumer, clock, sessionTimeoutMs)
    consumer.on('event.error', (error) => {
      log.debug('kafka.client.error', { reason: error.message }, 'librdkafka reports an error')
      if (/Fatal error/.test(error.message)) this.#fail(fatalError(error, this.#fatalReason))
      else if (/All broker connections are down|Authentication failure|SSL/.test(error.message))
        this.#trouble?.tell(unavailable('reach its brokers', error))
    })
    consumer.on('event.log', ({ severity, fac, message }) => {
      // The addon hands over a fatal error without its reason; that stands here only.
      if (fac === 'FATAL') this.#fatalReason = message.replace(/^.*?Fatal error: /, '')
      // Failed connections are told by `troubled`, once.
      const level = severity <= 3 && fac !== 'FAIL' ? 'warn' : 'debug'
      log[level]('kafka.client.log', { facility: fac }, message)
    })
    consumer.on('event.stats', ({ message }) => {
      if (!this.#joined || this.#stopping) return
      const { cgrp }: { readonly cgrp?: { readonly state?: string; readonly stateage?: number } } = JSON.parse(message)
      // By KIP-848 a member that is assigned nothing gets no rebalance callback, and its join state stays 'init'.
      if (this.#options.protocol === 'consumer' && cgrp?.state === 'up' && (cgrp.stateage ?? 0) >= settledMs)
        this.#hasJoined()
    })
    consumer.setDefaultConsumeTimeout(0)
    const error = await new Promise<Error | undefined>((resolve) => {
      consumer.connect({ allTopics: false, timeout: 10_000 }, (failed) => resolve(failed ?? undefined))
    })
    if (error) {
      this.#fatal = unavailable('reach its brokers', error)
      return undefined
    }
    this.#consumer = consumer
    this.#commits = commits
    this.#ends = []
    consumer.on('partition.eof', (eof) => this.#ends.push(eof))
    consumer.subscribe(topics)
    return consumer
  }

  /** Runs in a callback of the addon: enqueues, or answers at once when there is no loop any more to do it. */
  #rebalanced(consumer: NativeConsumer, error: NativeError | undefined, partitions: readonly TopicPartition[]): void {
    const plain = partitions.map(({ topic, partition }) => ({ topic, partition }))
    if (error?.code === codes.assignPartitions) {
      if (this.#stopping || consumer !== this.#consumer) return
      this.#rebalances.push({ kind: 'assigned', partitions: plain })
    } else {
      if (this.#stopping || consumer !== this.#consumer) {
        // The addon's disconnect waits for this answer.
        this.#unassign(consumer, plain)
        return
      }
      this.#rebalances.push({ kind: consumer.assignmentLost() ? 'lost' : 'revoked', partitions: plain })
    }
    this.#signal()
  }

  async #serve(consumer: NativeConsumer): Promise<void> {
    while (!this.#stopping && !this.#fatal) {
      this.#answerRebalances(consumer)
      this.#finishRevocation(consumer)
      this.#startSought(consumer)
      this.#pauseAndResume(consumer)
      this.#signalled = false
      const messages = await this.#poll(consumer)
      if (this.#stopping) return
      this.#take(messages)
      this.#reachEnds()
      this.#deliver(consumer)
      this.#watchQuiet()
      if (messages.length === 0) await this.#idle()
      // A poll's answer comes in a microtask-free callback, but a busy loop must not starve timers and sockets.
      else await turn()
    }
  }

  #answerRebalances(consumer: NativeConsumer): void {
    for (let event = this.#rebalances.shift(); event; event = this.#rebalances.shift()) {
      const { kind, partitions } = event
      if (kind === 'assigned') {
        consumer.incrementalAssign([])
        const added = partitions.map((partition) => this.#partitions.add(partition))
        this.#trouble?.clear()
        this.#hasJoined()
        if (added.length > 0) this.#listener?.assigned(partitions)
      } else if (kind === 'lost') {
        this.#revoking?.timer.cancel()
        this.#revoking = undefined
        this.#unassign(consumer, partitions)
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

  #finishRevocation(consumer: NativeConsumer): void {
    const revoking = this.#revoking
    if (!revoking || revoking.partitions.some((partition) => this.#partitions.get(partition)?.released === false))
      return
    revoking.timer.cancel()
    this.#revoking = undefined
    this.#unassign(consumer, revoking.partitions)
    for (const partition of revoking.partitions) this.#partitions.delete(partition)
  }

  /** Takes out of librdkafka's assignment what had been put in; also its answer to a revocation, when nothing had. */
  #unassign(consumer: NativeConsumer, partitions: readonly TopicPartition[]): void {
    const started = partitions.filter((partition) => this.#partitions.get(partition)?.started)
    try {
      consumer.incrementalUnassign(started)
    } catch (error) {
      this.#fail(errorOf(error))
    }
  }

  #startSought(consumer: NativeConsumer): void {
    const sought = this.#partitions.all().filter((partition) => partition.sought)
    if (sought.length === 0) return
    const restarted = sought.filter((partition) => partition.started)
    // Taking a partition out would answer the group's pending revocation: that one first.
    if (restarted.length > 0 && this.#revoking) return
    if (restarted.length > 0) consumer.incrementalUnassign(restarted.map(plain))
    // The addon remembers a pause over the end of an assignment.
    consumer.resume(sought.map(plain))
    const now = this.#options.clock.monotonic()
    consumer.incrementalAssign(sought.map((partition) => partition.start(now)))
  }

  #pauseAndResume(consumer: NativeConsumer): void {
    const now = this.#options.clock.monotonic()
    const stop: NativePartition[] = []
    const go: NativePartition[] = []
    for (const partition of this.#partitions.all()) {
      if (!partition.started) continue
      if (partition.silent && !partition.stopped) {
        if (partition.revoked || partition.held.length >= heldRecords || now - partition.pausedAt >= pauseGraceMs)
          stop.push(partition)
      } else if (!partition.silent && partition.stopped) go.push(partition)
    }
    if (stop.length > 0) consumer.pause(stop.map(plain))
    for (const partition of stop) partition.stopped = true
    if (go.length > 0) consumer.resume(go.map(plain))
    for (const partition of go) {
      partition.stopped = false
      partition.heardAt = now
    }
  }

  #poll(consumer: NativeConsumer): Promise<readonly NativeMessage[]> {
    return new Promise((resolve) => {
      consumer.consume(pollRecords, (error, messages) => {
        if (!error) return resolve(messages)
        if (error.code === codes.fatal || error.code === codes.fencedInstanceId)
          this.#fail(fatalError(error, this.#fatalReason))
        else if (error.code === codes.autoOffsetReset) this.#checked = Number.NEGATIVE_INFINITY
        else if (error.code === codes.allBrokersDown || error.code > 0) this.#trouble?.tell(unavailable('read', error))
        this.#options.log.debug('kafka.poll.failed', { code: error.code, reason: error.message }, 'a poll failed')
        resolve([])
      })
    })
  }

  #take(messages: readonly NativeMessage[]): void {
    const now = this.#options.clock.monotonic()
    let partition: NativePartition | undefined
    let topic = ''
    let number = -1
    for (const message of messages) {
      if (message.partition !== number || message.topic !== topic) {
        topic = message.topic
        number = message.partition
        partition = this.#partitions.find(topic, number)
        if (partition) partition.heardAt = now
      }
      if (partition && !partition.sought && !partition.revoked && message.offset >= partition.position)
        partition.push(recordOf(message))
    }
  }

  /** The addon tells of a log's end before it hands over the same poll's records, which lie in front of that end. */
  #reachEnds(): void {
    for (const end of this.#ends) this.#partitions.get(end)?.reached(end.offset)
    this.#ends = []
  }

  #deliver(consumer: NativeConsumer): void {
    const now = this.#options.clock.monotonic()
    for (const partition of this.#partitions.all()) {
      if (partition.silent || !partition.hasNews) continue
      const end = partition.atEnd ? partition.position : this.#highWatermark(consumer, partition)
      const batch = partition.batch(end, now)
      this.#listener?.records(batch)
    }
  }

  #highWatermark(consumer: NativeConsumer, partition: NativePartition): number {
    try {
      return Math.max(partition.position, consumer.getWatermarkOffsets(partition.topic, partition.partition).highOffset)
    } catch {
      return -1
    }
  }

  /**
   * The addon drops an error that comes after records of the same poll, and never says which partition it was about. So
   * partitions that deliver nothing are compared with their logs: outside them is `outOfRange`; inside, with records to
   * read, for a long while, is a stall.
   */
  #watchQuiet(): void {
    const { clock } = this.#options
    const now = clock.monotonic()
    if (this.#checking || now - this.#checked < quietMs) return
    this.#checked = now
    const quiet = this.#partitions
      .all()
      .filter(
        (partition) =>
          partition.started &&
          !partition.sought &&
          !partition.silent &&
          !partition.atEnd &&
          now - partition.heardAt >= quietMs,
      )
    if (quiet.length === 0) return
    this.#checking = true
    void this.#compare(quiet).finally(() => {
      this.#checking = false
    })
  }

  async #compare(quiet: readonly NativePartition[]): Promise<void> {
    let ranges: ReadonlyMap<string, LogRange>
    const positions = quiet.map(({ position, token }) => ({ position, token }))
    try {
      const answer = await this.#cluster.range(quiet)
      ranges = new Map(answer.map((range) => [keyOf(range), range]))
    } catch (error) {
      this.#trouble?.tell(errorOf(error))
      return
    }
    for (const [i, partition] of quiet.entries()) {
      const range = ranges.get(keyOf(partition))
      const before = positions[i]
      if (!range || !before || this.#partitions.get(partition) !== partition || partition.sought) continue
      if (partition.position !== before.position || partition.token !== before.token || partition.silent) continue
      const { position } = partition
      const quietFor = this.#options.clock.monotonic() - partition.heardAt
      // A new leader may not know yet how far the log has been committed: beyond its end only when it stays so.
      if (position < range.start || (position > range.end && quietFor >= beyondMs)) {
        partition.outside = true
        this.#listener?.outOfRange(plain(partition), position, range)
      } else if (position < range.end && quietFor >= stalledMs) {
        this.#fail(
          new TenantryError(
            'TENANTRY_KAFKA_STALLED',
            `Polls of ${partition.topic} ${partition.partition} return nothing although its log goes on. Joining the group again.`,
            { topic: partition.topic, partition: partition.partition, position, end: range.end },
          ),
        )
      } else if (position !== range.end && quietFor >= refetchMs * (partition.refetches + 1)) {
        // librdkafka stops fetching at an offset that a broker once refused. The same token: nothing is skipped.
        partition.refetches += 1
        partition.sought = { position, token: partition.token }
        this.#signal()
      }
    }
  }

  #fail(error: Error): void {
    this.#fatal ??=
      error instanceof TenantryError
        ? error
        : new TenantryError(
            'TENANTRY_KAFKA_FATAL',
            `The Kafka client failed (${error.message}); joining the group again with a new one.`,
            {},
            { cause: error },
          )
    this.#signal()
  }

  async #idle(): Promise<void> {
    if (this.#signalled) return turn()
    await this.#wait(idlePollMs)
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

  /** Ends the consumer; what it had is lost. No poll is under way: disconnecting beneath one crashes the process. */
  async #discard(): Promise<void> {
    const consumer = this.#consumer
    this.#revoking?.timer.cancel()
    this.#revoking = undefined
    this.#rebalances.length = 0
    this.#commits?.close()
    this.#commits = undefined
    if (!consumer) return
    const gone = this.#partitions.all().map(plain)
    if (this.#stopping || this.#fatal) this.#consumer = undefined
    const left = new Promise<void>((resolve) => consumer.disconnect(resolve))
    await withDeadline(this.#options.clock, left, 10_000)
    this.#partitions.clear()
    if (!this.#stopping && gone.length > 0) this.#listener?.lost(gone)
  }

  async #stop(): Promise<void> {
    this.#stopping = true
    this.#joined?.()
    this.#watch?.stop()
    this.#signal()
    await this.#loop
    this.#alive.close()
    await this.#cluster.close()
  }
}

function plain({ topic, partition }: TopicPartition): TopicPartition {
  return { topic, partition }
}

const fencedCode = 'TENANTRY_INSTANCE_FENCED'

function fatalError(error: NativeError, reason: string): TenantryError {
  if (/Static consumer fenced/.test(reason)) {
    return new TenantryError(
      fencedCode,
      'A newer member of the group uses the same group.instance.id, and has taken the partitions. Give each daemon its own, and start this one again.',
      {},
      { cause: error },
    )
  }
  if (/instance ID is still used/.test(reason)) {
    return new TenantryError(
      'TENANTRY_INSTANCE_IN_USE',
      'Another member of the group uses the same group.instance.id. Give each daemon its own; waiting for it to go.',
      {},
      { cause: error },
    )
  }
  return new TenantryError(
    'TENANTRY_KAFKA_FATAL',
    `The Kafka client gave up (${reason || error.message}); joining the group again with a new one.`,
    { code: error.code },
    { cause: error },
  )
}

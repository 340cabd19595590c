import type { Timer } from '../clock.ts'
import { errorOf, type TenantryError } from '../errors.ts'
import { asFatal, type NativeClient, otherTopic, type RebalanceKind } from './confluent-client.ts'
import { type NativePartition, type NativePartitions, plain } from './confluent-partitions.ts'
import type { SourceOptions } from './options.ts'
import type { TopicPartition } from './source.ts'

/** A pause shorter than this is kept in memory: the addon's own throws away what it has fetched. */
export const pauseGraceMs = 250
/** Records kept so, and the part of the bytes that may be fetched: past them the addon is told after all. */
const heldRecords = 10_000
const heldShare = 1 / 4

export type AssignmentHost = {
  /** The member is in its group, whether or not it has got any. */
  assigned(partitions: readonly TopicPartition[]): void
  /** One at least, each told once. */
  revoked(partitions: readonly TopicPartition[]): void
  lost(partitions: readonly TopicPartition[]): void
  /** Nobody has released these in time. */
  overdue(partitions: readonly TopicPartition[]): void
  /** The client is of no use any more. */
  failed(error: TenantryError): void
  hasFailed(): boolean
}

/**
 * What librdkafka is told of its partitions between two polls: the answers to its group's rebalances, the positions to
 * begin at, and what is paused. A partition enters its assignment at its first `seek`, at that position, and so is never
 * fetched from a committed or default offset.
 */
export class NativeAssignment {
  readonly #options: SourceOptions
  readonly #partitions: NativePartitions
  readonly #host: AssignmentHost
  readonly #rebalances: { readonly kind: RebalanceKind; readonly partitions: readonly TopicPartition[] }[] = []
  /** The group wants partitions back and has not got its answer. */
  #revoking: { readonly partitions: readonly TopicPartition[]; readonly timer: Timer } | undefined

  constructor(options: SourceOptions, partitions: NativePartitions, host: AssignmentHost) {
    this.#options = options
    this.#partitions = partitions
    this.#host = host
  }

  /** To be answered by the next `carryOut`. */
  rebalanced(kind: RebalanceKind, partitions: readonly TopicPartition[]): void {
    this.#rebalances.push({ kind, partitions })
  }

  /** From now on the client fetches the topic by this id. */
  identified(topic: string, id: string): void {
    for (const partition of this.#partitions.all()) if (partition.topic === topic) this.#compare(partition, id)
  }

  /** No poll is under way. Throws what the addon throws. */
  carryOut(client: NativeClient): void {
    this.#answerRebalances(client)
    this.#finishRevocation(client)
    this.#startSought(client)
    this.#pauseAndResume(client)
  }

  /** The client is another from here on. */
  clear(): void {
    this.#revoking?.timer.cancel()
    this.#revoking = undefined
    this.#rebalances.length = 0
  }

  /**
   * Everything is paused, for a short while: what is there stays with librdkafka. Read and held here, it cost a sixth of
   * the rate at which a backlog is worked off. A rebalance waits for its answer no longer than the pause is short.
   */
  get rests(): boolean {
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
        for (const partition of partitions) this.#partitions.add(partition)
        this.#host.assigned(partitions)
      } else if (kind === 'lost') {
        this.#revoking?.timer.cancel()
        this.#revoking = undefined
        this.#unassign(client, partitions)
        const held = partitions.filter((partition) => this.#partitions.delete(partition))
        if (held.length > 0) this.#host.lost(held)
      } else {
        const held = partitions.filter((partition) => this.#partitions.get(partition)?.revoke())
        const timer = this.#options.clock.after(this.#options.releaseTimeoutMs, () => this.#host.overdue(partitions))
        this.#revoking = { partitions, timer }
        if (held.length > 0) this.#host.revoked(held)
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
      this.#host.failed(asFatal(errorOf(error)))
    }
  }

  #startSought(client: NativeClient): void {
    const sought = this.#partitions.all().filter((partition) => partition.sought)
    if (sought.length === 0) return
    for (const partition of sought) this.#compare(partition, client.topicId(partition.topic))
    if (this.#host.hasFailed()) return
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

  /**
   * Whoever sought and the client mean different topics of one name, and either may be behind. With a new client both ask
   * again.
   */
  #compare({ topic, topicId, revoked }: NativePartition, id: string | undefined): void {
    if (!revoked && topicId !== undefined && id !== undefined && id !== topicId)
      this.#host.failed(otherTopic(topic, topicId, id))
  }
}

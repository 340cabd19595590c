import type { Clock } from '../core/clock.ts'
import type { TopicPartition } from '../core/kafka/source.ts'
import type { Ownership, Rerun, RetryRow } from '../core/postgres/ownership.ts'
import type { BreakerChange, OutboxPosition, PartitionRef, Range } from '../core/postgres/transactions.ts'
import type { ActorRole, GroupOptions } from './group.ts'
import type { Item } from './item.ts'
import type { Mailbox } from './mailbox.ts'
import { Progress } from './progress.ts'

/**
 * - `claiming`: assigned to us; the epoch is being raised
 * - `owned`: records are taken, decided and committed
 * - `closing`: the group wants it back; what is decided commits, then it is released
 * - `stopped`: an error that an operator must decide; owned, so that nobody else runs into it
 * - `gone`: not ours any more; whatever still arrives for it is dropped
 */
export type PartitionPhase = 'claiming' | 'owned' | 'closing' | 'stopped' | 'gone'

/** What is delivered so long after it was written, and after the log's end was last reached, is a backlog. */
const liveWithinMs = 10_000

export type LaggardSettings = { readonly parkAfterCommits: number; readonly parkAfterRanges: number }

/** One assignment of a partition to this daemon. Lost and assigned again, it is a new object. */
export class Partition implements TopicPartition {
  readonly group: GroupOptions
  readonly actor: ActorRole
  readonly topic: string
  readonly partition: number
  readonly lane: number
  /** Monotonic time of the assignment: a raise that comes much later must prove membership first. */
  readonly assignedAt: number
  phase: PartitionPhase = 'claiming'
  /** Why it is stopped, or what claiming it waits for. */
  reason = ''
  topicId = ''
  /** -1 before it was first raised. */
  epoch = -1
  seq = 0
  /** Of its last commit, or of its raise. */
  commitId = ''
  /** Grows with each seek, over all assignments of the daemon, so that no batch of an older one passes. */
  token = 0
  /** What is committed as done. */
  progress = new Progress(0)
  /** Where the next record will be; everything below was delivered or is a gap. */
  position = 0
  /** The log's end as last heard, -1 before. */
  end = -1
  /** Redelivered records below this may be ahead of the watermark and done; parked ones of earlier owners are. */
  aheadEnd = 0
  /** Gaps delivered since the last commit: positions with no record in them. */
  gaps: Range[] = []
  /** The offset last written to Kafka, -1 where none was. */
  kafkaOffset = -1
  /** Outbox rows up to here were delivered and are not yet deleted. */
  published: OutboxPosition | null = null
  /** Breakers that are others than the table has, by dependency and tenant. */
  readonly breakers = new Map<string, BreakerChange>()
  readonly mailboxes = new Map<string, Mailbox>()
  /** Timestamp of the newest record committed, in ms since 1970; -1 before. Its age is the lag in time. */
  committedTimestamp = -1
  /** Decisions that wait for their commit or are in one. */
  uncommitted = 0
  paused = false
  /** Mailboxes past their bound: while there are any, the partition is paused. */
  fullMailboxes = 0
  /** Must prove membership before its next raise: fenced, or claimed late. */
  suspect = false
  /** The next owner is told that this one was not lost. */
  givenBack = false
  /** Its last Kafka offset is being written; then it is released. */
  releasing = false
  claimAttempts = 0
  /** What an earlier assignment in this process wrote to Kafka, where it was fenced; -1 where nothing. */
  writtenBefore = -1
  /** Monotonic time of the last commit, or of the takeover. */
  committedAt = 0
  /** Monotonic time at which the watermark last moved, or of the takeover. */
  advancedAt = 0
  /** It has been at the log's end, and what it delivers now is recent. */
  live = false
  /** Monotonic time at which it was there last. */
  #atEndAt = 0
  /** Its parked records are being read. */
  reading = false
  /** Commits since its watermark last moved, and where what was done ended then. */
  #stalledCommits = 0
  #stalledFrom = 0
  /** Failed attempts at records that are yet to come, as an earlier owner left them, by offset. */
  readonly #retries = new Map<number, RetryRow>()
  #rerun: Rerun | null = null
  #ref: PartitionRef | null = null

  constructor(group: GroupOptions, actor: ActorRole, at: TopicPartition, lane: number, assignedAt: number) {
    this.group = group
    this.actor = actor
    this.topic = at.topic
    this.partition = at.partition
    this.lane = lane
    this.assignedAt = assignedAt
  }

  get ref(): PartitionRef {
    if (this.#ref?.topicId !== this.topicId) {
      this.#ref = { group: this.group.name, topic: this.topic, topicId: this.topicId, partition: this.partition }
    }
    return this.#ref
  }

  get facts(): { group: string; topic: string; partition: number } {
    return { group: this.group.name, topic: this.topic, partition: this.partition }
  }

  own(ownership: Ownership, now: number): void {
    this.committedAt = now
    this.advancedAt = now
    this.epoch = ownership.epoch
    this.seq = ownership.seq
    this.commitId = ownership.commitId
    this.progress = new Progress(ownership.watermark, ownership.ahead)
    this.position = ownership.watermark
    this.aheadEnd = this.progress.end
    this.#stalledFrom = this.aheadEnd
    this.kafkaOffset = ownership.kafkaOffset
    this.gaps = []
    this.published = null
    this.phase = 'owned'
    this.reason = ''
    for (const retry of ownership.retries) this.#retries.set(retry.offset, retry)
    this.#rerun = ownership.rerun
  }

  /** An earlier owner's attempts at the record count, and so does an operator's word that it runs again. */
  countOn(item: Item): void {
    if (this.#rerun !== null && item.record.offset < this.#rerun.to) item.knownSince = this.#rerun.since
    if (this.#retries.size === 0) return
    const retry = this.#retries.get(item.record.offset)
    if (retry === undefined) return
    this.#retries.delete(item.record.offset)
    item.attempts = retry.attempts
    item.firstFailedAt = retry.firstFailedAt
    item.retried = true
  }

  /** What an earlier owner did not get done below what it did has come again: parked records can follow it now. */
  get caughtUp(): boolean {
    return this.position >= this.aheadEnd
  }

  /**
   * A batch has come whose last record was written at `timestamp`, so producers say: their clocks may be wrong, or ours, or
   * they write when something happened elsewhere. At the log's end it is no backlog, whatever they say.
   */
  heard(timestamp: number, clock: Clock): void {
    const now = clock.monotonic()
    if (this.end >= 0 && this.position >= this.end) {
      this.live = true
      this.#atEndAt = now
    } else if (clock.now() - timestamp >= liveWithinMs && now - this.#atEndAt >= liveWithinMs) {
      this.live = false
    }
  }

  /** To be written with its next commit. */
  record(change: BreakerChange): void {
    this.breakers.set(`${change.dependency}\n${change.tenant}`, change)
  }

  /** These are written; one that has changed again meanwhile is not. */
  recorded(changes: readonly BreakerChange[]): void {
    for (const change of changes) {
      const key = `${change.dependency}\n${change.tenant}`
      if (this.breakers.get(key) === change) this.breakers.delete(key)
    }
  }

  /** Positions that need no decision: no record is there, or it is done already. */
  pass(from: number, to: number): void {
    const last = this.gaps.at(-1)
    if (last?.[1] === from) this.gaps[this.gaps.length - 1] = [last[0], to]
    else this.gaps.push([from, to])
    this.position = to
  }

  /** A commit is durable. A gap that grew while it was on its way stays for the next. */
  committed(commitId: string, progress: Progress, now: number): void {
    this.seq++
    this.commitId = commitId
    this.committedAt = now
    if (progress.watermark > this.progress.watermark) {
      this.#stalledCommits = 0
      this.#stalledFrom = progress.end
      this.advancedAt = now
    } else {
      this.#stalledCommits++
    }
    this.progress = progress
    if (this.gaps.length > 0) this.gaps = this.gaps.filter(([, to]) => !progress.has(to - 1))
  }

  /**
   * Whoever still has a record below the offset returned has held the watermark for too long: for so many commits, or
   * while progress came to have so many ranges above it. Null: nobody has.
   */
  laggards({ parkAfterCommits, parkAfterRanges }: LaggardSettings): number | null {
    if (this.progress.ranges > parkAfterRanges) return this.progress.middle
    if (this.progress.ranges === 0 || this.#stalledCommits < parkAfterCommits) return null
    const before = this.#stalledFrom
    this.#stalledCommits = 0
    this.#stalledFrom = this.progress.end
    return before
  }

  /** Whether decisions of this assignment may still be committed. */
  get commits(): boolean {
    return this.phase === 'owned' || this.phase === 'closing'
  }
}

import { TenantryError } from '../errors.ts'

/**
 * The port through which records come in: one consumer-group member. Two drivers implement it (`confluent.ts`,
 * `platformatic.ts`) and the simulation's model of Kafka; test/contract/source.ts is the contract, run against each.
 *
 * A source never decides where to read: after `assigned` it delivers nothing of a partition until `seek` says from
 * where, and it never falls back to the earliest or latest offset by itself.
 */

export type Headers = readonly (readonly [name: Buffer, value: Buffer | null])[]

/** What Kafka hands over. Offsets are numbers: Kafka would need 285 years at a million records a second to pass 2^53. */
export type KafkaRecord = {
  readonly offset: number
  /** Milliseconds since 1970 as the producer or the broker set it; -1 where there is none. */
  readonly timestamp: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: Headers
  /** Bytes of key and value, where the driver knows them without making either. */
  readonly size?: number
}

export const noHeaders: Headers = []

/** The record in memory of its own. A driver's may be a view of its whole batch, which lives as long as any of it. */
export function detached({ offset, timestamp, key, value, headers }: KafkaRecord): KafkaRecord {
  const own = (bytes: Buffer | null) => bytes && Buffer.from(bytes)
  return {
    offset,
    timestamp,
    key: own(key),
    value: own(value),
    headers: headers.map(([name, text]) => [Buffer.from(name), own(text)]),
  }
}

/**
 * The code of a `troubled` that trying on does not mend: a newer member has our instance id, and whoever joins again
 * fences the other, for ever.
 */
export const instanceFencedCode = 'TENANTRY_INSTANCE_FENCED'

/** That, whichever driver has learnt it. */
export function instanceFenced(cause: Error): TenantryError {
  return new TenantryError(
    instanceFencedCode,
    'A newer member of the group uses the same group.instance.id, and has taken the partitions. Give each daemon its own, and start this one again.',
    {},
    { cause },
  )
}

export type TopicPartition = { readonly topic: string; readonly partition: number }

/** A topic as the cluster describes it now. The id tells a recreated topic from the old one of the same name (KIP-516). */
export type TopicDescription = {
  readonly topic: string
  /** A lower-case UUID with hyphens. */
  readonly id: string
  readonly partitions: number
}

/** Records of one partition, ascending, and how far the log was read to get them. */
export type RecordBatch = {
  readonly topic: string
  readonly partition: number
  /** The `token` of the `seek` since which these records were fetched. The engine drops batches of an older token. */
  readonly token: number
  readonly records: readonly KafkaRecord[]
  /**
   * The position after this batch: every offset below it has been delivered, or holds no record for us (compacted away,
   * aborted, a control record). At least the last record's offset + 1. A batch may be empty and only move the position.
   */
  readonly position: number
  /** The end of what may be read (the last stable offset where known, else the high watermark); -1 where unknown. */
  readonly end: number
}

/** The log's bounds: `start` is the first offset still kept, `end` the one the next record will get (read committed). */
export type LogRange = TopicPartition & { readonly start: number; readonly end: number }

export type PartitionOffset = TopicPartition & { readonly offset: number }

/** `not-member`: the coordinator refused because this member is not, or no longer, in the group's current generation. */
export type OffsetCommitReply = 'committed' | 'not-member' | 'unavailable'

/**
 * What a source tells its owner. Calls come from the source's own loop, one at a time, never from inside one of the
 * source's methods; the listener only enqueues and returns.
 */
export interface SourceListener {
  /** New partitions of ours. Nothing of them is delivered before `seek`. */
  assigned(partitions: readonly TopicPartition[]): void
  /**
   * The group wants these back. The source gives them up when `release` is called for them, or when `releaseTimeoutMs`
   * has passed, and delivers nothing of them meanwhile.
   */
  revoked(partitions: readonly TopicPartition[]): void
  /** These have gone already (session expired, member fenced): nothing can be committed for them any more. */
  lost(partitions: readonly TopicPartition[]): void
  /** What is there at once comes in one call: each is an event, with what follows from it. */
  records(batches: readonly RecordBatch[]): void
  /**
   * The position that was sought is outside the log (retention ran past it, or the log was truncated). The partition
   * delivers nothing until the next `seek`.
   */
  outOfRange(partition: TopicPartition, position: number, range: LogRange): void
  /** A topic's id or partition count differs from what it was at the last look. */
  topicChanged(topic: TopicDescription): void
  /** Kafka is away, refuses us, or answers nonsense. The source goes on trying, with backoff; `recovered` ends it. */
  troubled(reason: Error): void
  recovered(): void
}

export interface Source {
  /** Connects and joins the group. Resolves when the group was joined; waits, and tells `troubled`, while it cannot. */
  start(listener: SourceListener): Promise<void>
  /** Leaves the group and closes. Gives partitions up without asking: commit and release before. Idempotent. */
  stop(): Promise<void>
  /** Threads of the driver's that do not end although they were told to: the process cannot end by itself before they do. */
  readonly lingering: number
  /**
   * Delivers `partition` from `position` on, each batch with `token`; also lifts a pause. What was fetched before never
   * arrives with the new token. `token` grows with each call for a partition. With `topicId` nothing is delivered of
   * another topic of that name, in whose log the position means something else.
   */
  seek(partition: TopicPartition & { readonly topicId?: string }, position: number, token: number): void
  /** Stops delivering; at most what is already on its way (one poll) still comes. Survives until `resume` or `seek`. */
  pause(partitions: readonly TopicPartition[]): void
  resume(partitions: readonly TopicPartition[]): void
  /** Lets partitions go after `revoked`. */
  release(partitions: readonly TopicPartition[]): void
  /**
   * Writes offsets as the group's member and waits for the coordinator's answer: so it is also the proof of membership.
   * An empty list proves nothing. Never blocks the thread.
   */
  commit(offsets: readonly PartitionOffset[]): Promise<OffsetCommitReply>
  /** The group's offsets as the coordinator has them, stable ones only (KIP-447); a partition without one is left out. */
  committed(partitions: readonly TopicPartition[]): Promise<readonly PartitionOffset[]>
  range(partitions: readonly TopicPartition[]): Promise<readonly LogRange[]>
  /** The first offset whose timestamp is at least `timestamp` (ms), the log's end where there is none. */
  offsetsAt(partitions: readonly TopicPartition[], timestamp: number): Promise<readonly PartitionOffset[]>
  /** Undefined for a topic that does not exist. */
  describe(topic: string): Promise<TopicDescription | undefined>
  clusterId(): Promise<string>
}

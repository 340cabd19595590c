import type { KafkaRecord } from '../kafka/source.ts'
import type { BreakerRow, OutboxPosition, ParkedAt, ParkedPosition, PartitionRef, Range } from './transactions.ts'

/**
 * The port to PostgreSQL outside of commits: what the owner of a partition asks for and is told. Implemented by
 * core/postgres/ledger.ts and by the simulation's model.
 */
export interface Ledger {
  topicProgress(group: string, topic: string, topicId: string): Promise<TopicProgress>
  /**
   * Writes the first row of each start that has none yet and records the partition count, in one transaction under a
   * lock; whoever comes second finds it done. Never lowers a count.
   */
  begin(
    group: string,
    topic: string,
    topicId: string,
    clusterId: string,
    partitions: number,
    starts: readonly Start[],
  ): Promise<void>
  /** Makes a topic that was begun the newest of its name. */
  beginAgain(group: string, topic: string, topicId: string): Promise<void>
  /**
   * Raises the epoch: takes the partition's lock (ending a frozen holder after a while) and inserts (epoch + 1, seq + 1);
   * before that, it takes over what it inherits of earlier topics of that name, which nobody else does then.
   * Rejects with `noProgressCode`, with `supersededCode`, or with an infrastructure error.
   */
  takeOver(ref: PartitionRef): Promise<Ownership>
  /** How each stands now: one whose epoch has grown was moved on by somebody. */
  standing(refs: readonly PartitionRef[]): Promise<readonly Standing[]>
  /** They are given back by the owners of these epochs, who are alive: nothing that was theirs is to blame for what follows. */
  release(owned: readonly { readonly ref: PartitionRef; readonly epoch: number }[]): Promise<void>
  /**
   * The record is about to run, and nothing else of what has been noted by this process does any more. False: the
   * partition has another owner.
   */
  runAlone(ref: PartitionRef, epoch: number, record: LoneRecord): Promise<boolean>
  /** What this process has noted has ended. */
  runNoneAlone(): Promise<void>
  /** The partition's records do not run alone any more. Those that cost owners are forgotten. */
  trust(ref: PartitionRef, epoch: number): Promise<void>
  /**
   * Moves the partition to Kafka's offset, which somebody has set: back, and records run again up to where they had; or
   * on, and those between are passed over. Nothing where the raise is not its last commit any more. The next to take it
   * over begins there.
   */
  acceptOffset(ref: PartitionRef, owned: Pick<Ownership, 'commitId'>, position: number): Promise<void>
  /** Committed and perhaps not yet delivered: the rows after `after`, or the first, as many as a page has. */
  readOutbox(ref: PartitionRef, after: OutboxPosition | null): Promise<OutboxPage>
  /** Deletes what was delivered, up to and including `upTo`. False: somebody has taken it over since, and nothing was done. */
  deleteOutbox(inherited: Inherited, upTo: OutboxPosition): Promise<boolean>
  /** The committed states of these tenants; tenants without one are left out. */
  loadStates(group: string, actor: string, tenants: readonly string[]): Promise<readonly StateRow[]>
  /** Parked records of these tenants: one tenant's after the other, each in order, until they have `maxBytes`. */
  readParked(ref: PartitionRef, wanted: readonly ParkedWanted[], maxBytes: number): Promise<ParkedPage>
  /** Tenants of these partitions with dead letters that somebody has put among the parked records. */
  findReplayed(refs: readonly PartitionRef[]): Promise<readonly ReplayedTenant[]>
  /** Adds to the log of offsets, from which the lag can be asked for in SQL. */
  recordOffsets(group: string, offsets: readonly RecordedOffset[]): Promise<void>
  /**
   * Kafka will never take the outbox row at this position: moves it to the dead letters of its group, partition and
   * tenant, in one transaction; of a dead letter, which has its row, that says so. Doing it twice is once.
   */
  refuseOutbox(ref: PartitionRef, position: OutboxPosition, reason: string): Promise<void>
  /** What operators have asked of these groups' breakers: the trips in force, and the resets of the last minutes. */
  breakerRequests(groups: readonly string[]): Promise<BreakerRequests>
}

/** What PostgreSQL knows of a group's topic. */
export type TopicProgress = {
  /** Partition count recorded by `begin`; 0 where (group, topic id) was never seen. */
  readonly partitions: number
  /** Another id was recorded for this group and topic name: the topic was recreated. */
  readonly recreated: boolean
  /** Another id was begun after this one: until it is begun again, nothing of it can be taken over. */
  readonly superseded: boolean
  /** The cluster recorded for this group; '' where none. A different one is refused by the engine. */
  readonly clusterId: string
}

/** Where the partitions of a (group, topic id) begin, by the first daemon that sees it. */
export type Start = { readonly ref: PartitionRef; readonly position: number }

/** Thrown by `takeOver` for a partition that has no row although its topic was begun with it. */
export const noProgressCode = 'TENANTRY_PROGRESS_MISSING'

/** Thrown by `takeOver` for a partition of a topic that is not the last of its name to have been begun. */
export const supersededCode = 'TENANTRY_TOPIC_SUPERSEDED'

/** A partition's last row, without a lock. `epoch` is -1 where there is none. */
export type Standing = Pick<Ownership, 'epoch' | 'kafkaOffset'>

/** A partition as its new owner finds it. */
export type Ownership = {
  readonly epoch: number
  readonly seq: number
  /** Of the raise: what the owner's first commit follows. */
  readonly commitId: string
  readonly watermark: number
  readonly ahead: readonly Range[]
  /** -1 where none was written yet. */
  readonly kafkaOffset: number
  /**
   * Partitions of earlier topics of this name that are now under this owner's epoch, oldest first: partition q of them is
   * with partition q modulo our count. What they left in the outbox goes out before anything of ours.
   */
  readonly inherited: readonly Inherited[]
  /** Records that have failed and are to be tried again. */
  readonly retries: readonly RetryRow[]
  /** Tenants that have parked records here, those inherited included. */
  readonly parked: readonly ParkedTenant[]
  /** Breakers that are not closed. */
  readonly breakers: readonly BreakerRow[]
  /** An operator has gone back, and not all has run again yet; null: nobody has. */
  readonly rerun: Rerun | null
  readonly lost: LostOwners
}

/** `commitId`: of its raise, which nobody has followed while it is this owner's. */
export type Inherited = { readonly ref: PartitionRef; readonly commitId: string }

export type RetryRow = { readonly offset: number; readonly attempts: number; readonly firstFailedAt: number }

/** How many parked records a tenant has, without those that were brought back; and whether there are such. */
export type ParkedTenant = {
  readonly tenant: string
  readonly rows: number
  readonly replayed: boolean
  /** Of the first of the rows. */
  readonly since: number
}

/** Records below `to` run again, and a key from before `since`, PostgreSQL's time as text, does not keep them from it. */
export type Rerun = { readonly to: number; readonly since: string }

/** What is known of the owners before this one whose processes ended without having given the partition back. */
export type LostOwners = {
  /** Those in a row that were lost soon after they took over, or without having moved the watermark. */
  readonly count: number
  /** Records that ran alone then. */
  readonly suspects: readonly SuspectRecord[]
  /** How many of these, in a row, have cost `suspectLimit` owners. */
  readonly givenUp: number
}

/** Where a record was read. */
export type RecordPlace = { readonly topicId: string; readonly partition: number; readonly offset: number }

/** A record, and how often it was a dead letter that was brought back. */
export type LoneRecord = RecordPlace & { readonly replays: number }

/** How many owners have been lost while the record ran alone. */
export type SuspectRecord = LoneRecord & { readonly owners: number }

/** So many owners may a record cost that runs alone: one may have been lost for another reason at just that time. */
export const suspectLimit = 2

export type OutboxRow = {
  readonly position: OutboxPosition
  readonly tenant: string
  readonly topic: string
  readonly messageId: string
  readonly key: Uint8Array | null
  readonly value: Uint8Array | null
  /** Text in what an actor publishes; in a dead letter whatever bytes the record had. */
  readonly headers: readonly (readonly [name: string | Uint8Array, value: string | Uint8Array | null])[]
  /** The record whose dead letter this is; null for what an actor publishes. */
  readonly deadLetterOf: RecordPlace | null
}

/** Rows of a partition's outbox, in order. */
export type OutboxPage = {
  readonly rows: readonly OutboxRow[]
  /** Rows that the table has after these: 0 only if there are none, else as many as were counted. */
  readonly more: number
}

export type StateRow = {
  readonly tenant: string
  readonly version: number
  readonly json: string
  readonly partition: number
}

/** What to read of a tenant's parked records: those after a position, or the first; as many rows at most. */
export type ParkedWanted = {
  readonly tenant: string
  readonly after: ParkedPosition | null
  readonly rows: number
}

export type ParkedPage = {
  readonly rows: readonly ParkedRow[]
  /** There are more rows that were wanted: a tenant that has none here may have some. */
  readonly cut: boolean
}

/** A parked record. */
export type ParkedRow = {
  readonly tenant: string
  readonly at: ParkedAt
  readonly record: KafkaRecord
  readonly attempts: number
  readonly firstFailedAt: number
  /** When the record came, or was brought back, in ms since 1970. */
  readonly since: number
  /** As an outcome's. */
  readonly knownSince: string | null
}

/** A tenant of a partition with dead letters that were brought back, and where the first of them is. */
export type ReplayedTenant = {
  /** The partition's place in what was asked. */
  readonly place: number
  readonly tenant: string
  readonly first: ParkedPosition
}

/** An offset that Kafka has taken. */
export type RecordedOffset = {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  /** The log's end as last heard; -1 where it was not. */
  readonly end: number
}

export type BreakerRequests = { readonly trips: readonly Trip[]; readonly resets: readonly BreakerReset[] }

/** In force until it is not among the trips any more: records of these tenants wait. */
export type Trip = BreakerRequest

/** To be done once: these breakers close. */
export type BreakerReset = BreakerRequest

/** What an operator has asked for, of a tenant or ('') of all. */
type BreakerRequest = {
  readonly id: number
  readonly group: string
  readonly actor: string
  readonly dependency: string
  readonly tenant: string
}

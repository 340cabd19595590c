import type { Failure } from '../effects.ts'
import type { KafkaRecord } from '../kafka/source.ts'
import type { Done, Duplicate, Failed } from '../workers.ts'

/**
 * The port to PostgreSQL: group commits on lanes, and what ownership needs. Implemented by core/postgres/ and by the
 * simulation's model. A lane runs one commit at a time, in one transaction, through one connection.
 */

/** A partition of a group's topic. The topic is named by its id, so a recreated topic is another one. */
export type PartitionRef = {
  readonly group: string
  readonly topic: string
  readonly topicId: string
  readonly partition: number
}

/** Positions [from, to) that are done. Ascending, apart, none empty. */
export type Range = readonly [from: number, to: number]

/** A circuit breaker that is not closed, as it outlives its owner. */
export type BreakerRow = {
  readonly actor: string
  /** '' for the one that all tenants share. */
  readonly tenant: string
  readonly dependency: string
  readonly state: 'open' | 'half-open'
  /** In a row. */
  readonly failures: number
  readonly successes: number
  /** When the next probe may go, in ms since 1970. */
  readonly probeAt: number
}

/** A breaker's row is another, or has gone. */
export type BreakerChange =
  | BreakerRow
  | (Pick<BreakerRow, 'actor' | 'tenant' | 'dependency'> & { readonly state: 'closed' })

/** What an operator has asked for, of a tenant or ('') of all. */
type BreakerRequest = {
  readonly id: number
  readonly group: string
  readonly actor: string
  readonly dependency: string
  readonly tenant: string
}

/** In force until it is not among the trips any more: records of these tenants wait. */
export type Trip = BreakerRequest

/** To be done once: these breakers close. */
export type BreakerReset = BreakerRequest

export type BreakerRequests = { readonly trips: readonly Trip[]; readonly resets: readonly BreakerReset[] }

/** What a commit says of one partition. The row it inserts is (epoch, seq + 1). */
export type PartitionCommit = {
  readonly ref: PartitionRef
  readonly epoch: number
  /** The seq and the id of the commit that this one follows; only the id is never given out again, after a failover. */
  readonly seq: number
  readonly follows: string
  readonly watermark: number
  readonly ahead: readonly Range[]
  /** The offset last written to Kafka, -1 where none was. */
  readonly kafkaOffset: number
  /** Outbox rows of this partition up to and including this position have been delivered: delete them. Null: none new. */
  readonly published: OutboxPosition | null
  /** Its breakers that are others than before. */
  readonly breakers: readonly BreakerChange[]
}

export type OutboxPosition = { readonly seq: number; readonly index: number }

/** One record's outcome within a commit. */
export type Outcome = {
  /** Index into `Commit.partitions`. */
  readonly partition: number
  readonly tenant: string
  readonly record: KafkaRecord
  /** Name of the actor; '' for a record that never reached one. */
  readonly actor: string
  /**
   * `skipped`: a tombstone or an operator's decision; its only trace is the progress. `duplicate`: known beforehand.
   * `retried`: no outcome yet, and no progress. `parked`: none yet, but progress has it as done.
   */
  readonly result: Done | Failed | Duplicate | Skipped | Retried | Parked
  /** Attempts that failed before this one. */
  readonly attempts: number
  /** When the first of them failed, in ms since 1970; 0 when none did. */
  readonly firstFailedAt: number
  /** When it was given up, in ms since 1970; 0 where it was not. */
  readonly failedAt: number
  /** It may have a row among the retries, which goes with its outcome. */
  readonly retried: boolean
  /** Its row among the parked, which goes with its outcome; null where it has none. */
  readonly row: ParkedAt | null
  /**
   * It runs again: only a key that was written since then, PostgreSQL's time as text, makes it a copy, and an older one is
   * written anew. Null: any key makes it a copy.
   */
  readonly knownSince: string | null
}

/** Later than every key. */
export const everWritten = 'infinity'

/** Since when a key must have been written to make this a copy: `everWritten` for one that holds it. Null: whenever. */
export function copySince({ row, knownSince }: Pick<Outcome, 'row' | 'knownSince'>): string | null {
  return row?.holdsKey ? everWritten : knownSince
}

/** Where a parked record's row is, within its partition and tenant. */
export type ParkedPosition = { readonly generation: number; readonly offset: number }

export type ParkedAt = {
  readonly generation: number
  /** Where the record was read: an earlier topic's, perhaps. */
  readonly topicId: string
  readonly partition: number
  /** How often it was a dead letter that was brought back. */
  readonly replays: number
  /** When it was given up its key was written: that one is its own, and makes it no copy. */
  readonly holdsKey?: boolean
  /** Those that were brought back in one transaction have one number. */
  readonly batch?: number
}

/** The record moves to PostgreSQL as it is, to be fed back in its tenant's order. */
export type Parked = { readonly kind: 'parked' }

/** A parked record. */
export type ParkedRow = {
  readonly tenant: string
  readonly at: ParkedAt
  readonly record: KafkaRecord
  readonly attempts: number
  readonly firstFailedAt: number
  /** As an outcome's. */
  readonly knownSince: string | null
}

export type ParkedPage = {
  readonly rows: readonly ParkedRow[]
  /** There are more rows that were wanted: a tenant that has none here may have some. */
  readonly cut: boolean
}

/** What to read of a tenant's parked records: those after a position, or the first; as many rows at most. */
export type ParkedWanted = {
  readonly tenant: string
  readonly after: ParkedPosition | null
  readonly rows: number
}

export type Skipped = { readonly kind: 'skipped'; readonly reason: string }

/** The attempt failed and is repeated: its count survives whatever happens to the daemon. */
export type Retried = Omit<Failed, 'kind' | 'key'> & {
  readonly kind: 'retried'
  /** Attempts that have failed; a failure of a dependency is none. */
  readonly attempts: number
  /** When the next attempt is due, in ms since 1970. */
  readonly retryAt: number
}

export type Commit = {
  /** A UUID, new for every content. */
  readonly id: string
  readonly partitions: readonly PartitionCommit[]
  /** In commit order; within a mailbox that is offset order. May be empty: progress alone. */
  readonly outcomes: readonly Outcome[]
}

/**
 * `optimistic` bets that no key is known and pipelines everything at once; the bet lost, it answers `duplicates` and
 * nothing has happened. `checked` asks for the keys first and calls `settle` with the indices of the outcomes whose key
 * was known (or stands twice in this commit: the first by position owns it); what `settle` returns is then committed:
 * the same id and partitions' epoch and seq, with duplicates turned into `Duplicate`, and whatever depended on them left
 * out. `settle` is synchronous and is called at most once.
 */
export type CommitMode =
  | { readonly kind: 'optimistic' }
  | { readonly kind: 'checked'; readonly settle: (duplicates: readonly number[]) => Commit }

export type CommitResult =
  | {
      readonly kind: 'committed'
      /** What was committed: the commit given, or what `settle` returned. */
      readonly commit: Commit
    }
  /** Refused by the fence: all the partitions (indices) whose last row is not (epoch, seq). Nothing was committed. */
  | { readonly kind: 'fenced'; readonly partitions: readonly number[] }
  /** An optimistic commit met a known key. Nothing was committed. */
  | { readonly kind: 'duplicates' }
  /**
   * PostgreSQL refused. Nothing was committed. `step` says where: `effect` is a user's statement (or a deferred
   * constraint at the commit), to be bisected; any other is ours.
   */
  | { readonly kind: 'refused'; readonly step: 'effect' | 'own'; readonly blame: Blame; readonly failure: Failure }
  /** The connection broke or did not answer in time: it may have been committed, may still be. Ask `resolve`. */
  | { readonly kind: 'unknown'; readonly reason: Error }

/**
 * From the SQLSTATE: `infrastructure` (connection, resources, shutdown, read-only): try again later, nobody's fault;
 * `again` (40001, 40P01): at once; `held` (55P03, 57014): only that tenant waits; `statement`: bisect, or a bug in ours.
 */
export type Blame = 'infrastructure' | 'again' | 'held' | 'statement'

/** What became of a commit whose answer was lost. Its backend has gone when this is known. */
export type Resolution =
  | { readonly kind: 'committed' }
  /** Not committed, and cannot be any more. `moved` are the partitions (indices) whose last row is not the one named. */
  | { readonly kind: 'not-committed'; readonly moved: readonly number[] }
  /** PostgreSQL is away, or the old backend would not go: ask again later. */
  | { readonly kind: 'unavailable'; readonly reason: Error }

export interface Lane {
  /** Never rejects. One call at a time. */
  commit(commit: Commit, mode: CommitMode): Promise<CommitResult>
  /** Ends the lane's earlier backend, waits until it has gone, and looks for the commit's id. Never rejects. */
  resolve(commit: Commit): Promise<Resolution>
}

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

/** What is known of the owners before this one whose processes ended without having given the partition back. */
export type LostOwners = {
  /** Those in a row that were lost soon after they took over, or without having moved the watermark. */
  readonly count: number
  /** Records that ran alone then. */
  readonly suspects: readonly SuspectRecord[]
  /** How many of these, in a row, have cost `suspectLimit` owners. */
  readonly givenUp: number
}

/** A record, and how often it was a dead letter that was brought back. */
export type LoneRecord = RecordPlace & { readonly replays: number }

/** How many owners have been lost while the record ran alone. */
export type SuspectRecord = LoneRecord & { readonly owners: number }

/** So many owners may a record cost that runs alone: one may have been lost for another reason at just that time. */
export const suspectLimit = 2

/** How many parked records a tenant has, without those that were brought back; and whether there are such. */
export type ParkedTenant = { readonly tenant: string; readonly rows: number; readonly replayed: boolean }

/** A tenant of a partition with dead letters that were brought back, and where the first of them is. */
export type ReplayedTenant = {
  /** The partition's place in what was asked. */
  readonly place: number
  readonly tenant: string
  readonly first: ParkedPosition
}

/** Records below `to` run again, and a key from before `since`, PostgreSQL's time as text, does not keep them from it. */
export type Rerun = { readonly to: number; readonly since: string }

export type RetryRow = { readonly offset: number; readonly attempts: number; readonly firstFailedAt: number }

/** `commitId`: of its raise, which nobody has followed while it is this owner's. */
export type Inherited = { readonly ref: PartitionRef; readonly commitId: string }

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

/** Where a record was read. */
export type RecordPlace = { readonly topicId: string; readonly partition: number; readonly offset: number }

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

/** Where the partitions of a (group, topic id) begin, by the first daemon that sees it. */
export type Start = { readonly ref: PartitionRef; readonly position: number }

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

/** Thrown by `takeOver` for a partition that has no row although its topic was begun with it. */
export const noProgressCode = 'TENANTRY_PROGRESS_MISSING'

/** Thrown by `takeOver` for a partition of a topic that is not the last of its name to have been begun. */
export const supersededCode = 'TENANTRY_TOPIC_SUPERSEDED'

/** An offset that Kafka has taken. */
export type RecordedOffset = {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  /** The log's end as last heard; -1 where it was not. */
  readonly end: number
}

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
  /** The epoch of each as it is now, -1 where there is no row: one that has grown was moved on by somebody. */
  epochs(refs: readonly PartitionRef[]): Promise<readonly number[]>
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

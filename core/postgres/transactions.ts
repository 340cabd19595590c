import type { Failure } from '../effects.ts'
import type { KafkaRecord } from '../kafka/source.ts'
import type { Done, Duplicate, Failed } from '../workers.ts'

/**
 * The port to PostgreSQL: group commits on lanes. Implemented by core/postgres/lane.ts and by the simulation's model. A
 * lane runs one commit at a time, in one transaction, through one connection.
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
type Parked = {
  readonly kind: 'parked'
  /** When it came, in ms since 1970. */
  readonly since: number
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

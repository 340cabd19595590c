import type { Packed } from './columns.ts'
import type { Effect, Failure } from './effects.ts'
import type { KafkaRecord } from './kafka/source.ts'
import type { MessageKey } from './message-key.ts'

/**
 * The port to the threads that run actors. Implemented by supervisors/worker-pool.ts (Piscina threads, packed frames)
 * and by the simulation's model. All calls return at once; answers come as events.
 */

/** What the dispatcher tells a worker about a mailbox whose instance it does not hold for this run. */
export type Opening = {
  /** Index of the actor in the topology that every worker loaded. */
  readonly actor: number
  readonly topic: string
  readonly partition: number
  /** The tenant as text: the record's key bytes, which were checked to be UTF-8 without NUL. */
  readonly tenant: string
  /** Decisions that will be in one commit are answered together: the number of the lane. */
  readonly lane: number
  /** The instance's committed state: its version and JSON text; null where there is none yet or the actor keeps none. */
  readonly state: { readonly version: number; readonly json: string } | null
}

/**
 * Records for one mailbox, in offset order, appended to those it was sent before. A first dispatch of a run opens the
 * mailbox (anew); the worker then forgets all it had of an older run.
 */
export type Dispatch = {
  readonly mailbox: number
  readonly run: number
  readonly opening: Opening | null
  readonly records: readonly KafkaRecord[]
  /**
   * Records that run again, by their place among these, as what earlier topics left may have the same offsets: their
   * messages are known only by a key that was written since the time given; `everWritten` for dead letters that were
   * brought back, whose key is their own.
   */
  readonly again?: ReadonlyMap<number, string>
}

/**
 * A worker's answer for one record. A worker answers each mailbox in offset order; after a `failed` it answers nothing
 * more of that run. Decisions of an older run than the mailbox's are dropped on arrival.
 */
export type Decision = {
  readonly mailbox: number
  readonly run: number
  readonly offset: number
  readonly outcome: Done | Failed | Duplicate
}

export type Done = {
  readonly kind: 'done'
  /** Null in offset mode. */
  readonly key: MessageKey | null
  readonly effects: readonly Effect[]
  /** Whether messages are among the effects. */
  readonly publishes: boolean
  /** Whether there is a state. */
  readonly stateful: boolean
  /** Where it lies in a worker's frame; null if in none. What lies in a frame is decoded anew each time it is read. */
  readonly packed: Packed | null
  /** The instance's state after this record, as JSON text; null for an actor without state. */
  readonly state: { readonly version: number; readonly json: string } | null
  /** What `ctx.log` and traceability need: the message's type, and its trace id or ''. */
  readonly type: string
  readonly traceId: string
  readonly messageId: string
  /** What its effects and its state take, about. */
  readonly bytes: number
  /** The dependencies that served its handler, as bits by their place among the actor's. */
  readonly served: number
}

export type Failed = Identity & {
  readonly kind: 'failed'
  readonly failure: Failure
}

/** What names a record's message. */
export type Identity = {
  /** Null for a bad record, and in offset mode: it claims none. */
  readonly key: MessageKey | null
  readonly type: string
  readonly traceId: string
  readonly messageId: string
  /** As in `Done`: those that served the handler before it failed. Left out where none ran. */
  readonly served?: number
}

/** A copy of a message that was committed before, or that the same run has decided already: its handler did not run. */
export type Duplicate = {
  readonly kind: 'duplicate'
  readonly messageId: string
  readonly type: string
  readonly traceId: string
}

/** A record that had begun and not ended when its thread was lost. */
export type Executing = {
  readonly mailbox: number
  /** -1 while the mailbox's state was made ready for it. */
  readonly offset: number
  /** Of its message, where the extra thread had told it. */
  readonly identity?: Identity
}

export interface WorkersListener {
  decided(worker: number, decisions: readonly Decision[]): void
  /**
   * The thread has ended or counts as lost: everything dispatched to it and not decided comes back. One of `executing`
   * may have done it; where there is none, nobody is to blame.
   */
  lost(worker: number, error: Error, executing: readonly Executing[]): void
  /** A replacement is ready to take records, under the same number. */
  ready(worker: number): void
}

export interface Workers {
  /** Threads, numbered from 0. One more, number `count`, is there when it is asked for. */
  readonly count: number
  dispatch(worker: number, dispatches: readonly Dispatch[]): void
  /** Ends the mailboxes' runs and forgets their instances: revoked, fenced, evicted or rolled back. */
  forget(worker: number, mailboxes: readonly number[]): void
  /** Starts the extra thread, for those that may have ended another; `ready` says when it is there. Harmless when it is. */
  openExtra(): void
  /** Ends the extra thread, which has nothing to do; `lost` is not called. */
  closeExtra(): void
}

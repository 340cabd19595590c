import { Fifo } from '../core/fifo.ts'
import type { ParkedPosition, Skipped } from '../core/postgres/transactions.ts'
import type { Done, Duplicate, Failed, Opening } from '../core/workers.ts'
import type { ActorRole } from './group.ts'
import { Decided, type Item } from './item.ts'
import type { Parked } from './parked.ts'
import type { Partition } from './partition.ts'

/**
 * What a mailbox waits for, apart from its turn:
 * - `nothing`: it may be dispatched
 * - `settling`: until its decisions are committed, as its next run must start from what they made of the state, or must know
 *   their messages
 * - `state`: the instance's state is to be read, or is being read
 * - `retrying`: its next record has failed; tried again at a time
 * - `dependency`: a circuit breaker says when it may go on
 * - `held`: a lock or a time limit of the database's held this tenant back; tried again at a time
 * - `blocked`: cannot go on without an operator; `reason` says why
 */
export type Waiting = 'nothing' | 'settling' | 'state' | 'retrying' | 'dependency' | 'held' | 'blocked'

/** What a mailbox may have at a worker before anything of it was answered: so many that hang do not fill it. */
export const firstWindow = 4

/**
 * The FIFO of one (actor, topic, partition, tenant). Its items stand in offset order in three zones:
 * decided (not yet committed), in flight at the worker (not yet decided), and queued. Taking back a run only moves the
 * zones' borders, so order cannot be lost by it.
 */
export class Mailbox {
  readonly id: number
  /** The tenant's key bytes as latin1: one character a byte, so different bytes are never one tenant. */
  readonly key: string
  readonly tenant: string
  readonly partition: Partition
  readonly actor: ActorRole
  readonly items = new Fifo<Item>()
  /** Of all items. */
  bytes = 0
  decidedCount = 0
  inFlightCount = 0
  /** Bytes of the items in flight at the worker, for its credit. */
  inFlightBytes = 0
  /** Records that it may have at the worker. It grows with what is answered: who has answered nothing yet has little there. */
  window = firstWindow
  /** How often others had come to hang at the worker when that began. */
  hangs = 0
  /** It is slow: what it has at the worker, which does not count there until it answers. */
  aside: { readonly records: number; readonly bytes: number } | null = null
  run = 1
  worker = -1
  /** Monotonic time at which the oldest in flight was sent, or the one before it decided. */
  runningSince = 0
  /** The worker holds this run's instance. */
  open = false
  waiting: Waiting = 'nothing'
  /** One record at a time: its answer says whether a dependency works again. */
  probing = false
  waitingReason = ''
  /** When it is tried again, in ms since 1970; 0 when no time is set. */
  waitingUntil = 0
  /** A lock holds this tenant back: since when, by monotonic time, and how many attempts in a row. */
  held: { readonly since: number; times: number } | null = null
  /** What of it failed last, as it may be shown. */
  lastFailure: { readonly offset: number; readonly shown: string } | null = null
  /** In its worker's ready queue. */
  ready = false
  /** The committed state, between its reading and the opening that carries it. */
  state: Opening['state'] = null
  /** Of the instance's state, about. */
  stateBytes = 0
  /** Monotonic time at which a message of it was last processed; below 0: none was. */
  processedAt = -1
  closed = false
  /** What of it is not in memory; null: all of it is. */
  parked: Parked | null = null
  /** Past its bound: its partition is paused. */
  full = false
  /** Records committed, and how many they were when it was last looked at. */
  committedCount = 0
  lookedAt = 0
  /** Items below this offset were here when it was last looked for old ones. */
  #old = -1
  /** Neighbours in the list of idle mailboxes, least recently used first. */
  idlePrevious: Mailbox | null = null
  idleNext: Mailbox | null = null
  idle = false

  constructor(id: number, key: string, tenant: string, partition: Partition, actor: ActorRole) {
    this.id = id
    this.key = key
    this.tenant = tenant
    this.partition = partition
    this.actor = actor
    if (actor.stateful) this.waiting = 'state'
  }

  /** Queued or at the worker: what is decided waits for its commit, not for its turn. */
  get undecidedCount(): number {
    return this.items.length - this.decidedCount
  }

  get queuedCount(): number {
    return this.items.length - this.decidedCount - this.inFlightCount
  }

  /** Whether the next record may go to the worker now. */
  get dispatchable(): boolean {
    if (this.closed || this.waiting !== 'nothing' || this.queuedCount === 0) return false
    if (this.probing && this.inFlightCount > 0) return false
    return !this.actor.serial || this.decidedCount + this.inFlightCount === 0
  }

  add(item: Item): void {
    this.items.push(item)
    this.bytes += item.bytes
  }

  /** Whether it cannot go on for a while, or without an operator. */
  get stuck(): boolean {
    return (
      this.waiting === 'retrying' ||
      this.waiting === 'dependency' ||
      this.waiting === 'held' ||
      this.waiting === 'blocked'
    )
  }

  /** Whether it has a record that could go, be it one that is parked. */
  get pending(): boolean {
    return this.queuedCount > 0 || this.parked !== null
  }

  /** Whether the parked record of this position is in the queue. */
  holds({ generation, offset }: ParkedPosition): boolean {
    for (let i = 0; i < this.items.length; i++) {
      const item = this.items.at(i)
      if (item?.record.offset === offset && item.row?.generation === generation) return true
    }
    return false
  }

  /** Drops what has not been dispatched, or what of it comes after the first `keep`, and returns it. */
  dropQueued(keep = 0): Item[] {
    const dropped = this.items.truncate(this.decidedCount + this.inFlightCount + keep)
    for (const { bytes } of dropped) this.bytes -= bytes
    return dropped
  }

  /** Gives memory of their own to items that were here the last time: a slow tenant's must not keep whole batches. */
  detachOld(): void {
    const { length } = this.items
    for (let i = 0; i < length; i++) {
      const item = this.items.at(i)
      if (item === undefined || item.record.offset > this.#old) break
      item.detach()
    }
    this.#old = this.items.at(length - 1)?.record.offset ?? -1
  }

  /** Moves the next queued item in flight. */
  takeNext(): Item | undefined {
    const item = this.next
    if (item === undefined) return undefined
    this.inFlightCount++
    this.inFlightBytes += item.bytes
    return item
  }

  /** The first item that is not at a worker and not decided. */
  get next(): Item | undefined {
    return this.items.at(this.decidedCount + this.inFlightCount)
  }

  /** The oldest item in flight, which is the one that the next decision of this run must be about. */
  get oldestInFlight(): Item | undefined {
    return this.inFlightCount === 0 ? undefined : this.items.at(this.decidedCount)
  }

  decide(result: Done | Failed | Duplicate | Skipped): Decided {
    const item = this.items.at(this.decidedCount)
    if (item === undefined) throw new RangeError('a decision for a mailbox with nothing in flight')
    this.decidedCount++
    this.window++
    this.inFlightCount--
    this.inFlightBytes -= item.bytes
    const decided = new Decided(this, item, result)
    item.decided = decided
    if (result.kind === 'done') {
      item.bytes += result.bytes
      this.bytes += result.bytes
    }
    return decided
  }

  /** The oldest decided item was committed. */
  commitOldest(): Item | undefined {
    this.decidedCount--
    this.committedCount++
    const item = this.items.shift()
    if (item !== undefined) this.bytes -= item.bytes
    return item
  }

  /**
   * Ends the run: nothing that is in flight will be heard, and the decisions after the first `keepDecided` are taken
   * back. The items stay where they are, queued again. Returns the bytes of what the decisions wanted written.
   */
  raiseRun(keepDecided: number): number {
    let freed = 0
    for (let i = keepDecided; i < this.decidedCount; i++) {
      const item = this.items.at(i)
      if (item?.decided) {
        item.decided.dropped = true
        item.decided = null
        freed += item.bytes - item.ownBytes
        item.bytes = item.ownBytes
      }
    }
    this.bytes -= freed
    this.decidedCount = Math.min(this.decidedCount, keepDecided)
    this.inFlightCount = 0
    this.inFlightBytes = 0
    this.run++
    this.open = false
    this.probing = false
    this.state = null
    return freed
  }

  /** How many decided items stand before `decided`; its own place in the decided zone. */
  placeOf(decided: Decided): number {
    for (let i = 0; i < this.decidedCount; i++) if (this.items.at(i)?.decided === decided) return i
    return -1
  }
}

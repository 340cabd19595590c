import type { Failure } from '../core/effects.ts'
import { detached, type KafkaRecord } from '../core/kafka/source.ts'
import type { Outcome, ParkedAt } from '../core/postgres/transactions.ts'
import type { Mailbox } from './mailbox.ts'

/** A record on its way through a mailbox. */
export class Item {
  record: KafkaRecord
  /** Where the positions begin that this record covers: its own offset, or the start of the gap before it. */
  readonly from: number
  /** Monotonic time at which it came into memory. */
  readonly cameAt: number
  /** Monotonic time at which it came first: the same, but for one that was parked since. */
  waitsSince: number
  /** What it takes in memory by itself. */
  readonly ownBytes: number
  /** With what its decision wants written, once it has one. */
  bytes: number
  /** Attempts that failed. */
  attempts = 0
  /** When the first of them did, in ms since 1970. */
  firstFailedAt = 0
  /** Its failed attempts are in PostgreSQL, or on their way there. */
  retried = false
  /** Its row among the parked, there or on its way; null where it has none. */
  row: ParkedAt | null = null
  /** Commits on their way that write the row: until they are there, nothing may be read of it. */
  rowWrites = 0
  /** It runs again: only a key that was written since then makes it a copy. Null: any does. */
  knownSince: string | null = null
  decided: Decided | null = null
  detached = false
  /** Why no worker may see it: its outcome, whenever and however often it is decided. */
  refusal: Failure | null = null

  constructor(record: KafkaRecord, from: number, bytes: number, cameAt = 0) {
    this.record = record
    this.from = from
    this.cameAt = cameAt
    this.waitsSince = cameAt
    this.ownBytes = bytes
    this.bytes = bytes
  }

  detach(): void {
    if (this.detached) return
    this.detached = true
    this.record = detached(this.record)
  }
}

/**
 * One decision on one record, waiting for its commit. A decision that is taken back (`dropped`) may still stand in a
 * lane's queue: a later decision on the same record is another object, so the two cannot be confused.
 */
export class Decided implements Outcome {
  readonly mailbox: Mailbox
  readonly item: Item
  readonly tenant: string
  readonly actor: string
  readonly record: KafkaRecord
  result: Outcome['result']
  readonly attempts: number
  readonly firstFailedAt: number
  failedAt = 0
  readonly retried: boolean
  readonly row: ParkedAt | null
  readonly knownSince: string | null
  dropped = false
  /** Index into the commit's partitions, set when it is planned. */
  partition = 0

  constructor(mailbox: Mailbox, item: Item, result: Outcome['result']) {
    this.mailbox = mailbox
    this.item = item
    this.tenant = mailbox.tenant
    this.actor = mailbox.actor.name
    this.record = item.record
    this.result = result
    this.attempts = item.attempts
    this.firstFailedAt = item.firstFailedAt
    this.retried = item.retried
    this.row = item.row
    this.knownSince = item.knownSince
  }
}

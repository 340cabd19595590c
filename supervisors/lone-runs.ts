import { backOffMs, type Clock, sleep } from '../core/clock.ts'
import { messageOf } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import { type Ledger, type LoneRecord, type LostOwners, suspectLimit } from '../core/postgres/ownership.ts'
import type { Dispatch, Failed, Workers } from '../core/workers.ts'
import type { Item } from './item.ts'
import type { Mailbox } from './mailbox.ts'
import type { Mailboxes } from './mailboxes.ts'
import type { Partition } from './partition.ts'
import type { Quarantine } from './quarantine.ts'

/** So many owners lost in a row, and the next one's records run alone. */
const lostLimit = 3

export type LoneRunsSettings = {
  /** So many records that ended, and the rest runs together again. */
  readonly trustAfterRecords: number
  readonly backoffMinMs: number
  readonly backoffMaxMs: number
}

export type LoneRunsOptions = {
  readonly clock: Clock
  readonly log: Log
  readonly ledger: Ledger
  readonly workers: Workers
  readonly mailboxes: Mailboxes
  readonly quarantine: Quarantine
  readonly settings: LoneRunsSettings
  /** The record at `offset`, the mailbox's oldest at the extra thread, has failed without having run; so often before. */
  readonly giveUp: (mailbox: Mailbox, offset: number, failed: Failed, owners: number) => void
  /** The mailbox need not stay on the extra thread. */
  readonly moveOn: (mailbox: Mailbox) => void
  /** The partition has another owner: its next commit says so. */
  readonly touch: (partition: Partition) => void
  readonly trouble: (reason: string | null) => void
  readonly settled: () => void
}

/**
 * The way to the extra thread, also for partitions whose owners were lost again and again: something in them may end any
 * process that runs it. Their records run there, one at a time, each written down before it does; so the next owner knows
 * which it was; unless another partition is in doubt, and does not run so. One that has cost `suspectLimit` owners does
 * not run any more.
 */
export class LoneRuns {
  readonly #options: LoneRunsOptions
  readonly #extra: number
  readonly #suspects = new Map<Partition, LostOwners['suspects']>()
  /** Records that have ended since it was taken over. */
  readonly #ended = new Map<Partition, number>()
  /** Of them, those of which so many have that all run together again, once that is written down. */
  readonly #proven = new Set<Partition>()
  /** Partitions that run together, although owners of theirs were lost: one of their records may be it as well. */
  readonly #doubtful = new Set<Partition>()
  /** What the extra thread gets next. */
  #next: Dispatch | null = null
  #busy = false
  /** PostgreSQL may have a record as running. */
  #noted = false
  #stopped = false

  constructor(options: LoneRunsOptions) {
    this.#options = options
    this.#extra = options.workers.count
  }

  /** For the extra thread. There is no more than one at a time: that is all the credit it has. */
  dispatch(dispatch: Dispatch): void {
    if (!this.#noted && this.#ended.size === 0) return this.#options.workers.dispatch(this.#extra, [dispatch])
    this.#next = dispatch
    if (!this.#busy) void this.#work()
  }

  /** The runs of these mailboxes on the extra thread have ended. */
  forget(mailboxes: readonly number[]): void {
    if (this.#next !== null && mailboxes.includes(this.#next.mailbox)) this.#next = null
  }

  /** The extra thread has gone; what it was to get goes back to its mailbox. */
  lost(): void {
    this.#next = null
  }

  owned(partition: Partition, { count, suspects }: LostOwners): void {
    if (count === 0) return
    if (count < lostLimit) {
      this.#doubtful.add(partition)
      this.clear()
      return
    }
    const { log, quarantine, settings } = this.#options
    partition.reason = `its last ${count} owners were lost, so its records run one at a time until ${settings.trustAfterRecords} have ended`
    log.warn(
      'partition.runs_alone',
      { ...partition.facts, lostOwners: count, suspects: suspects.map(({ offset }) => offset).join(', ') },
      'The last owners of a partition ended without a word: its records run one at a time, to find the one that may have done it.',
    )
    quarantine.isolateAll(partition)
    this.#ended.set(partition, 0)
    this.#suspects.set(partition, suspects)
  }

  dropped(partition: Partition): void {
    this.#doubtful.delete(partition)
    this.#ended.delete(partition)
    this.#proven.delete(partition)
    this.#suspects.delete(partition)
  }

  /** A record of the partition has ended on the extra thread. */
  ended(partition: Partition): void {
    const ended = this.#ended.get(partition)
    if (ended === undefined) return
    this.#ended.set(partition, ended + 1)
    if (ended + 1 < this.#options.settings.trustAfterRecords) return
    this.#proven.add(partition)
    if (!this.#busy) void this.#work()
  }

  /** What is written down as running is not to be blamed any more: it has ended, or something else may end the process. */
  clear(): void {
    if (!this.#noted || this.#busy || this.#next !== null) return
    void this.#work()
  }

  stop(): void {
    this.#stopped = true
    this.#next = null
  }

  /**
   * What runs together may end the process: by then nothing is written down as running alone, or it would be blamed,
   * although it has ended.
   */
  async #trust(partition: Partition): Promise<void> {
    const { ledger, log, quarantine, settings, moveOn, settled } = this.#options
    await ledger.trust(partition.ref, partition.epoch)
    await this.#noteNone()
    if (this.#stopped || !this.#proven.has(partition)) return
    this.dropped(partition)
    this.#doubtful.add(partition)
    partition.reason = ''
    log.info(
      'partition.runs_together',
      { ...partition.facts, records: settings.trustAfterRecords },
      'So many records have run alone and ended that all run together again.',
    )
    quarantine.freeAll(partition)
    // Others wait for a time, or for an operator, and go elsewhere after that by themselves.
    for (const mailbox of [...partition.mailboxes.values()])
      if (mailbox.worker === this.#extra && (mailbox.open || mailbox.ready) && !quarantine.holds(mailbox))
        moveOn(mailbox)
    settled()
  }

  /** Writes down what is to run, or that nothing does, and then lets it run; as long as there is something to do. */
  async #work(): Promise<void> {
    this.#busy = true
    const { backoffMinMs, backoffMaxMs } = this.#options.settings
    for (let failures = 0; !this.#stopped && (this.#next !== null || this.#noted || this.#proven.size > 0); ) {
      try {
        await this.#step()
        if (failures > 0) this.#options.trouble(null)
        failures = 0
        if (this.#next === null && this.#proven.size === 0) break
      } catch (error) {
        this.#options.trouble(messageOf(error))
        await sleep(this.#options.clock, backOffMs(++failures, { first: backoffMinMs, most: backoffMaxMs }))
      }
    }
    this.#busy = false
  }

  async #step(): Promise<void> {
    const { ledger, workers, mailboxes, giveUp, touch, settled } = this.#options
    // The dispatcher is not to hear of anything while it fills.
    await Promise.resolve()
    for (const partition of this.#proven) await this.#trust(partition)
    const dispatch = this.#next
    const mailbox = dispatch === null ? undefined : mailboxes.get(dispatch.mailbox)
    const item = mailbox?.oldestInFlight
    let ours = true
    if (mailbox !== undefined && item !== undefined && this.#ended.has(mailbox.partition)) {
      const { partition } = mailbox
      const record = loneRecord(partition, item)
      const owners = this.#ownersLostTo(partition, record)
      if (owners >= suspectLimit) {
        this.#next = null
        giveUp(mailbox, record.offset, this.#failed(mailbox, record, owners), owners)
        settled()
        return
      }
      if (this.#doubtful.size === 0) {
        this.#noted = true
        ours = await ledger.runAlone(partition.ref, partition.epoch, record)
      }
      // One of these may have come meanwhile.
      if (this.#doubtful.size > 0) await this.#noteNone()
    } else {
      await this.#noteNone()
    }
    if (dispatch === null || this.#next !== dispatch) return
    this.#next = null
    if (ours) return workers.dispatch(this.#extra, [dispatch])
    if (mailbox !== undefined) touch(mailbox.partition)
    settled()
  }

  async #noteNone(): Promise<void> {
    if (this.#noted) await this.#options.ledger.runNoneAlone()
    this.#noted = false
  }

  #ownersLostTo(partition: Partition, record: LoneRecord): number {
    const known = this.#suspects
      .get(partition)
      ?.find(
        (one) =>
          one.offset === record.offset &&
          one.topicId === record.topicId &&
          one.partition === record.partition &&
          one.replays === record.replays,
      )
    return known?.owners ?? 0
  }

  #failed({ partition, tenant }: Mailbox, { offset }: LoneRecord, owners: number): Failed {
    this.#options.log.error(
      'record.process_lost',
      { ...partition.facts, offset, tenant, owners },
      'Processes have ended again and again while this record ran alone; it becomes a dead letter.',
    )
    const message = `${owners} processes ended while nothing else of their suspects ran`
    const failure = { reason: 'process_lost', kind: 'permanent', errorClass: '', message, stack: '' } as const
    return { kind: 'failed', failure, key: null, type: '', traceId: '', messageId: '' }
  }
}

function loneRecord({ topicId, partition }: Partition, { record: { offset }, row }: Item): LoneRecord {
  return row === null
    ? { topicId, partition, offset, replays: 0 }
    : { topicId: row.topicId, partition: row.partition, offset, replays: row.replays }
}

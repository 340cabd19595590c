import { type LoneRecord, suspectLimit, type SuspectRecord } from '../../core/postgres/ownership.ts'
import type { PartitionRef } from '../../core/postgres/transactions.ts'
import type { Chaos } from './chaos.ts'
import type { EventLoop } from './event-loop.ts'
import type { Transaction } from './postgres-server.ts'
import { type OwnerRow, type ProgressRow, refKey } from './postgres-tables.ts'

const soonMs = 5_000
const forgetMs = 3_600_000

/** What migrations/0023_lost_owners.sql makes of the owners of partitions. */
export class SimulatedOwners {
  readonly #loop: EventLoop
  readonly #chaos: Chaos

  constructor(loop: EventLoop, chaos: Chaos) {
    this.#loop = loop
    this.#chaos = chaos
  }

  /** As fn_own: judges the owner before this process, which left `last`. */
  take({ tables, changes }: Transaction, process: string, ref: PartitionRef, last: ProgressRow): OwnerRow {
    const before = tables.owners.get(refKey(ref))
    const committedAt = tables.committedAt.get(refKey(ref)) ?? 0
    const { count, suspects, givenUp } = this.#judge(before, process, last, committedAt)
    const row: OwnerRow = {
      epoch: last.epoch + 1,
      process,
      since: this.#loop.now,
      watermark: last.watermark,
      released: false,
      alone: null,
      count,
      suspects: count === 0 ? [] : suspects,
      givenUp: count === 0 ? 0 : givenUp,
    }
    changes.push({ kind: 'owner', ref, row })
    return row
  }

  /** As fn_run_alone. */
  runAlone(tx: Transaction, process: string, ref: PartitionRef, epoch: number, alone: LoneRecord): boolean {
    this.end(tx, process, ref)
    const row = tx.tables.owners.get(refKey(ref))
    if (row?.epoch !== epoch) return false
    tx.changes.push({ kind: 'owner', ref, row: { ...row, alone } })
    return true
  }

  /** As fn_trust. */
  trust({ tables, changes }: Transaction, ref: PartitionRef, epoch: number): void {
    const row = tables.owners.get(refKey(ref))
    if (row?.epoch !== epoch) return
    const trusted = { count: 2, since: this.#loop.now, givenUp: 0, suspects: [], alone: null }
    changes.push({ kind: 'owner', ref, row: { ...row, ...trusted } })
  }

  /** Nothing that this process has noted runs any more, but for one partition's. */
  end({ tables, changes }: Transaction, process: string, but: PartitionRef | null): void {
    for (const [key, row] of tables.owners) {
      if (row.process !== process || row.alone === null || (but !== null && key === refKey(but))) continue
      const [group = '', topicId = '', partition] = key.split('/')
      const ref = { group, topic: '', topicId, partition: Number(partition) }
      changes.push({ kind: 'owner', ref, row: { ...row, alone: null } })
    }
  }

  #judge(
    before: OwnerRow | undefined,
    process: string,
    last: ProgressRow,
    committedAt: number,
  ): Pick<OwnerRow, 'count' | 'suspects' | 'givenUp'> {
    const isOld = before !== undefined && before.givenUp < 2 && this.#loop.now - before.since > forgetMs
    if (before === undefined || before.epoch !== last.epoch || isOld) return { count: 0, suspects: [], givenUp: 0 }
    const { count, suspects, givenUp, alone } = before
    if (before.process === process) return before
    if (!before.released && alone !== null) {
      this.#chaos.mark('lost while a record ran alone')
      const owners = (suspects.find((one) => isSame(one, alone))?.owners ?? 0) + 1
      if (owners === suspectLimit) this.#chaos.mark('given up for lost owners')
      return {
        count: Math.max(count + 1, 3),
        suspects: [...suspects.filter((one) => !isSame(one, alone)), { ...alone, owners }],
        givenUp: givenUp + (owners === suspectLimit ? 1 : 0),
      }
    }
    if (last.watermark > before.watermark && committedAt >= before.since + soonMs)
      return { count: 0, suspects: [], givenUp: 0 }
    return { count: before.released ? count : count + 1, suspects, givenUp }
  }
}

function isSame(a: SuspectRecord, b: LoneRecord): boolean {
  return a.topicId === b.topicId && a.partition === b.partition && a.offset === b.offset && a.replays === b.replays
}

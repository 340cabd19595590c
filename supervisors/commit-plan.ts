import type { Commit, Outcome, PartitionCommit } from '../core/postgres/transactions.ts'
import type { Decided } from './item.ts'
import type { Partition } from './partition.ts'
import type { Progress } from './progress.ts'

/** A commit and what it was made of: `batch[i]` is the decision behind `commit.outcomes[i]`. */
export type Plan = {
  readonly commit: Commit
  readonly batch: readonly Decided[]
  /** In the order of `commit.partitions`. */
  readonly partitions: readonly PlannedPartition[]
}

type PlannedPartition = {
  readonly partition: Partition
  /** The partition's progress once this is committed. */
  readonly progress: Progress
}

/**
 * Plans one transaction: the batch's outcomes, and one progress row for every partition in `touched` (gaps passed,
 * outbox rows delivered), which come first and in that order, and every other that an outcome came from.
 */
export function planCommit(id: string, batch: readonly Decided[], touched: Iterable<Partition>): Plan {
  const partitions: PlannedPartition[] = []
  const indices = new Map<Partition, number>()
  const include = (partition: Partition): number => {
    const known = indices.get(partition)
    if (known !== undefined) return known
    const progress = partition.progress.copy()
    for (const [from, to] of partition.gaps) progress.add(from, to)
    const index = partitions.length
    indices.set(partition, index)
    partitions.push({ partition, progress })
    return index
  }
  for (const partition of touched) include(partition)
  for (const decided of batch) {
    const index = include(decided.mailbox.partition)
    decided.partition = index
    // A parked record is in it since it was parked; it may even be an earlier topic's.
    if (decided.result.kind !== 'retried' && decided.row === null)
      partitions[index]?.progress.add(decided.item.from, decided.record.offset + 1)
  }
  return { commit: { id, partitions: partitions.map(partitionCommit), outcomes: batch }, batch, partitions }
}

const none: readonly never[] = []

function partitionCommit({ partition, progress }: PlannedPartition): PartitionCommit {
  return {
    ref: partition.ref,
    epoch: partition.epoch,
    seq: partition.seq,
    follows: partition.commitId,
    watermark: progress.watermark,
    ahead: progress.ahead,
    kafkaOffset: partition.kafkaOffset,
    published: partition.published,
    breakers: partition.breakers.size === 0 ? none : [...partition.breakers.values()],
  }
}

/**
 * The plan again, now that the outcomes at `duplicates` are known to be duplicates and decisions that depended on them
 * were taken back (`dropped`). Same id and same partitions in the same order, as the transaction is open already.
 */
export function planSettled(plan: Plan, duplicates: readonly number[]): Plan {
  const known = new Set(duplicates.map((index) => plan.batch[index]))
  const batch = plan.batch.filter((decided) => !decided.dropped)
  const partitions = plan.partitions.map((planned) => planned.partition)
  const settled = planCommit(plan.commit.id, batch, partitions)
  const outcomes = batch.map((decided) => (known.has(decided) ? asDuplicate(decided) : decided))
  return { ...settled, commit: { ...settled.commit, outcomes } }
}

/**
 * One of the outcomes at `duplicates` that is a copy of another in this commit which was taken back meanwhile: it would
 * be a duplicate of nothing. Undefined: there is none.
 */
export function orphan({ batch }: Plan, duplicates: readonly number[]): Decided | undefined {
  if (duplicates.length === 0) return undefined
  const known = new Set(duplicates)
  const gone = new Set<string>()
  batch.forEach((decided, place) => {
    // One that is known itself has its key from an earlier commit.
    if (decided.dropped && !known.has(place)) gone.add(keyOf(decided))
  })
  gone.delete('')
  if (gone.size === 0) return undefined
  return batch.find((decided, place) => known.has(place) && !decided.dropped && gone.has(keyOf(decided)))
}

function keyOf({ result, tenant, mailbox }: Decided): string {
  const key = result.kind === 'done' || result.kind === 'failed' ? result.key : null
  return key === null ? '' : `${mailbox.partition.group.name}\n${tenant}\n${key.uuid}`
}

function asDuplicate(decided: Decided): Outcome {
  const { result, partition, tenant, record, actor, attempts, firstFailedAt, retried, row, knownSince } = decided
  if (result.kind !== 'done' && result.kind !== 'failed') return decided
  const { messageId, type, traceId } = result
  const duplicate = { kind: 'duplicate', messageId, type, traceId } as const
  const known = { attempts, firstFailedAt, failedAt: 0, retried, row, knownSince }
  return { partition, tenant, record, actor, ...known, result: duplicate }
}

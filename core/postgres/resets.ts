import type postgres from 'postgres'
import { TenantryError } from '../errors.ts'
import { plainArray } from './array-text.ts'
import type { Ask } from './control.ts'
import { isServerError, wrongWayState } from './sqlstate.ts'
import type { Rerun } from './ownership.ts'
import type { PartitionRef } from './transactions.ts'

/** Who decides about a partition, and why, for sys.operator_actions. */
export type Decider = {
  /** A UUID, one for all that a command does. */
  readonly operation: string
  readonly by: string
  readonly reason: string
}

export type ResetTopic = { readonly group: string; readonly topic: string; readonly topicId: string }

export type Reset = ResetTopic &
  Decider & {
    readonly action: 'reset' | 'accept'
    readonly targets: readonly { readonly partition: number; readonly position: number; readonly logEnd: number }[]
    /** Back, and what was done from there on runs again; false: on, and what lies between is passed over. */
    readonly rerun: boolean
    /** Going on, parked records below the position are passed over, too. */
    readonly dropParked: boolean
  }

/** What a reset did to one partition. */
export type Move = {
  readonly partition: number
  /** The watermark before, and where all that was done ended; null where there was no row. */
  readonly from: number | null
  readonly doneTo: number | null
  /** The watermark now. */
  readonly to: number
  /** Records below this run again; null: none do. */
  readonly rerunTo: number | null
  /** Offsets passed over. */
  readonly skipped: number
  readonly droppedParked: number
  readonly droppedRetries: number
  /** False: it was there already. */
  readonly moved: boolean
}

/**
 * Moves partitions, all or none. Whoever owns them is fenced, and takes them over there. Throws TENANTRY_OFFSETS_WAY when
 * one would go the other way than was asked for, or has nothing to run again.
 */
export async function resetOffsets(sql: postgres.ISql, reset: Reset): Promise<readonly Move[]> {
  const { group, topic, topicId, targets, rerun, dropParked, action, operation, by, reason } = reset
  const rows = await explained(
    reset,
    sql<MoveColumns[]>`
      select partition, from_position::float8, done_to::float8, to_position::float8, rerun_to::float8, skipped::float8,
        dropped_parked::float8, dropped_retries::float8, moved
      from sys.fn_reset_offsets(
        ${group}, ${topic}, ${topicId}, ${plainArray(targets.map(({ partition }) => partition))},
        ${plainArray(targets.map(({ position }) => position))}, ${plainArray(targets.map(({ logEnd }) => logEnd))}, ${rerun},
        ${dropParked}, ${action}, ${operation}, ${by}, ${reason})`,
  )
  return rows.map((row) => ({
    partition: row.partition,
    from: row.from_position,
    doneTo: row.done_to,
    to: row.to_position,
    rerunTo: row.rerun_to,
    skipped: row.skipped,
    droppedParked: row.dropped_parked,
    droppedRetries: row.dropped_retries,
    moved: row.moved,
  }))
}

/** Lets the partition go on from its watermark, which is returned, whatever Kafka's offset is. */
export async function ignoreOffset(
  sql: postgres.ISql,
  { group, topic, topicId, partition, operation, by, reason }: ResetTopic & Decider & { readonly partition: number },
): Promise<number> {
  const [row] = await explained(
    { group, topic },
    sql<{ watermark: number }[]>`
      select sys.fn_ignore_offset(${group}, ${topic}, ${topicId}, ${partition}, ${operation}, ${by}, ${reason})::float8 as watermark`,
  )
  return row?.watermark ?? 0
}

type MoveColumns = {
  partition: number
  from_position: number | null
  done_to: number | null
  to_position: number
  rerun_to: number | null
  skipped: number
  dropped_parked: number
  dropped_retries: number
  moved: boolean
}

async function explained<T>({ group, topic }: { group: string; topic: string }, query: PromiseLike<T>): Promise<T> {
  try {
    return await query
  } catch (error) {
    if (!isServerError(error) || error.code !== wrongWayState) throw error
    const [partition = '', watermark = '', position = ''] = (error.detail ?? '').split(',')
    const at = `${topic}-${partition} of group ${group}`
    const sentences: Readonly<Record<string, string>> = {
      forward: `${at} is at ${watermark}, and ${position} is further on: there is nothing to run again. Say --skip to pass over what lies between, or leave that partition out by --partition.`,
      back: `${at} is at ${watermark}, and ${position} is further back: all that lies between was done, and nothing of it would run. Say --rerun to run it again, or leave that partition out by --partition.`,
      unknown: `${at} has no row in sys.partition_progress, so nothing is known of what was done: say \`tenantry offsets reset … --skip\` with the position at which it is to begin.`,
    }
    throw new TenantryError(
      'TENANTRY_OFFSETS_WAY',
      sentences[error.hint ?? ''] ?? error.message,
      { group, topic, partition: Number(partition) },
      { cause: error },
    )
  }
}

/** What is to run again. All of it has, and the row does not matter any more, when the watermark has passed it. */
export async function leftRerun(
  sql: Ask,
  { group, topicId, partition }: PartitionRef,
  watermark: number,
): Promise<Rerun | null> {
  const [row] = await sql<{ rerun_to: string; rerun_since: string }[]>`
    select rerun_to::text, rerun_since::text from sys.partition_resets
    where group_name = ${group} and topic_id = ${topicId} and partition = ${partition} and rerun_to > ${watermark}`
  return row === undefined ? null : { to: Number(row.rerun_to), since: row.rerun_since }
}

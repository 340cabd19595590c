import type { OpenBreakers } from '../core/metrics.ts'
import type { Mailbox } from './mailbox.ts'
import type { Mailboxes } from './mailboxes.ts'
import type { Partition, PartitionPhase } from './partition.ts'

export type PartitionStatus = {
  readonly group: string
  readonly topic: string
  readonly partition: number
  readonly phase: PartitionPhase
  readonly reason: string
  readonly epoch: number
  readonly seq: number
  readonly watermark: number
  readonly position: number
  /** The log's end as last heard; -1 unknown. */
  readonly end: number
  readonly kafkaOffset: number
  readonly uncommitted: number
  readonly paused: boolean
  /** Timestamp (ms) of the newest record committed, where there was one. */
  readonly committedTimestamp?: number
}

export type EngineStatus = {
  readonly partitions: readonly PartitionStatus[]
  /** Why the daemon is not ready, one sentence each; empty when it is. */
  readonly reasons: readonly string[]
  readonly mailboxes: number
  /** Records that wait in mailboxes, not at a worker and not decided. */
  readonly queued: number
  /** Records at workers. */
  readonly inFlight: number
  readonly bytes: number
  /** Of these, what decisions want written. */
  readonly bytesToWrite: number
  /** Why intake is paused for all partitions. */
  readonly paused: readonly string[]
  readonly outboxPending: number
  /** Tenants that cannot go on by themselves. */
  readonly blocked: readonly {
    readonly tenant: string
    readonly topic: string
    readonly partition: number
    readonly reason: string
  }[]
  /** Tenants whose records wait for a dependency. */
  readonly waitingTenants: number
  readonly breakers: readonly OpenBreakers[]
}

export function statusOf(engine: {
  partitions: Iterable<Partition>
  mailboxes: Mailboxes
  troubles: ReadonlyMap<string, string>
  bytes: number
  bytesToWrite: number
  paused: readonly string[]
  inFlight: number
  outboxPending: number
  breakers: readonly OpenBreakers[]
}): EngineStatus {
  const partitions = [...engine.partitions]
  const mailboxes = [...engine.mailboxes.values()]
  return {
    partitions: partitions.map(partitionStatus),
    reasons: reasonsOf(partitions, engine.troubles),
    mailboxes: mailboxes.length,
    queued: mailboxes.reduce((sum, mailbox) => sum + mailbox.queuedCount, 0),
    inFlight: engine.inFlight,
    bytes: engine.bytes,
    bytesToWrite: engine.bytesToWrite,
    paused: engine.paused,
    outboxPending: engine.outboxPending,
    blocked: mailboxes
      .filter((mailbox) => mailbox.waiting === 'blocked' && mailbox.waitingReason !== '')
      .map(blockedTenant),
    waitingTenants: mailboxes.reduce((sum, { waiting }) => sum + (waiting === 'dependency' ? 1 : 0), 0),
    breakers: engine.breakers,
  }
}

/** Why a daemon with these partitions and troubles is not ready, one sentence each. */
export function reasonsOf(partitions: Iterable<Partition>, troubles: ReadonlyMap<string, string>): string[] {
  const reasons = [...troubles].map(([what, reason]) => `${what}: ${reason}`)
  for (const { topic, partition, phase, reason } of partitions) {
    if (phase !== 'claiming' && phase !== 'stopped') continue
    reasons.push(`${topic}-${partition} is ${phase}${reason === '' ? '' : `: ${reason}`}`)
  }
  return reasons
}

function partitionStatus(partition: Partition): PartitionStatus {
  const {
    topic,
    phase,
    reason,
    epoch,
    seq,
    progress,
    position,
    end,
    kafkaOffset,
    uncommitted,
    paused,
    committedTimestamp,
  } = partition
  const at = { group: partition.group.name, topic, partition: partition.partition }
  return {
    ...at,
    phase,
    reason,
    epoch,
    seq,
    watermark: progress.watermark,
    position,
    end,
    kafkaOffset,
    uncommitted,
    paused,
    ...(committedTimestamp >= 0 && { committedTimestamp }),
  }
}

function blockedTenant({ tenant, partition, waitingReason }: Mailbox) {
  return { tenant, topic: partition.topic, partition: partition.partition, reason: waitingReason }
}

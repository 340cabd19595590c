import { noneWait, type OpenBreakers, type WaitingTenants } from '../core/metrics.ts'
import type { Mailbox } from './mailbox.ts'
import type { Mailboxes } from './mailboxes.ts'
import type { Partition, PartitionPhase } from './partition.ts'

type PartitionStatus = {
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
  readonly waitingTenants: WaitingTenants
  /** Records in PostgreSQL, and on their way there, because their tenants could not take them; about. */
  readonly parkedRecords: number
  /** Queries under way that read some of them back; what they may bring has its place in memory already. */
  readonly parkedReads: number
  /** Tenants that cannot go on by themselves. */
  readonly blocked: readonly {
    readonly tenant: string
    readonly topic: string
    readonly partition: number
    readonly reason: string
  }[]
  readonly breakers: readonly OpenBreakers[]
}

export function statusOf(engine: {
  partitions: Iterable<Partition>
  mailboxes: Mailboxes
  reasons: readonly string[]
  bytes: number
  bytesToWrite: number
  paused: readonly string[]
  inFlight: number
  outboxPending: number
  breakers: readonly OpenBreakers[]
  parkedRecords: number
  parkedReads: number
}): EngineStatus {
  const partitions = [...engine.partitions]
  const waiting = { ...noneWait }
  const blocked: Mailbox[] = []
  let [mailboxes, queued] = [0, 0]
  for (const mailbox of engine.mailboxes.values()) {
    mailboxes++
    queued += mailbox.queuedCount
    const reason = waitingReason(mailbox)
    if (reason !== null) waiting[reason]++
    if (reason === 'blocked') blocked.push(mailbox)
  }
  return {
    partitions: partitions.map(partitionStatus),
    reasons: engine.reasons,
    mailboxes,
    queued,
    inFlight: engine.inFlight,
    bytes: engine.bytes,
    bytesToWrite: engine.bytesToWrite,
    paused: engine.paused,
    outboxPending: engine.outboxPending,
    waitingTenants: waiting,
    parkedRecords: engine.parkedRecords,
    parkedReads: engine.parkedReads,
    blocked: blocked.map(blockedTenant),
    breakers: engine.breakers,
  }
}

/** Under what a tenant is counted that waits; null: it does not. */
function waitingReason(mailbox: Mailbox): keyof WaitingTenants | null {
  switch (mailbox.waiting) {
    case 'retrying':
    case 'held':
    case 'dependency':
      return mailbox.waiting
    case 'blocked':
      // Nobody's records are decided where they are.
      return mailbox.waitingReason === '' ? null : 'blocked'
    case 'nothing':
    case 'settling':
    case 'state':
      return mailbox.parked === null ? null : 'parked'
  }
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

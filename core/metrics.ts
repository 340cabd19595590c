/**
 * What the engine counts, as plain calls per batch; nothing here knows Prometheus. Labels are bounded: groups, topics,
 * partitions, outcomes, never tenants. Implemented by core/prometheus.ts, and by `silentMetrics` for the simulation.
 */
export interface EngineMetrics {
  /** A batch of records arrived from Kafka. */
  recordsConsumed(group: string, topic: string, partition: number, count: number): void
  /** A commit has become durable, with so much of each group, `elapsedMs` after it was sent. */
  committed(groups: ReadonlyMap<string, CommitFigures>, elapsedMs: number): void
  /** `count` records were committed `ms` milliseconds after their timestamp. Cheap: called for each record. */
  latency(ms: number, count?: number): void
  /** A commit did not succeed: `fenced`, `duplicates`, `unknown`, `infrastructure`, `again`, `held`, `statement`. */
  commitFailed(group: string, reason: string): void
  /** An attempt at a record failed and will be repeated. */
  retried(group: string): void
  /** A record is on its way to PostgreSQL because its tenant cannot take it. */
  parked(group: string): void
  /** Another daemon, or a commit given up, had moved a partition on. */
  fenced(group: string): void
  /** A partition was taken over. */
  tookOver(group: string): void
  /** A worker's thread was lost and replaced. */
  workerRestarted(): void
  /** Messages of the outbox were delivered to Kafka. */
  published(count: number): void
}

/** What a commit had of one group. */
export type CommitFigures = {
  readonly processed: number
  readonly duplicates: number
  readonly deadLettered: number
  /** Records that an operator or a tombstone let pass. */
  readonly skipped: number
  /** Key and value bytes of the records. */
  readonly bytes: number
}

/** What is read when somebody asks for the metrics, so that the engine need not keep gauges up to date. */
export type EngineReading = {
  readonly ready: boolean
  readonly mailboxes: number
  /** Records that wait in mailboxes. */
  readonly queued: number
  /** Records at workers. */
  readonly inFlight: number
  /** Bytes of all records held, queued and in flight. */
  readonly bytes: number
  readonly bytesBudget: number
  readonly outboxPending: number
  /** Tenants that cannot go on by themselves. */
  readonly blockedTenants: number
  readonly waitingTenants: WaitingTenants
  readonly parkedRecords: number
  readonly openBreakers: readonly OpenBreakers[]
  readonly partitions: readonly PartitionReading[]
  /** Share of the time that each worker's thread was busy since the last reading, 0 to 1; where the runtime can tell. */
  readonly workerUtilisation?: readonly number[]
}

/** Circuit breakers of one actor and dependency that are not closed. */
export type OpenBreakers = {
  readonly group: string
  readonly actor: string
  readonly dependency: string
  /** `tenant`: of one tenant each; `all`: the one that all tenants share. */
  readonly scope: 'tenant' | 'all'
  readonly count: number
}

/** Tenants whose records wait, each counted once. */
export type WaitingTenants = {
  readonly retrying: number
  readonly held: number
  /** Until a circuit breaker lets them go. */
  readonly dependency: number
  readonly blocked: number
  /** For nothing else than their parked records before them. */
  readonly parked: number
}

export const noneWait: WaitingTenants = { retrying: 0, held: 0, dependency: 0, blocked: 0, parked: 0 }

export type PartitionReading = {
  readonly group: string
  readonly topic: string
  readonly partition: number
  readonly phase: string
  readonly paused: boolean
  readonly watermark: number
  /** The log's end as last heard; -1 unknown. */
  readonly end: number
  /** Timestamp (ms) of the newest record committed, where there was one. */
  readonly committedTimestamp?: number
}

/** Counts nothing. */
export const silentMetrics: EngineMetrics = {
  recordsConsumed() {},
  committed() {},
  latency() {},
  commitFailed() {},
  retried() {},
  parked() {},
  fenced() {},
  tookOver() {},
  workerRestarted() {},
  published() {},
}

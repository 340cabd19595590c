/**
 * Every metric there is, once: name, type, labels, help. The registry and docs/metrics.md are made from this table. Units
 * are in the names: seconds, bytes, ratios from 0 to 1. No label ever holds a tenant.
 */
export type MetricSpec = {
  readonly name: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly labels: readonly string[]
  readonly help: string
  readonly buckets?: readonly number[]
}

/** Around the objectives: p50 below 50 ms, p99 below 200 ms. */
const latencyBuckets = [0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10]
const commitBuckets = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5]
const sizeBuckets = [1, 5, 10, 50, 100, 250, 500, 1_000, 2_000, 4_000, 8_000]

export const catalogue = {
  info: {
    name: 'tenantry_info',
    type: 'gauge',
    labels: ['version', 'runtime'],
    help: 'Always 1; its labels say what is running.',
  },
  ready: {
    name: 'tenantry_ready',
    type: 'gauge',
    labels: [],
    help: '1 while the daemon is ready, as /health/ready says.',
  },

  consumed: {
    name: 'tenantry_records_consumed_total',
    type: 'counter',
    labels: ['group', 'topic', 'partition'],
    help: 'Records that arrived from Kafka, redelivered ones included.',
  },
  done: {
    name: 'tenantry_records_done_total',
    type: 'counter',
    labels: ['group', 'outcome'],
    help: 'Records whose outcome was committed: processed, duplicate, dead_lettered or skipped.',
  },
  latency: {
    name: 'tenantry_record_latency_seconds',
    type: 'histogram',
    labels: [],
    help: "From a record's timestamp to the commit of its effects.",
    buckets: latencyBuckets,
  },

  commitDuration: {
    name: 'tenantry_commit_duration_seconds',
    type: 'histogram',
    labels: [],
    help: 'Group commits, from sending to their answer.',
    buckets: commitBuckets,
  },
  commitRecords: {
    name: 'tenantry_commit_records',
    type: 'histogram',
    labels: [],
    help: 'Records in a group commit.',
    buckets: sizeBuckets,
  },
  commitBytes: {
    name: 'tenantry_commit_bytes_total',
    type: 'counter',
    labels: ['group'],
    help: 'Key and value bytes of committed records.',
  },
  commitFailures: {
    name: 'tenantry_commit_failures_total',
    type: 'counter',
    labels: ['group', 'reason'],
    help: 'Group commits that did not succeed at once, by reason; they are sent again.',
  },
  retries: {
    name: 'tenantry_record_retries_total',
    type: 'counter',
    labels: ['group'],
    help: 'Attempts at records that failed and are repeated.',
  },
  parked: {
    name: 'tenantry_records_parked_total',
    type: 'counter',
    labels: ['group'],
    help: 'Records moved to PostgreSQL because their tenant could not take them; they come back in order.',
  },
  fences: {
    name: 'tenantry_partition_fences_total',
    type: 'counter',
    labels: ['group'],
    help: 'Commits refused for a partition because another owner had moved it on.',
  },
  takeovers: {
    name: 'tenantry_partition_takeovers_total',
    type: 'counter',
    labels: ['group'],
    help: 'Partitions taken over.',
  },
  published: {
    name: 'tenantry_outbox_published_total',
    type: 'counter',
    labels: [],
    help: 'Messages of the outbox that Kafka has acknowledged.',
  },
  outboxPending: {
    name: 'tenantry_outbox_pending',
    type: 'gauge',
    labels: [],
    help: 'Messages committed and not yet acknowledged by Kafka.',
  },

  mailboxes: {
    name: 'tenantry_mailboxes',
    type: 'gauge',
    labels: [],
    help: 'Mailboxes in memory, idle warm ones included.',
  },
  mailboxRecords: {
    name: 'tenantry_mailbox_records',
    type: 'gauge',
    labels: [],
    help: 'Records that wait in mailboxes.',
  },
  inFlight: { name: 'tenantry_records_in_flight', type: 'gauge', labels: [], help: 'Records at workers.' },
  bytes: {
    name: 'tenantry_bytes_in_flight',
    type: 'gauge',
    labels: [],
    help: 'Bytes of all records held, waiting and in flight.',
  },
  bytesBudget: {
    name: 'tenantry_bytes_budget',
    type: 'gauge',
    labels: [],
    help: 'Bytes past which partitions pause (backpressure.budgetBytes).',
  },
  blockedTenants: {
    name: 'tenantry_tenants_blocked',
    type: 'gauge',
    labels: [],
    help: 'Tenants that cannot go on by themselves; `tenant.blocked` in the log names them.',
  },
  waitingTenants: {
    name: 'tenantry_tenants_waiting',
    type: 'gauge',
    labels: ['reason'],
    help: 'Tenants whose records wait: retrying after a failure, held by a lock or by what fails for all, dependency where a circuit breaker is open, blocked until an operator helps, parked (nothing but parked records before them). Each is counted once.',
  },
  parkedRecords: {
    name: 'tenantry_parked_records',
    type: 'gauge',
    labels: [],
    help: "Records of this daemon's partitions that are parked in PostgreSQL and not in memory, about.",
  },

  breakersOpen: {
    name: 'tenantry_breakers_open',
    type: 'gauge',
    labels: ['group', 'actor', 'dependency', 'scope'],
    help: 'Circuit breakers that are open or half-open: scope `tenant` counts those of one tenant each, `all` is the one that tenants share.',
  },

  lagRecords: {
    name: 'tenantry_consumer_lag_records',
    type: 'gauge',
    labels: ['group', 'topic', 'partition'],
    help: "The log's end less the watermark: records not yet done.",
  },
  lagSeconds: {
    name: 'tenantry_consumer_lag_seconds',
    type: 'gauge',
    labels: ['group', 'topic', 'partition'],
    help: 'Age of the newest committed record while there is lag; 0 without lag; absent before the first commit.',
  },
  partitions: {
    name: 'tenantry_partitions',
    type: 'gauge',
    labels: ['group', 'phase'],
    help: 'Partitions assigned to this daemon, by what they are doing: claiming, owned, closing, stopped.',
  },
  partitionsPaused: {
    name: 'tenantry_partitions_paused',
    type: 'gauge',
    labels: ['group'],
    help: 'Partitions paused by backpressure.',
  },

  workerUtilisation: {
    name: 'tenantry_worker_utilisation_ratio',
    type: 'gauge',
    labels: ['worker'],
    help: "Share of the time that a worker's event loop was busy since the last scrape; absent where the runtime cannot tell.",
  },
  workerRestarts: {
    name: 'tenantry_worker_restarts_total',
    type: 'counter',
    labels: [],
    help: 'Worker threads that were lost and replaced.',
  },
  loopDelay: {
    name: 'tenantry_event_loop_delay_seconds',
    type: 'gauge',
    labels: ['quantile'],
    help: "How late the supervisor's event loop was since the last scrape; quantile 1 is the worst.",
  },
  loopUtilisation: {
    name: 'tenantry_event_loop_utilisation_ratio',
    type: 'gauge',
    labels: [],
    help: "Share of the time that the supervisor's event loop was busy since the last scrape; absent on Bun.",
  },

  cpu: {
    name: 'tenantry_process_cpu_seconds_total',
    type: 'counter',
    labels: [],
    help: 'CPU time of the process, user and system.',
  },
  resident: {
    name: 'tenantry_process_resident_memory_bytes',
    type: 'gauge',
    labels: [],
    help: 'Resident memory of the process.',
  },
  heap: {
    name: 'tenantry_process_heap_bytes',
    type: 'gauge',
    labels: [],
    help: "Heap in use by the supervisor's thread.",
  },
  started: {
    name: 'tenantry_process_start_time_seconds',
    type: 'gauge',
    labels: [],
    help: 'When the process started, in seconds since 1970.',
  },
} as const satisfies Readonly<Record<string, MetricSpec>>

export type MetricKey = keyof typeof catalogue

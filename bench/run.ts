import type { Machine, Versions } from './machine.ts'

/** Milliseconds from a message's intended sending to the commit of its effects. */
export type Latency = {
  readonly p50: number
  readonly p90: number
  readonly p99: number
  readonly p999: number
  readonly p9999: number
  readonly max: number
}

/** One run, as `--json` gives it. Fields of one scenario only are left out by the others. */
export type Run = {
  /** What ran; a peer has its own name here. */
  readonly subject: string
  readonly scenario: string
  /** How copies are recognised; `none` where nothing does, as in most peers. */
  readonly mode: 'message-id' | 'offset' | 'none'
  readonly runtime: 'node' | 'bun' | 'java'
  /** What reads the topic. */
  readonly driver: string
  readonly variant: string
  /** Measured ones, without the warm-up. */
  readonly messages: number
  readonly warm_up: number
  readonly message_bytes: number
  readonly tenants: number
  readonly partitions: number
  readonly ids: 'v4' | 'v7'
  readonly seconds: number
  /** Messages from the end of the warm-up to the last commit. */
  readonly rate_per_second: number
  /** The same with the warm-up, from the moment when the first partition was owned: the slowest way to count. */
  readonly rate_from_start_per_second: number
  readonly megabytes_per_second: number
  readonly cpu_seconds_per_million: number
  readonly postgres_cpu_seconds_per_million: number
  readonly broker_cpu_seconds_per_million: number | null
  /** Share of the machine that others used meanwhile. */
  readonly other_cpu_share: number
  readonly rss_peak_bytes: number
  /** Of the whole run, start and warm-up included, by the names of its threads. */
  readonly thread_cpu_seconds: Readonly<Record<string, number>>
  /** What the next five come from: rows that were compared with the messages, or only a count of what was done. */
  readonly checked: 'rows' | 'count'
  readonly lost: number
  readonly duplicated: number
  readonly reordered: number
  readonly altered: number
  readonly dead_letters: number
  /** Rows in a transaction, on average. */
  readonly rows_per_commit: number
  /** Copies in the topic: sent again with the same message_id, to be recognised. */
  readonly copies: number
  readonly events?: { readonly published: number; readonly repeated: number }
  readonly offered_per_second?: number
  readonly latency_ms?: Latency
  /** How late the producer itself was, and how long Kafka took to take a message: both are part of the latency. */
  readonly producer_ms?: { readonly late_p99: number; readonly taken_p50: number; readonly taken_p99: number }
  /** Mean of an fsync of the write-ahead log. Part of the latency: PostgreSQL takes a commit's time just before it. */
  readonly flush_ms?: number
  /** Second of the run, p50, p99. */
  readonly series?: readonly (readonly [second: number, p50: number, p99: number])[]
  /** Messages of a sick tenant, beside the measured ones. */
  readonly sick_messages?: number
  /** The longest that the watermark of any partition stood still beside it. */
  readonly longest_standstill_ms?: number
  /** Rows that were parked, how long that took, and how long it took to process them. */
  readonly parked_rows?: number
  readonly parking_seconds?: number
  readonly feeding_seconds?: number
  readonly start_ms?: number
  /** Members killed meanwhile, and whether the one that joined and left had partitions. */
  readonly disturbances?: { readonly kills: number; readonly joined: boolean }
  readonly heap?: Heap
  readonly profile?: readonly string[]
  readonly at: string
  readonly machine: Machine
  readonly versions: Versions
  readonly settings: Readonly<Record<string, unknown>>
}

/** What tenants cost in memory, the supervisor's thread and the workers' together. */
export type Heap = {
  readonly tenants: number
  readonly growth_bytes: number
  readonly bytes_per_tenant: number
  /** Tenants whose mailboxes are kept warm. */
  readonly warm_tenants: number
  readonly bytes_per_warm_tenant: number
}

/** Whether everything arrived, once and in order. */
export function isRight({ lost, duplicated, reordered, altered, dead_letters }: Run): boolean {
  return lost + duplicated + reordered + altered + dead_letters === 0
}

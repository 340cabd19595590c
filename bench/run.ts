import type { Dimension } from './growth.ts'
import type { Machine, Versions } from './machine.ts'
import type { LagSeries, LatencySeries } from './series.ts'
import type { Trend } from './trend.ts'

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
  /** Whether it has as many messages as the subject does in a while, and not as many as were asked for. */
  readonly paced?: boolean
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
  /** What the next five come from: rows or calls that were compared with the messages, or only a count of what was done. */
  readonly checked: 'rows' | 'calls' | 'count'
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
  /** Of messages to be sent in each second of the run: p50 and p99. */
  readonly series?: LatencySeries
  /** At the end of each second of the run: messages due and not committed, and the age of the oldest in seconds. */
  readonly lag_series?: LagSeries
  /** The worst of these after the warm-up. */
  readonly lag_seconds?: number
  /** Whether the objectives held: of the whole measured time, or where there are minutes of each of them. */
  readonly objectives_held?: boolean
  /** What a search for the highest rate has tried, in this order; the run itself is the highest that held. */
  readonly search?: readonly Tried[]
  readonly backlog?: Backlog
  /** What was done to the daemons, and what came of it. */
  readonly recovery?: readonly Recovery[]
  readonly minutes?: readonly Minute[]
  /** How memory and tables grew over the minutes, by name. */
  readonly growth?: Readonly<Record<string, Trend>>
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
  /** Which of its sizes a run of `bench growth` varies, and which value it has here. */
  readonly grown?: { readonly of: Dimension; readonly at: number }
  readonly profile?: readonly string[]
  readonly at: string
  readonly machine: Machine
  readonly versions: Versions
  readonly settings: Readonly<Record<string, unknown>>
}

/** One rate that a search has tried. */
export type Tried = {
  readonly rate_per_second: number
  readonly p50: number
  readonly p99: number
  readonly lag_seconds: number
  readonly held: boolean
}

/** Working off what had piled up, while as much a second kept coming. */
type Backlog = {
  readonly messages: number
  /** From the first partition's ownership until nothing waited for a second; null when that was not reached. */
  readonly drain_seconds: number | null
  /** Committed a second meanwhile. */
  readonly drain_rate_per_second: number | null
}

/** One thing done to the daemons under a steady rate. */
export type Recovery = {
  readonly kind: 'kill' | 'restart' | 'join' | 'leave'
  readonly protocol: 'consumer' | 'classic'
  /** When it began. */
  readonly at_second: number
  /** When the old process had ended; null where none did. */
  readonly ended_second: number | null
  /** When it had been done: the new process owned a partition, or the old one had ended. */
  readonly over_second: number
  /** From its beginning until lag and p99 were within the calm seconds' bounds again; null when they did not come back. */
  readonly recovered_seconds: number | null
  /** The bounds. */
  readonly calm_p99: number
  readonly calm_lag_seconds: number
  /** The worst in between. */
  readonly worst_p99: number
  readonly worst_lag_seconds: number
}

/** One minute of a stress run. */
export type Minute = {
  /** From 1. */
  readonly minute: number
  /** Committed in it. */
  readonly messages: number
  /** Of what was committed in it; null when that was nothing. */
  readonly p50: number | null
  readonly p99: number | null
  /** At its end, of the partition that was furthest behind. */
  readonly lag_seconds: number
  /** Of the daemon's process, at its end. */
  readonly rss_bytes: number
  /** Sizes with their indexes, at its end. */
  readonly table_bytes: Readonly<Record<string, number>>
  /** What was done in it; it is judged by lag alone then. */
  readonly fault?: string
  readonly held: boolean
}

/** What tenants cost in memory, the supervisor's thread and the workers' together. */
type Heap = {
  readonly tenants: number
  readonly growth_bytes: number
  readonly bytes_per_tenant: number
  /** Tenants whose mailboxes are kept warm. */
  readonly warm_tenants: number
  readonly bytes_per_warm_tenant: number
}

type Verdict = Pick<Run, 'lost' | 'duplicated' | 'reordered' | 'altered' | 'dead_letters'>

/** Whether everything arrived, once and in order. */
export function isRight(run: Verdict): boolean {
  return wrongIn(run) === 0
}

/** Messages that did not arrive, or not once and in order. */
export function wrongIn({ lost, duplicated, reordered, altered, dead_letters }: Verdict): number {
  return lost + duplicated + reordered + altered + dead_letters
}

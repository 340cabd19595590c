import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { messageOf, TenantryError } from '../core/errors.ts'

const figure = z.number().nullish()
const named = z.record(z.string(), z.unknown())
const seconds = z.array(z.tuple([z.number(), z.number(), z.number()]).readonly()).readonly()

/** A run as a file holds it: what the report and the comparison need is checked, and all else is kept as it is. */
const rawRun = z.looseObject({
  subject: z.string(),
  scenario: z.string(),
  mode: z.string(),
  runtime: z.string(),
  driver: z.string(),
  variant: z.string(),
  messages: z.number(),
  warm_up: z.number(),
  paced: z.boolean().optional(),
  message_bytes: z.number(),
  tenants: z.number(),
  partitions: z.number(),
  rate_per_second: z.number(),
  cpu_seconds_per_million: z.number(),
  postgres_cpu_seconds_per_million: z.number(),
  other_cpu_share: z.number(),
  rss_peak_bytes: z.number(),
  /** `count`: nothing was left to compare with the messages. */
  checked: z.enum(['rows', 'calls', 'count']),
  lost: z.number(),
  duplicated: z.number(),
  reordered: z.number(),
  altered: z.number(),
  dead_letters: z.number(),
  offered_per_second: z.number().optional(),
  // A percentile that nothing was found for is null in JSON.
  latency_ms: z.looseObject({ p50: figure, p99: figure, p999: figure, p9999: figure, max: figure }).optional(),
  series: seconds.optional(),
  lag_series: seconds.optional(),
  lag_seconds: figure,
  objectives_held: z.boolean().optional(),
  longest_standstill_ms: figure,
  search: z
    .array(
      z.looseObject({ rate_per_second: z.number(), p50: figure, p99: figure, lag_seconds: figure, held: z.boolean() }),
    )
    .readonly()
    .optional(),
  backlog: z.looseObject({ messages: z.number(), drain_seconds: figure, drain_rate_per_second: figure }).optional(),
  recovery: z
    .array(
      z.looseObject({
        kind: z.string(),
        at_second: z.number(),
        over_second: z.number(),
        recovered_seconds: figure,
        worst_p99: figure,
        worst_lag_seconds: figure,
      }),
    )
    .readonly()
    .optional(),
  minutes: z
    .array(
      z.looseObject({
        minute: z.number(),
        p50: figure,
        p99: figure,
        lag_seconds: z.number(),
        rss_bytes: z.number(),
        fault: z.string().optional(),
        held: z.boolean(),
      }),
    )
    .readonly()
    .optional(),
  growth: z.record(z.string(), z.looseObject({ per_hour: z.number(), grows: z.boolean() })).optional(),
  disturbances: z.looseObject({ kills: z.number(), joined: z.boolean() }).optional(),
  start_ms: figure,
  parked_rows: figure,
  parking_seconds: figure,
  feeding_seconds: figure,
  heap: z.looseObject({ bytes_per_warm_tenant: z.number() }).optional(),
  grown: z.object({ of: z.string(), at: z.number() }).optional(),
  at: z.string(),
  machine: named,
  versions: named,
  settings: named,
})

export type RawRun = z.infer<typeof rawRun>

const arrayOrReport = z.union([z.array(rawRun), z.object({ runs: z.array(rawRun) }).transform(({ runs }) => runs)])

/**
 * The runs in a file: what `--json` gives, with or without what npm says before it, the runs of a report, or the journal of `bench all`, an object with `runs` a
 * line. Throws TENANTRY_BENCH_NO_RUNS for anything else.
 */
export function readRuns(file: string): readonly RawRun[] {
  try {
    const text = readFileSync(file, 'utf8')
    return file.endsWith('.jsonl')
      ? text
          .split('\n')
          .filter((line) => line.trim() !== '')
          .flatMap((line) => arrayOrReport.parse(JSON.parse(line)))
      : arrayOrReport.parse(JSON.parse(/^\s*[[{]/.test(text) ? text : lastLine(text)))
  } catch (error) {
    throw new TenantryError(
      'TENANTRY_BENCH_NO_RUNS',
      `${file} holds no runs of the bench: ${messageOf(error)}`,
      { file },
      { cause: error },
    )
  }
}

function lastLine(text: string): string {
  return text.trimEnd().split('\n').at(-1) ?? ''
}

/** Runs as `--json` gives them. */
export function runsOf(text: string): readonly RawRun[] {
  return z.array(rawRun).parse(JSON.parse(text))
}

import type { Committed } from './latencies.ts'
import { missed } from './objectives.ts'
import type { Minute, Run } from './run.ts'
import { trendOf, type Trend } from './trend.ts'

type Seen = {
  readonly committed: Committed
  readonly lag_seconds: number
  readonly rss_bytes: number
  readonly table_bytes: Readonly<Record<string, number>>
  readonly fault?: string
}

/**
 * A minute as it is judged: by all objectives, and by lag alone where something was done to the daemon, which no service
 * can answer within 200 ms. A minute in which nothing was committed has no latency, and misses.
 */
export function minuteOf(minute: number, { committed, fault, ...seen }: Seen): Minute {
  const { messages, p50, p99 } = committed
  const names = missed({ p50, p99, lag_seconds: seen.lag_seconds })
  const held = fault === undefined ? names.length === 0 : !names.includes('lag_seconds')
  const figure = (value: number) => (Number.isFinite(value) ? value : null)
  return { minute, messages, p50: figure(p50), p99: figure(p99), ...seen, ...(fault !== undefined && { fault }), held }
}

/** Tables that grow with what was processed: as they should, until their days are dropped. */
const growing = /^(effects|request_keys)/

/** Old rows are kept for a quarter of an hour and deleted every ten minutes: until a while after, tables grow as they should. */
const boundsShowAfterSeconds = 45 * 60

/**
 * How the daemon's memory and the tables have grown, by name; those that grow with every message are left out. A run that
 * is too short for a table's bound says nothing against it.
 */
export function growthOf(minutes: readonly Minute[], minuteSeconds: number): Readonly<Record<string, Trend>> {
  const trend = (of: (minute: Minute) => number) => trendOf(minutes.map(of), minuteSeconds)
  const boundsShow = minutes.length * minuteSeconds >= boundsShowAfterSeconds
  const growth: Record<string, Trend> = { rss: trend(({ rss_bytes: bytes }) => bytes) }
  for (const name of new Set(minutes.flatMap(({ table_bytes: bytes }) => Object.keys(bytes))))
    if (!growing.test(name)) {
      const { per_hour, grows } = trend(({ table_bytes: bytes }) => bytes[name] ?? 0)
      growth[name] = { per_hour, grows: grows && boundsShow }
    }
  return growth
}

/** Age of what waits in the partition that is furthest behind, each taken to get its records at a steady rate. */
export function lagSecondsOf(
  ends: readonly bigint[],
  positions: readonly { readonly partition: number; readonly watermark: number }[],
  elapsedSeconds: number,
): number {
  const done = new Map(positions.map(({ partition, watermark }) => [partition, watermark]))
  const ages = ends.map((end, partition) => {
    const all = Number(end)
    return all === 0 ? 0 : (Math.max(0, all - (done.get(partition) ?? 0)) / all) * elapsedSeconds
  })
  return Math.round(Math.max(0, ...ages) * 1_000) / 1_000
}

/** What a stress run has missed, in words; nothing when it has held everything. */
export function missedIn({ minutes, growth }: Pick<Run, 'minutes' | 'growth'>): readonly string[] {
  const bad = minutes?.filter(({ held }) => !held) ?? []
  const grown = Object.entries(growth ?? {}).filter(([, { grows }]) => grows)
  return [
    ...bad.map(
      ({ minute, p50, p99, lag_seconds: lag }) => `minute ${minute}: p50 ${p50} ms, p99 ${p99} ms, lag ${lag} s`,
    ),
    ...grown.map(([name, { per_hour: bytes }]) => `${name} grows without bound: ${Math.round(bytes / 1e6)} MB an hour`),
  ]
}

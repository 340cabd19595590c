import type postgres from 'postgres'
import { round } from './measure.ts'
import type { Latency } from './run.ts'
import { lagSeriesOf, type LagSeries, type LatencySeries } from './series.ts'

/** When messages should have been sent: n at `startAt + (n - first) * 1000 / ratePerSecond`. */
export type Times = {
  readonly startAt: number
  readonly first: number
  readonly ratePerSecond: number
  /** PostgreSQL notes a commit's time just before it flushes the log: what the flush takes is added. */
  readonly flushMs: number
}

/** From message `from` on. */
export async function latenciesOf(sql: postgres.Sql, times: Times, from: number): Promise<Latency> {
  const { flushMs } = times
  const { zeroAt, everyMs } = lineOf(times)
  const [row] = await sql<{ ms: number[] }[]>`
    select percentile_disc(array[0.5, 0.9, 0.99, 0.999, 0.9999, 1]) within group (order by ms) as ms
    from (
      select extract(epoch from pg_xact_commit_timestamp(xmin))::float8 * 1000 - (${zeroAt}::float8 + n * ${everyMs}::float8) as ms
      from effects
      where n >= ${from}
    ) as timed`
  const [p50, p90, p99, p999, p9999, max] = (row?.ms ?? []).map((ms) => round(ms + flushMs, 2))
  const none = Number.NaN
  return {
    p50: p50 ?? none,
    p90: p90 ?? none,
    p99: p99 ?? none,
    p999: p999 ?? none,
    p9999: p9999 ?? none,
    max: max ?? none,
  }
}

/** Each second's p50 and p99, from the first message on. */
export async function latencySeriesOf(sql: postgres.Sql, times: Times): Promise<LatencySeries> {
  const { first, flushMs } = times
  const { zeroAt, everyMs } = lineOf(times)
  const rows = await sql<{ second: number; ms: number[] }[]>`
    select second, percentile_disc(array[0.5, 0.99]) within group (order by ms) as ms
    from (
      select floor((n - ${first}::float8) * ${everyMs}::float8 / 1000)::integer as second,
        extract(epoch from pg_xact_commit_timestamp(xmin))::float8 * 1000 - (${zeroAt}::float8 + n * ${everyMs}::float8) as ms
      from effects
      where n >= ${first}
    ) as timed
    group by second
    order by second`
  return rows.map(
    ({ second, ms: [p50 = 0, p99 = 0] }) => [second, round(p50 + flushMs, 2), round(p99 + flushMs, 2)] as const,
  )
}

/** What waited at the end of each second, of `records` messages in all. */
export async function lagOf(sql: postgres.Sql, times: Times, records: number): Promise<LagSeries> {
  const rows = await sql<{ second: number; rows: number; least: number }[]>`
    select floor((extract(epoch from pg_xact_commit_timestamp(xmin))::float8 * 1000 - ${times.startAt}::float8) / 1000)::integer as second,
      count(*)::integer as rows,
      min(n)::float8 as least
    from effects
    where n >= 0
    group by second`
  return lagSeriesOf(rows, { ...times, records })
}

/** Messages that were committed between two moments, and their latency. */
export type Committed = { readonly messages: number; readonly p50: number; readonly p99: number }

/**
 * Of what was committed between two moments, without reading the whole table: rows are only added, so nothing that was
 * committed since stands before `block`, the table's length from a while before.
 */
export async function committedBetween(
  sql: postgres.Sql,
  times: Times,
  { from, to, block }: { readonly from: number; readonly to: number; readonly block: number },
): Promise<Committed> {
  const { flushMs } = times
  const { zeroAt, everyMs } = lineOf(times)
  const [row] = await sql<{ messages: number; ms: number[] | null }[]>`
    select count(*)::integer as messages, percentile_disc(array[0.5, 0.99]) within group (order by at - (${zeroAt}::float8 + n * ${everyMs}::float8)) as ms
    from (
      select n, extract(epoch from pg_xact_commit_timestamp(xmin))::float8 * 1000 as at
      from effects
      where ctid >= ${`(${block},0)`}::tid and n >= 0
    ) as timed
    where at >= ${from}::float8 and at < ${to}::float8`
  const [p50 = Number.NaN, p99 = Number.NaN] = row?.ms ?? []
  return { messages: row?.messages ?? 0, p50: round(p50 + flushMs, 2), p99: round(p99 + flushMs, 2) }
}

/** When message 0 was due, and how far apart messages are. */
function lineOf({ startAt, first, ratePerSecond }: Times) {
  const everyMs = 1_000 / ratePerSecond
  return { zeroAt: startAt - first * everyMs, everyMs }
}

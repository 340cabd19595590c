import type { LagSeries, LatencySeries } from './series.ts'

/** What the seconds before anything happened did not exceed, with room for chance. */
export type Bounds = { readonly p99: number; readonly lag_seconds: number }

/** A calm second may be this much better than the worst of others just as calm. */
const room = 1.5
/** Fewer seconds within the bounds may be chance. */
const holdSeconds = 3

type Seconds = { readonly series: LatencySeries; readonly lag: LagSeries }

/** The bounds that the seconds from `from` to before `to` give. */
export function boundsOf({ series, lag }: Seconds, from: number, to: number): Bounds {
  const worst = (values: readonly (readonly [number, number, number])[]) =>
    Math.max(0, ...values.filter(([second]) => second >= from && second < to).map(([, , value]) => value))
  const [p99, seen] = [worst(series), worst(lag)]
  // Lag is looked at in one moment of each second, and a calm one may find nothing on its way.
  return { p99: p99 * room, lag_seconds: Math.max(seen, p99 / 1_000) * room }
}

/**
 * Seconds from `at`, when something was done, until lag and p99 are back within the bounds for good: at least three
 * seconds together, none of them before `over`, when it had been done. 0 when nobody noticed; undefined when they did
 * not come back.
 */
export function recoveryOf(seconds: Seconds, bounds: Bounds, at: number, over: number): number | undefined {
  const p99s = new Map(seconds.series.map(([second, , p99]) => [second, p99]))
  const lags = new Map(seconds.lag.map(([second, , lag]) => [second, lag]))
  // A second in which nothing was offered or seen is not a good one.
  const within = (second: number) =>
    (p99s.get(second) ?? Number.POSITIVE_INFINITY) <= bounds.p99 &&
    (lags.get(second) ?? Number.POSITIVE_INFINITY) <= bounds.lag_seconds
  const first = Math.floor(at)
  const last = Math.max(first, ...p99s.keys())
  let noticed = first
  while (noticed <= last && within(noticed)) noticed++
  if (noticed > last) return 0
  for (let second = Math.max(noticed, Math.floor(over)), held = 0; second <= last; second++) {
    held = within(second) ? held + 1 : 0
    if (held === holdSeconds) return Math.max(0, second - holdSeconds + 1 - at)
  }
  return undefined
}

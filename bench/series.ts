/** Of messages to be sent in each second: its number, p50 and p99 in milliseconds. */
export type LatencySeries = readonly (readonly [second: number, p50: number, p99: number])[]

/** At the end of each second: its number, messages due and not committed, and the age of the oldest in seconds. */
export type LagSeries = readonly (readonly [second: number, records: number, seconds: number])[]

/** Rows that were committed in one second. */
export type CommittedSecond = { readonly second: number; readonly rows: number; readonly least: number }

/**
 * Lag from what was committed when: message n was due at `(n - first) / rate` seconds, those below `first` before the
 * first second, and each is committed once. Nobody has to be asked while it happens.
 */
export function lagSeriesOf(
  committed: readonly CommittedSecond[],
  {
    first,
    ratePerSecond,
    records,
  }: { readonly first: number; readonly ratePerSecond: number; readonly records: number },
): LagSeries {
  const sorted = committed.toSorted((a, b) => a.second - b.second)
  const last = Math.max(sorted.at(-1)?.second ?? 0, Math.ceil((records - first) / ratePerSecond) - 1)
  // The oldest message that was committed after a second is the oldest that waited at its end.
  const oldestAfter: number[] = []
  const rows = new Map(sorted.map((one) => [one.second, one]))
  for (let second = last, oldest = records; second >= 0; second--) {
    oldestAfter[second] = oldest
    oldest = Math.min(oldest, rows.get(second)?.least ?? oldest)
  }
  let done = sorted.filter(({ second }) => second < 0).reduce((sum, one) => sum + one.rows, 0)
  return Array.from({ length: last + 1 }, (_, second) => {
    done += rows.get(second)?.rows ?? 0
    const due = Math.min(records, first + Math.ceil((second + 1) * ratePerSecond))
    const oldest = oldestAfter[second] ?? records
    const age = oldest >= due ? 0 : second + 1 - (oldest - first) / ratePerSecond
    return [second, due - done, Math.round(age * 1_000) / 1_000] as const
  })
}

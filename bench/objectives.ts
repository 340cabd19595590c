/** What a run or a minute of one is judged by. */
export type Judged = {
  readonly p50: number
  readonly p99: number
  /** Age of the oldest message that was not done, at its worst. */
  readonly lag_seconds: number
}

/** What the service promises: below these, always. */
const objectives: Judged = { p50: 50, p99: 200, lag_seconds: 300 }

/** Names of the objectives that were missed; a figure that is not there misses its own. */
export function missed(figures: Judged): readonly (keyof Judged)[] {
  const names = ['p50', 'p99', 'lag_seconds'] as const
  return names.filter((name) => !(figures[name] < objectives[name]))
}

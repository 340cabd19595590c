import { say } from '../../cli/output.ts'
import type { Place } from '../measure-daemon.ts'
import { isRight, type Run, type Tried } from '../run.ts'
import { highestThatHolds } from '../search.ts'
import { latency, type LatencyOptions } from './latency.ts'

export type SearchOptions = Omit<LatencyOptions, 'ratePerSecond' | 'sick'> & {
  readonly first: number
  readonly most: number
}

const least = 100
const within = 0.05

/**
 * The highest rate at which the objectives hold, each tried with a daemon and a database of its own. The run is that of
 * this rate, or of the least one where none held; a run in which something was wrong ends the search and is given back.
 */
export async function search(place: Place, options: SearchOptions): Promise<Run> {
  const tried: Tried[] = []
  let best: Run | undefined
  let last: Run | undefined
  const holds = async (ratePerSecond: number): Promise<boolean> => {
    if (last !== undefined && !isRight(last)) return false
    const run = await latency(place, { ...options, ratePerSecond })
    const { latency_ms: ms, lag_seconds: lag = Number.NaN, objectives_held: held = false } = run
    last = run
    if (held) best = run
    const [p50, p99] = [ms?.p50 ?? Number.NaN, ms?.p99 ?? Number.NaN]
    tried.push({ rate_per_second: ratePerSecond, p50, p99, lag_seconds: lag, held })
    say(
      `  ${ratePerSecond.toLocaleString('en')}/s: p50 ${p50} ms, p99 ${p99} ms, lag ${lag} s: ${held ? 'held' : 'missed'}`,
    )
    return held
  }
  const { first, most } = options
  await highestThatHolds({ first, least, most, within }, holds)
  const run = last !== undefined && !isRight(last) ? last : (best ?? last)
  if (run === undefined) throw new Error('a search tries at least one rate')
  return { ...run, scenario: 'highest rate', search: tried }
}

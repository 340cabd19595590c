import { type Kind, kindsOf, kindText } from '../kinds.ts'
import type { RawRun } from '../raw-run.ts'
import { spreadText } from '../spread.ts'
import { overTime } from './over-time.ts'
import { markdownTable, type Section } from './section.ts'

/** Runs under a steady rate: percentiles, and latency and lag over time, of the last run of each kind. */
export function latenciesSection(runs: readonly RawRun[]): Section {
  const kinds = [...kindsOf(runs).values()]
  const shown = kinds.map((kind) => overTime(kind.at(-1) ?? kind[0]))
  const method = 'Latency is counted from when a message should have been sent to the commit of its effects.'
  return {
    title: 'Latency',
    text: [method, latencyTable(kinds), ...shown.flatMap((each) => each.shown)].join('\n\n'),
    pictures: new Map(shown.flatMap(({ pictures }) => [...pictures])),
  }
}

/** Percentiles of each kind. */
export function latencyTable(kinds: readonly Kind<RawRun>[]): string {
  return markdownTable(
    ['run', 'runs', 'p50 ms', 'p99 ms', 'p99.9 ms', 'p99.99 ms', 'most ms', 'lag s'],
    kinds.map((kind) => {
      const column = (of: (run: RawRun) => number | null | undefined) =>
        spreadText(
          kind.flatMap((run) => of(run) ?? []),
          1,
        )
      return [
        kindText(kind[0]),
        String(kind.length),
        column((run) => run.latency_ms?.p50),
        column((run) => run.latency_ms?.p99),
        column((run) => run.latency_ms?.p999),
        column((run) => run.latency_ms?.p9999),
        column((run) => run.latency_ms?.max),
        column((run) => run.lag_seconds),
      ]
    }),
  )
}

import { kindsOf, kindText } from '../kinds.ts'
import type { RawRun } from '../raw-run.ts'
import { spreadText } from '../spread.ts'
import { lineChart } from './line-chart.ts'
import { objectives } from './over-time.ts'
import { fileName, markdownTable, type Section } from './section.ts'

/** Searches for the highest rate at which the objectives hold, and what was tried on the way. */
export function highestSection(runs: readonly RawRun[]): Section {
  const kinds = [...kindsOf(runs).values()]
  const pictures = new Map<string, string>()
  const shown = kinds.map((kind) => {
    const run = kind.at(-1) ?? kind[0]
    const title = 'Latency by rate'
    const name = `${fileName('rate', kindText(run))}.svg`
    const tried = (run.search ?? []).toSorted((a, b) => a.rate_per_second - b.rate_per_second)
    const over = (of: (one: (typeof tried)[number]) => number | null | undefined) =>
      tried.flatMap((one) => {
        const value = of(one)
        return typeof value === 'number' ? [[one.rate_per_second, value] as const] : []
      })
    pictures.set(
      name,
      lineChart({
        title,
        description: `${kindText(run)}. ${tried.map((one) => `${one.rate_per_second}/s ${one.held ? 'held' : 'missed'}`).join(', ')}.`,
        x: { name: 'messages a second', scale: 'log' },
        y: { name: 'ms', scale: 'log' },
        lines: [
          { name: 'p50', points: over((one) => one.p50) },
          { name: 'p99', points: over((one) => one.p99) },
        ],
        marks: objectives,
      }),
    )
    return `![${title}](${name})`
  })
  const table = markdownTable(
    ['run', 'runs', 'highest rate/s that held', 'p50 ms there', 'p99 ms there'],
    kinds.map((kind) => {
      const held = kind.filter((run) => run.objectives_held === true)
      const column = (of: (run: RawRun) => number | null | undefined, digits: number) =>
        spreadText(
          held.flatMap((run) => of(run) ?? []),
          digits,
        )
      return [
        kindText(kind[0]),
        String(kind.length),
        held.length === kind.length
          ? column((run) => run.offered_per_second, 0)
          : `none in ${kind.length - held.length} of them`,
        column((run) => run.latency_ms?.p50, 1),
        column((run) => run.latency_ms?.p99, 1),
      ]
    }),
  )
  const method =
    'The highest rate at which p50 stays below 50 ms, p99 below 200 ms and lag below 5 minutes, found by bisection.'
  return { title: 'The highest rate', text: [method, table, ...shown].join('\n\n'), pictures }
}

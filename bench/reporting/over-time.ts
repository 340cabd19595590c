import { kindText } from '../kinds.ts'
import type { RawRun } from '../raw-run.ts'
import { lineChart, type Moment } from './line-chart.ts'
import { fileName } from './section.ts'

/** What the latencies are held against. */
export const objectives = [
  { name: 'objective for p50: 50 ms', y: 50 },
  { name: 'objective for p99: 200 ms', y: 200 },
]

/**
 * Latency and lag over the seconds of a run, as pictures by their files' names, and the Markdown that shows them. A
 * second's latency is that of all its messages, and stands in its middle; its lag is that at its end.
 */
export function overTime(run: RawRun, moments: readonly Moment[] = []) {
  const { scenario, series = [], lag_series: lag = [] } = run
  const pictures = new Map<string, string>()
  const shown: string[] = []
  const add = (what: string, svg: (title: string) => string) => {
    const title = `${what} over time: ${scenario}`
    const name = `${fileName(what, kindText(run))}.svg`
    pictures.set(name, svg(title))
    shown.push(`![${title}](${name})`)
  }
  const x = { name: 'second of the run', scale: 'linear' } as const
  if (series.length > 1)
    add('Latency', (title) =>
      lineChart({
        title,
        description: `${kindText(run)}. Each second's p50 and p99, the worst p99 ${worst(series, 2)} ms.`,
        x,
        y: { name: 'ms', scale: 'log' },
        lines: [
          { name: 'p50', points: series.map(([second, p50]) => [second + 0.5, p50] as const) },
          { name: 'p99', points: series.map(([second, , p99]) => [second + 0.5, p99] as const) },
        ],
        marks: objectives,
        moments,
      }),
    )
  if (lag.length > 1)
    add('Lag', (title) =>
      lineChart({
        title,
        description: `${kindText(run)}. Messages that wait, ${worst(lag, 1)} at most; the oldest for ${worst(lag, 2)} s.`,
        x,
        y: { name: 'messages that wait', scale: 'linear' },
        lines: [{ name: 'lag', points: lag.map(([second, records]) => [second + 1, records] as const) }],
        moments,
      }),
    )
  return { pictures, shown }
}

function worst(series: readonly (readonly [number, number, number])[], at: 1 | 2): string {
  return Math.max(...series.map((point) => point[at])).toLocaleString('en')
}

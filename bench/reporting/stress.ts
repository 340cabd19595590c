import { kindText } from '../kinds.ts'
import type { RawRun } from '../raw-run.ts'
import { lineChart } from './line-chart.ts'
import { fileName, markdownTable, type Section } from './section.ts'

/** Stress runs: what each minute was like, and what grew over them. */
export function stressSection(runs: readonly RawRun[]): Section {
  const pictures = new Map<string, string>()
  const parts = runs.map((run, index) => {
    const { minutes = [], growth = {}, scenario } = run
    const held = minutes.filter((minute) => minute.held).length
    const words = `The objectives held in ${held} of ${minutes.length} minutes.`
    const over = (of: (minute: (typeof minutes)[number]) => number | null | undefined) =>
      minutes.flatMap((minute) => {
        const value = of(minute)
        return typeof value === 'number' ? [[minute.minute, value] as const] : []
      })
    const name = `${fileName('minutes', String(index + 1), scenario)}.svg`
    pictures.set(
      name,
      lineChart({
        title: `Minute by minute: ${scenario}`,
        description: `${kindText(run)}. ${words}`,
        x: { name: 'minute', scale: 'linear' },
        y: { name: 'each in its unit', scale: 'log' },
        lines: [
          { name: 'p50 ms', points: over((minute) => minute.p50) },
          { name: 'p99 ms', points: over((minute) => minute.p99) },
          { name: 'lag ms', points: over((minute) => minute.lag_seconds * 1_000) },
          { name: 'RSS MB', points: over((minute) => minute.rss_bytes / 1e6) },
        ],
        marks: [{ name: 'objective for p99: 200 ms', y: 200 }],
        moments: minutes.flatMap(({ minute, fault }) => (fault === undefined ? [] : [{ name: fault, x: minute }])),
      }),
    )
    const trends = Object.entries(growth).flatMap(([what, { per_hour: bytes, grows }]) => {
      const megabytes = (bytes / 1e6).toFixed(1)
      return grows || Number(megabytes) !== 0 ? [[what, megabytes, grows ? '**without bound**' : 'no']] : []
    })
    return [
      `### ${kindText(run)}`,
      `![${words}](${name})`,
      words,
      ...(trends.length === 0 ? [] : [markdownTable(['what has changed', 'MB an hour', 'grows'], trends)]),
    ].join('\n\n')
  })
  return { title: 'Minute by minute', text: parts.join('\n\n'), pictures }
}

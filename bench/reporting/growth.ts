import { type Fit, fitOf, inWords, type Point } from '../fit.ts'
import type { RawRun } from '../raw-run.ts'
import { spreadOf, spreadText } from '../spread.ts'
import { lineChart } from './line-chart.ts'
import { markdownTable, type Section } from './section.ts'

/** What is looked at as something grows, the costs and what they leave of the rate. A CPU second a million messages is a microsecond a message. */
const costs: readonly { readonly name: string; readonly digits: number; of(run: RawRun): number }[] = [
  { name: 'rate, 1,000/s', digits: 1, of: (run) => run.rate_per_second / 1e3 },
  { name: 'daemon µs/message', digits: 1, of: (run) => run.cpu_seconds_per_million },
  { name: 'PostgreSQL µs/message', digits: 1, of: (run) => run.postgres_cpu_seconds_per_million },
  { name: 'RSS MB', digits: 0, of: (run) => run.rss_peak_bytes / 1e6 },
]

/** So many that a curve looks like one. */
const curvePoints = 24

type Growth = {
  /** What grows, and in which configuration. */
  readonly of: string
  readonly mode: string
  readonly on: string
  readonly sizes: readonly { readonly at: number; readonly runs: readonly RawRun[] }[]
}

/** How each cost grows, as lines of text. */
export function growthText(runs: readonly RawRun[]): string {
  return growthsOf(runs)
    .flatMap((growth) =>
      costs.map((cost) => `${growth.of}, ${growth.mode}, ${growth.on}: ${cost.name} ${inWords(fit(growth, cost))}`),
    )
    .join('\n')
}

/** For each size that grows a table, the fits in words and a picture. */
export function growthSection(runs: readonly RawRun[]): Section {
  const growths = growthsOf(runs)
  const pictures = new Map<string, string>()
  const parts = growths.map((growth, index) => {
    const { of, mode, on, sizes } = growth
    const lines = costs.map((cost) => {
      const points = pointsOf(growth, cost)
      return { name: cost.name, points, fitted: curveOf(points) }
    })
    const name = `growth-${index + 1}-${of.replaceAll(/[^a-z]+/g, '-')}.svg`
    const words = costs.map((cost) => `${cost.name} ${inWords(fit(growth, cost))}`)
    const title = `Growth with ${of}`
    const picture = lineChart({
      title,
      description: `${on}, ${mode}. Medians. ${words.join('; ')}.`,
      x: { name: of, scale: wide(sizes.map(({ at }) => at)) ? 'log' : 'linear' },
      y: { name: 'each in its unit', scale: 'log' },
      lines,
    })
    pictures.set(name, picture)
    return [
      `### ${title} (${on}, ${mode})`,
      `![${title}: ${words.join('; ')}](${name})`,
      words.map((word) => `- ${word}`).join('\n'),
      markdownTable(
        [of, 'runs', ...costs.map((cost) => cost.name)],
        sizes.map(({ at, runs: same }) => [
          at.toLocaleString('en'),
          String(same.length),
          ...costs.map((cost) => spreadText(same.map(cost.of), cost.digits)),
        ]),
      ),
    ].join('\n\n')
  })
  const method =
    'Exponents are those of least squares through the medians, in the logarithms of both: 0 is flat, 1 linear; the thin lines are the fits. A size of 0 has no logarithm, and no part in them.'
  return { title: 'Growth', text: [method, ...parts].join('\n\n'), pictures }
}

function growthsOf(runs: readonly RawRun[]): readonly Growth[] {
  const growths = new Map<string, { of: string; mode: string; on: string; sizes: Map<number, RawRun[]> }>()
  for (const run of runs) {
    if (run.grown === undefined) continue
    const { of, at } = run.grown
    const on = [run.subject, run.runtime, run.driver, run.variant].filter((word) => word !== '').join(' ')
    const name = JSON.stringify([of, run.mode, on])
    const growth = growths.get(name) ?? { of, mode: run.mode, on, sizes: new Map<number, RawRun[]>() }
    growths.set(name, growth)
    growth.sizes.set(at, [...(growth.sizes.get(at) ?? []), run])
  }
  return [...growths.values()].map((growth) => ({
    ...growth,
    sizes: [...growth.sizes].map(([at, same]) => ({ at, runs: same })).toSorted((a, b) => a.at - b.at),
  }))
}

function pointsOf({ sizes }: Growth, cost: (typeof costs)[number]): readonly Point[] {
  return sizes.map(({ at, runs }) => [at, spreadOf(runs.map(cost.of))?.median ?? 0] as const)
}

function fit(growth: Growth, cost: (typeof costs)[number]): Fit | undefined {
  return fitOf(pointsOf(growth, cost))
}

/** The fit, between the least and the most size; nothing where there is none. */
function curveOf(points: readonly Point[]): readonly Point[] {
  const found = fitOf(points)
  const sizes = points.map(([size]) => size).filter((size) => size > 0)
  if (found === undefined) return []
  const [least, most] = [Math.min(...sizes), Math.max(...sizes)]
  return Array.from({ length: curvePoints }, (_, i) => {
    const size = least * (most / least) ** (i / (curvePoints - 1))
    return [size, found.factor * size ** found.exponent] as const
  })
}

/** Whether sizes are so far apart that equal steps would hide most of them. */
function wide(sizes: readonly number[]): boolean {
  return Math.max(...sizes) >= 20 * Math.min(...sizes.filter((size) => size > 0))
}

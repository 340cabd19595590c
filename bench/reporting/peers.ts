import { kindsOf, type Kind } from '../kinds.ts'
import type { RawRun } from '../raw-run.ts'
import { spreadOf, spreadText } from '../spread.ts'
import { barChart } from './bar-chart.ts'
import { fileName, markdownTable, type Section } from './section.ts'

/** Tenantry beside others, by what all of them did. */
export function peersSection(runs: readonly RawRun[]): Section {
  const pictures = new Map<string, string>()
  const parts = [...Map.groupBy(runs, ({ scenario }) => scenario)].map(([scenario, same]) => {
    const kinds = [...kindsOf(same).values()].toSorted((a, b) => Number(isOurs(b)) - Number(isOurs(a)))
    if (same.some(({ disturbances }) => disturbances !== undefined)) return `### ${scenario}\n\n${survived(kinds)}`
    const { title, file } = ratePicture(scenario)
    const rates = kinds.flatMap((kind) => {
      const spread = rateOf(kind)
      return spread === undefined ? [] : [{ name: nameOf(kind), ...spread, look: isOurs(kind) ? 0 : 1 }]
    })
    pictures.set(
      file,
      barChart({
        title,
        description: `Medians, with the least and the most of several runs: ${rates.map((bar) => `${bar.name} ${Math.round(bar.median).toLocaleString('en')}`).join('; ')}.`,
        unit: 'messages a second',
        bars: rates,
      }),
    )
    return [`### ${scenario}`, `![${title}](${file})`, compared(kinds)].join('\n\n')
  })
  const method =
    'The same topic, messages and work for everybody, in turns. Where the work leaves no rows there is nothing to count what was lost by.'
  return { title: 'Beside others', text: [method, overview(runs), ...parts].join('\n\n'), pictures }
}

/** The picture of everybody's rate with one kind of work. */
export function ratePicture(scenario: string): { readonly title: string; readonly file: string } {
  return { title: `Messages a second: ${scenario}`, file: `${fileName('peers', scenario)}.svg` }
}

/** Everybody's rate with each kind of work, side by side. */
function overview(runs: readonly RawRun[]): string {
  const calm = [...kindsOf(runs.filter(({ disturbances }) => disturbances === undefined)).values()]
  const scenarios = [...new Set(calm.map(([{ scenario }]) => scenario))]
  const names = [...Map.groupBy(calm, nameOf)].toSorted(
    ([, a], [, b]) => Number(b.some(isOurs)) - Number(a.some(isOurs)),
  )
  return markdownTable(
    ['messages a second', ...scenarios],
    names.map(([name, kinds]) => [
      name,
      ...scenarios.map((scenario) => {
        const rates = kinds
          .filter(([run]) => run.scenario === scenario)
          .flatMap((kind) => kind.map((run) => run.rate_per_second))
        return spreadOf(rates)?.median.toLocaleString('en', { maximumFractionDigits: 0 }) ?? ''
      }),
    ]),
  )
}

function compared(kinds: readonly Kind<RawRun>[]): string {
  const ours = kinds.find(isOurs)
  const own = ours === undefined ? undefined : rateOf(ours)?.median
  return markdownTable(
    ['', 'runs', 'messages', 'rate/s', 'tenantry is', 'CPU s/M', 'PostgreSQL s/M', 'RSS MB', ...verdictHead],
    kinds.map((kind) => {
      const column = (of: (run: RawRun) => number, digits = 0) => spreadText(kind.map(of), digits)
      const median = rateOf(kind)?.median
      return [
        nameOf(kind),
        String(kind.length),
        column((run) => run.messages),
        column((run) => run.rate_per_second),
        own === undefined || median === undefined || isOurs(kind) ? '' : `×${(own / median).toPrecision(2)}`,
        column((run) => run.cpu_seconds_per_million, 1),
        column((run) => run.postgres_cpu_seconds_per_million, 1),
        column((run) => run.rss_peak_bytes / 1e6),
        ...verdictOf(kind),
      ]
    }),
  )
}

/** What was left when members were killed, joined and left; the rate says how long their sessions are, and no more. */
function survived(kinds: readonly Kind<RawRun>[]): string {
  return markdownTable(
    ['', 'runs', 'kills', 'the second one had its part', ...verdictHead],
    kinds.map((kind) => [
      nameOf(kind),
      String(kind.length),
      String(kind.reduce((sum, { disturbances }) => sum + (disturbances?.kills ?? 0), 0)),
      `in ${kind.filter(({ disturbances }) => disturbances?.joined === true).length}`,
      ...verdictOf(kind),
    ]),
  )
}

export const verdictHead = ['lost', 'duplicated', 'reordered']

/** What is known to have gone wrong; empty where nothing can be known. */
export function verdictOf(kind: Kind<RawRun>): readonly string[] {
  const known = kind.filter(({ checked }) => checked !== 'count')
  const column = (of: (run: RawRun) => number) => spreadText(known.map(of), 0)
  return [
    column((run) => run.lost + run.altered + run.dead_letters),
    column((run) => run.duplicated),
    column((run) => run.reordered),
  ]
}

function rateOf(kind: Kind<RawRun>) {
  return spreadOf(kind.map((run) => run.rate_per_second))
}

export function isOurs([run]: Kind<RawRun>): boolean {
  return run.subject === 'tenantry'
}

/** As it stands in tables and pictures. */
export function nameOf([{ subject, runtime, driver, variant }]: Kind<RawRun>): string {
  const words = subject === 'tenantry' ? [subject, runtime, driver, variant] : [subject]
  return words.filter((word) => word !== '').join(' ')
}

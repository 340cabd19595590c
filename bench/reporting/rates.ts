import { type Kind, kindsOf, kindText } from '../kinds.ts'
import type { RawRun } from '../raw-run.ts'
import { spreadOf, spreadText } from '../spread.ts'
import { barChart } from './bar-chart.ts'
import { verdictHead, verdictOf } from './peers.ts'
import { fileName, markdownTable, type Section } from './section.ts'

/** Runs that worked off what was there as fast as they could: rate, processor time and memory, by scenario. */
export function ratesSection(runs: readonly RawRun[]): Section {
  const kinds = [...kindsOf(runs).values()]
  const pictures = new Map<string, string>()
  const scenarios = Map.groupBy(kinds, ([run]) => run.scenario)
  const text = [...scenarios].map(([scenario, own]) => {
    const name = `${fileName('rate', scenario)}.svg`
    const title = `Messages a second: ${scenario}`
    pictures.set(
      name,
      barChart({
        title,
        description: `Medians, with the least and the most of several runs: ${own.map((kind) => `${shortName(kind[0])} ${rate(kind)}`).join('; ')}.`,
        unit: 'messages a second',
        bars: own.flatMap((kind) => {
          const spread = spreadOf(kind.map((run) => run.rate_per_second))
          return spread === undefined ? [] : [{ name: shortName(kind[0]), ...spread }]
        }),
      }),
    )
    return `### ${scenario}\n\n![${title}](${name})\n\n${tableOf(own)}`
  })
  return { title: 'Working off what is there', text: text.join('\n\n'), pictures }
}

/** A table of everything: also of runs that no picture shows. */
export function tableOf(kinds: readonly Kind<RawRun>[]): string {
  return markdownTable(
    ['run', 'runs', 'rate/s', 'CPU s/M', 'PostgreSQL s/M', 'RSS MB', 'others %', ...verdictHead],
    kinds.map((kind) => {
      const column = (of: (run: RawRun) => number, digits = 0) => spreadText(kind.map(of), digits)
      return [
        kindText(kind[0]),
        String(kind.length),
        column((run) => run.rate_per_second),
        column((run) => run.cpu_seconds_per_million, 1),
        column((run) => run.postgres_cpu_seconds_per_million, 1),
        column((run) => run.rss_peak_bytes / 1e6),
        column((run) => run.other_cpu_share * 100),
        ...verdictOf(kind),
      ]
    }),
  )
}

function rate(kind: Kind<RawRun>): string {
  return `${spreadText(
    kind.map((run) => run.rate_per_second),
    0,
  )}/s`
}

function shortName({ subject, runtime, driver, variant, mode }: RawRun): string {
  return [subject === 'tenantry' ? `${runtime} ${driver}` : subject, mode, variant]
    .filter((word) => word !== '' && word !== 'none')
    .join(', ')
}

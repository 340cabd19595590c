import { TenantryError } from '../../core/errors.ts'
import { type Kind, kindsOf } from '../kinds.ts'
import type { RawRun } from '../raw-run.ts'
import { spreadOf, spreadText } from '../spread.ts'
import { isOurs, nameOf, ratePicture } from './peers.ts'
import { markdownTable } from './section.ts'
import { sortsOf } from './sorts.ts'

const [begin, end] = ['<!-- from bench report -->', '<!-- end of bench report -->']

/** The columns of the first table, as far as there are runs of them; the picture is of the first. */
const works = [
  ['transaction, 1,000 keys', 'a transaction a message'],
  ['batch, 1,000 keys', 'the best batch by hand'],
  ['nothing, 1,000 keys', 'nothing at all'],
  ['wait, 100 keys', 'a wait of 5 ms, 100 keys'],
  ['waits, 1,000 keys', 'five waits of 4 ms'],
  ['http, 1,000 keys', 'an HTTP call'],
] as const

/** Those of the second. */
const rowWorks = [
  ['transaction, 1,000 keys', 'a transaction, calm'],
  ['transaction, 1,000 keys, disturbed', 'a transaction, disturbed'],
  ['batch, 1,000 keys, disturbed', 'a batch, disturbed'],
  ['row, 1,000 keys, disturbed', 'a row without a key, disturbed'],
] as const

type Column = readonly [scenario: string, name: string]

/**
 * A page with what stands between its marks written anew from a report's runs: a picture, the rates beside peers, and
 * what each of them got wrong. `folder` is where the report is, as seen from the page. Throws TENANTRY_USAGE when the page
 * has no marks, or the runs are not of peers.
 */
export function withFigures(page: string, runs: readonly RawRun[], folder: string): string {
  const [from, to] = [page.indexOf(begin), page.indexOf(end)]
  if (from < 0 || to < from)
    throw new TenantryError('TENANTRY_USAGE', `The page has no part from "${begin}" to "${end}".`)
  return [page.slice(0, from + begin.length), figures(runs, folder), page.slice(to)].join('\n\n')
}

function figures(all: readonly RawRun[], folder: string): string {
  const runs = sortsOf(all).get('peers') ?? []
  const kinds = [...kindsOf(runs).values()]
  const names = [...Map.groupBy(kinds, nameOf)]
    .map(([name, own]) => ({ name, own, ours: own.some(isOurs) }))
    .toSorted((a, b) => Number(b.ours) - Number(a.ours))
  const has = ([scenario]: Column) => runs.some((run) => run.scenario === scenario)
  const [shown, checked] = [works.filter(has), rowWorks.filter(has)]
  const [first] = shown
  if (first === undefined)
    throw new TenantryError('TENANTRY_USAGE', 'The runs are not of `bench peers`: the page stays as it is.')
  const tableOf = (columns: readonly Column[], cell: (kind: Kind<RawRun>) => string) =>
    markdownTable(
      ['', ...columns.map(([, name]) => name)],
      names.flatMap(({ name, own, ours }) => {
        const cells = columns.map(([scenario]) => {
          const kind = own.find(([run]) => run.scenario === scenario)
          return kind === undefined ? '' : cell(kind)
        })
        return cells.every((text) => text === '') ? [] : [[ours ? `**${name}**` : name, ...cells]]
      }),
    )
  const { title, file } = ratePicture(first[0])
  return [
    `![${title}](${folder}/${file})`,
    'Messages a second, and resident memory:',
    tableOf(shown, (kind) => `${median(kind, (run) => run.rate_per_second)}, ${median(kind, megabytes)} MB`),
    ...(checked.length === 0
      ? []
      : [
          'Lost / duplicated / reordered, counted from the rows; disturbed is killed twice, while a second one joins and leaves:',
          tableOf(checked, wrong),
        ]),
    source(runs, kinds, folder),
  ].join('\n\n')
}

/** What the figures are of, and where the rest is. */
function source(runs: readonly RawRun[], kinds: readonly Kind<RawRun>[], folder: string): string {
  const times = runs.map(({ at }) => at.slice(0, 10)).toSorted()
  const days = [...new Set([times[0], times.at(-1)])].join(' to ')
  const ours = runs.find(({ subject }) => subject === 'tenantry') ?? runs[0]
  const counts = kinds.map((kind) => kind.length)
  const [least, most] = [Math.min(...counts), Math.max(...counts)]
  const sizes = most === 1 ? 'One run' : `Medians of ${least === most ? '' : `${least} to `}${most} runs`
  return `${sizes} each, in turns; ${String(ours?.machine['cores'])} cores (${String(ours?.machine['processor'])}) for everything, ${days}, commit ${String(ours?.versions['commit'])}. [All figures, their spread, versions and settings](${folder}/README.md), from which \`npm run bench -- report ${folder}/runs.json --out ${folder} --readme README.md\` has written this part.`
}

function median(kind: Kind<RawRun>, of: (run: RawRun) => number): string {
  return spreadOf(kind.map(of))?.median.toLocaleString('en', { maximumFractionDigits: 0 }) ?? ''
}

function megabytes(run: RawRun): number {
  return run.rss_peak_bytes / 1e6
}

/** Empty where there were no rows to count by. */
function wrong(kind: Kind<RawRun>): string {
  const known = kind.filter(({ checked }) => checked !== 'count')
  const figures = [
    (run: RawRun) => run.lost + run.altered + run.dead_letters,
    (run: RawRun) => run.duplicated,
    (run: RawRun) => run.reordered,
  ]
  return known.length === 0 ? '' : figures.map((of) => spreadText(known.map(of), 0)).join(' / ')
}

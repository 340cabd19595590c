import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { kindsOf } from '../kinds.ts'
import type { RawRun } from '../raw-run.ts'
import { isRight } from '../run.ts'
import { faultsSection } from './faults.ts'
import { growthSection } from './growth.ts'
import { highestSection } from './highest.ts'
import { isolationSection } from './isolation.ts'
import { latenciesSection } from './latencies.ts'
import { othersSection } from './others.ts'
import { peersSection } from './peers.ts'
import { ratesSection, tableOf } from './rates.ts'
import { markdownTable, type Section, type SectionOf } from './section.ts'
import { type Sort, sortsOf } from './sorts.ts'
import { stressSection } from './stress.ts'

/** In the order in which the report has them. */
const sections: readonly (readonly [Sort, SectionOf])[] = [
  ['peers', peersSection],
  ['rates', ratesSection],
  ['latency', latenciesSection],
  ['highest rate', highestSection],
  ['isolation', isolationSection],
  ['faults', faultsSection],
  ['stress', stressSection],
  ['growth', growthSection],
  ['others', othersSection],
]

/** What the columns are that several tables have. */
const columns = [
  ['rate/s', 'messages from the end of the warm-up to the last commit, by the second'],
  ['CPU s/M', "seconds of processor time of the consumer's process for a million messages"],
  ['PostgreSQL s/M', 'the same of all processes of PostgreSQL'],
  ['RSS MB', "the most memory that the consumer's process had resident"],
  [
    'others %',
    "of the machine's processor time, what was neither the consumer's, PostgreSQL's nor the brokers': the bench, and whatever else ran",
  ],
  [
    'lost, duplicated, reordered',
    'by comparison of what was left with all messages; empty where the work leaves nothing',
  ],
] as const

/** The report's files, by name: Markdown, its pictures, and all raw runs. `note` comes before everything. */
export function reportFiles(runs: readonly RawRun[], note?: string): ReadonlyMap<string, string> {
  const sorts = sortsOf(runs)
  const made = [
    ...sections.flatMap(([sort, section]) => {
      const own = sorts.get(sort)
      return own === undefined ? [] : [section(own)]
    }),
    everything(runs),
  ]
  const text = [
    '# Bench report',
    ...(note === undefined ? [] : [`**${note}**`]),
    summary(runs),
    ...made.map(({ title, text: own }) => `## ${title}\n\n${own}`),
    'All runs with their settings are in [runs.json](runs.json). Two such files are compared by `npm run bench -- compare`.',
  ].join('\n\n')
  return new Map([
    ['README.md', `${text}\n`],
    ...made.flatMap(({ pictures }) => [...pictures]),
    ['runs.json', rawRuns(runs)],
  ])
}

/** Writes them into a folder, which is made. */
export function writeReport(folder: string, runs: readonly RawRun[], note?: string): void {
  mkdirSync(folder, { recursive: true })
  for (const [name, content] of reportFiles(runs, note)) writeFileSync(join(folder, name), content)
}

function summary(runs: readonly RawRun[]): string {
  const times = runs.map(({ at }) => at).toSorted()
  const ours = runs.filter(({ subject }) => subject === 'tenantry')
  const wrong = ours.filter((run) => !isRight(run)).length
  const verdict =
    wrong === 0
      ? `In none of tenantry's ${ours.length} anything was lost, doubled or reordered.`
      : `**In ${wrong} of tenantry's ${ours.length} something was lost, doubled, reordered or given up.**`
  const facts = [...distinct(runs, machineOf), ...distinct(runs, versionsOf)].map((fact) => [
    Object.entries(fact)
      .map(([name, value]) => `${name} ${String(value)}`)
      .join(', '),
  ])
  return [
    `${runs.length} runs from ${times[0] ?? 'never'} to ${times.at(-1) ?? 'never'}. ${verdict} Figures are medians, with the least and the most of several runs.`,
    markdownTable(['machine and versions'], facts),
    markdownTable(['column', 'what it is'], columns),
  ].join('\n\n')
}

/** A run a line: small, and what changed between two reports can be seen. */
function rawRuns(runs: readonly RawRun[]): string {
  const line = (value: unknown) => JSON.stringify(value)
  return `{
"machines": ${line(distinct(runs, machineOf))},
"versions": ${line(distinct(runs, versionsOf))},
"runs": [
${runs.map(line).join(',\n')}
]
}
`
}

/** Every run with what it costs, and what went wrong in it. */
function everything(runs: readonly RawRun[]): Section {
  return { title: 'All runs', text: tableOf([...kindsOf(runs).values()]), pictures: new Map() }
}

/** Load is the moment's, and not the machine's. */
function machineOf({ machine }: RawRun): Readonly<Record<string, unknown>> {
  const { load: _, ...machineItself } = machine
  return machineItself
}

function versionsOf({ versions }: RawRun): Readonly<Record<string, unknown>> {
  return versions
}

function distinct(
  runs: readonly RawRun[],
  of: (run: RawRun) => Readonly<Record<string, unknown>>,
): readonly Readonly<Record<string, unknown>>[] {
  return [...new Map(runs.map((run) => [JSON.stringify(of(run)), of(run)])).values()]
}

import { table } from '../../cli/output.ts'
import type { ChaosReport } from './run.ts'

const shownFindings = 30

/** Whether a run has shown nothing that should not be. */
export function isClean({ verdict, findings }: ChaosReport): boolean {
  const { lost, duplicated, reordered, invented } = verdict
  return lost + duplicated + reordered + invented + verdict.findings.length + findings.length === 0
}

/** What a run did and found, for people. */
export function textOf(report: ChaosReport): string {
  const { verdict, injected, most } = report
  const byName = Map.groupBy(injected, ({ name }) => name)
  const rows = [...byName]
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([name, of]) => [
      name,
      String(of.length),
      shown(Math.min(...of.map(({ recoveryMs }) => recoveryMs))),
      shown(Math.max(...of.map(({ recoveryMs }) => recoveryMs))),
    ])
  const found = foundIn(report)
  return [
    table([['fault', 'times', 'fastest recovery', 'slowest recovery'], ...rows]),
    '',
    table([
      ['seed', report.seed],
      ['daemons', report.daemons.join(', ')],
      ['faults', String(injected.length)],
      ['messages', verdict.records.toLocaleString('en')],
      ['lost', String(verdict.lost)],
      ['duplicated', String(verdict.duplicated)],
      ['reordered', String(verdict.reordered)],
      ['invented', String(verdict.invented)],
      ['slowest recovery', shown(slowestMs(report))],
      ['most new connections a second', String(most.connectionsPerSecond)],
      ['most log a second', `${Math.round(most.logBytesPerSecond / 1_000)} kB`],
      ['most resident memory', `${most.residentMiB} MiB`],
    ]),
    ...(found.length > 0 ? ['', 'Findings:', ...found.map((finding) => `- ${finding}`)] : []),
  ].join('\n')
}

/** The same as one object. */
export function objectOf(report: ChaosReport) {
  const { verdict, injected } = report
  return {
    seed: report.seed,
    messages: verdict.records,
    faults: injected.length,
    lost: verdict.lost,
    duplicated: verdict.duplicated,
    reordered: verdict.reordered,
    invented: verdict.invented,
    slowest_recovery_ms: slowestMs(report),
    findings: foundIn(report),
  }
}

/** The first ones: what is lost may be thousands. */
function foundIn({ findings, verdict }: ChaosReport): readonly string[] {
  const all = [...findings, ...verdict.findings]
  return all.length <= shownFindings ? all : [...all.slice(0, shownFindings), `and ${all.length - shownFindings} more`]
}

function slowestMs({ injected }: ChaosReport): number {
  return Math.max(0, ...injected.map(({ recoveryMs }) => recoveryMs))
}

function shown(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`
}

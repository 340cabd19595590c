import { table } from '../cli/output.ts'
import { labelOf } from './configuration.ts'
import type { Run } from './run.ts'
import type { Sickness } from './sick-tenant.ts'

/** What others paid for a sick tenant, may be; the bars of the project. */
const bars = { p99: 1.2, memory: 1.1 } as const

/** Each run beside a calm one of the same actor: medians of both. Runs without a calm one are left out. */
export function besideCalm(runs: readonly Run[], sicknesses: readonly Sickness[]): string {
  const sickness = new Map(sicknesses.map((each) => [each.name, each]))
  const kinds = Map.groupBy(runs, (run) => JSON.stringify([run.scenario, run.mode, labelOf(run)]))
  const rows = [...kinds.values()].flatMap((same) => {
    const [first] = same
    const own = first === undefined ? undefined : sickness.get(first.scenario)
    if (first === undefined || own === undefined || own.kind === 'calm') return []
    const calm = runs.filter((run) => {
      const other = sickness.get(run.scenario)
      return (
        other?.kind === 'calm' &&
        other.actor === own.actor &&
        run.mode === first.mode &&
        labelOf(run) === labelOf(first)
      )
    })
    if (calm.length === 0) return []
    const ratio = (of: (run: Run) => number, bar: number) => {
      const value = median(same.map(of)) / median(calm.map(of))
      return `${value.toFixed(2)}${value <= bar ? '' : ` (over ${bar})`}`
    }
    return [
      [
        first.scenario,
        first.mode,
        labelOf(first),
        ratio((run) => run.latency_ms?.p99 ?? Number.NaN, bars.p99),
        ratio((run) => run.rss_peak_bytes, bars.memory),
        String(Math.max(...same.map((run) => run.longest_standstill_ms ?? 0))),
      ],
    ]
  })
  const head = ['BESIDE CALM', 'MODE', 'ON', 'P99', 'MEMORY', 'LONGEST STANDSTILL MS']
  return rows.length === 0 ? 'No calm run to compare with.' : table([head, ...rows])
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const half = Math.floor(sorted.length / 2)
  const upper = sorted[half] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[half - 1] ?? Number.NaN)) / 2
}

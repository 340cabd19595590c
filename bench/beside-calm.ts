import { table } from '../cli/output.ts'
import { labelOf } from './configuration.ts'
import { type Kind, kindsOf } from './kinds.ts'
import type { RawRun } from './raw-run.ts'
import type { Run } from './run.ts'
import { sicknesses } from './sick-tenant.ts'
import { spreadOf } from './spread.ts'

/** What others paid for a sick tenant, may be; the bars of the project. */
export const bars = { p99: 1.2, memory: 1.1 } as const

/** By name, those of low rates and of high ones. */
const known = new Map([0, 1e9].flatMap(sicknesses).map((each) => [each.name, each]))

/** Runs of one kind as multiples of a calm one's: medians of both. */
export type BesideCalm<R> = {
  readonly kind: Kind<R>
  readonly p50: number
  readonly p99: number
  readonly memory: number
  readonly longest_standstill_ms: number
}

/** Whether a scenario is one of those with a sick tenant, or the calm one beside them. */
export function isIsolation(scenario: string): boolean {
  return known.has(scenario)
}

/** Each kind of run with a sick tenant beside the calm one of the same actor. Those without a calm one are left out. */
export function besideCalm<R extends Run | RawRun>(runs: readonly R[]): readonly BesideCalm<R>[] {
  return [...kindsOf(runs).values()].flatMap((kind) => {
    const [first] = kind
    const own = known.get(first.scenario)
    if (own === undefined || own.kind === 'calm') return []
    const calm = runs.filter((run) => {
      const other = known.get(run.scenario)
      return (
        other?.kind === 'calm' &&
        other.actor === own.actor &&
        run.mode === first.mode &&
        labelOf(run) === labelOf(first) &&
        run.offered_per_second === first.offered_per_second
      )
    })
    if (calm.length === 0) return []
    const ratio = (of: (run: R) => number | null | undefined) => median(kind, of) / median(calm, of)
    return [
      {
        kind,
        p50: ratio((run) => run.latency_ms?.p50),
        p99: ratio((run) => run.latency_ms?.p99),
        memory: ratio((run) => run.rss_peak_bytes),
        longest_standstill_ms: Math.max(...kind.map((run) => run.longest_standstill_ms ?? 0)),
      },
    ]
  })
}

/** The same as a table. */
export function besideCalmText(runs: readonly Run[]): string {
  const rows = besideCalm(runs).map(({ kind: [run], p50, p99, memory, longest_standstill_ms: standstill }) => [
    run.scenario,
    run.mode,
    labelOf(run),
    p50.toFixed(2),
    ratioText(p99, bars.p99),
    ratioText(memory, bars.memory),
    String(standstill),
  ])
  const head = ['BESIDE CALM', 'MODE', 'ON', 'P50', 'P99', 'MEMORY', 'LONGEST STANDSTILL MS']
  return rows.length === 0 ? 'No calm run to compare with.' : table([head, ...rows])
}

/** A ratio, and whether it is over its bar. */
export function ratioText(ratio: number, bar: number): string {
  return `${ratio.toFixed(2)}${ratio <= bar ? '' : ` (over ${bar})`}`
}

function median<R>(runs: readonly R[], of: (run: R) => number | null | undefined): number {
  return spreadOf(runs.flatMap((run) => of(run) ?? []))?.median ?? Number.NaN
}

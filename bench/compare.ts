import { type Kind, kindsOf, kindText } from './kinds.ts'
import type { RawRun } from './raw-run.ts'
import { rankTest } from './rank-test.ts'
import { wrongIn } from './run.ts'
import { spreadOf } from './spread.ts'

/** A figure of runs, and by how much two of them differ for no reason. */
type Metric = {
  readonly name: string
  readonly better: 'less' | 'more'
  /** Share by which single runs must differ to say something. */
  readonly tolerance: number
  of(run: RawRun): number | null | undefined
}

const metrics: readonly Metric[] = [
  {
    name: 'rate/s',
    better: 'more',
    tolerance: 0.1,
    // A rate that was offered says nothing about the subject.
    of: (run) => (run.offered_per_second === undefined ? run.rate_per_second : undefined),
  },
  {
    name: 'highest rate/s',
    better: 'more',
    tolerance: 0.15,
    of: (run) => (run.search === undefined ? undefined : run.objectives_held === true ? run.offered_per_second : 0),
  },
  {
    name: 'worked off after s',
    better: 'less',
    tolerance: 0.2,
    of: ({ backlog }) => backlog && orNever(backlog.drain_seconds),
  },
  {
    name: 'recovered after s',
    better: 'less',
    tolerance: 0.4,
    of: ({ recovery }) => recovery && Math.max(...recovery.map((step) => orNever(step.recovered_seconds))),
  },
  { name: 'CPU s/M', better: 'less', tolerance: 0.1, of: (run) => run.cpu_seconds_per_million },
  { name: 'PostgreSQL s/M', better: 'less', tolerance: 0.1, of: (run) => run.postgres_cpu_seconds_per_million },
  { name: 'RSS bytes', better: 'less', tolerance: 0.1, of: (run) => run.rss_peak_bytes },
  { name: 'p50 ms', better: 'less', tolerance: 0.25, of: (run) => atSameRate(run)?.p50 },
  { name: 'p99 ms', better: 'less', tolerance: 0.4, of: (run) => atSameRate(run)?.p99 },
  { name: 'start ms', better: 'less', tolerance: 0.2, of: (run) => run.start_ms },
  { name: 'parking s', better: 'less', tolerance: 0.2, of: (run) => run.parking_seconds },
  { name: 'feeding s', better: 'less', tolerance: 0.2, of: (run) => run.feeding_seconds },
  { name: 'bytes/warm tenant', better: 'less', tolerance: 0.1, of: (run) => run.heap?.bytes_per_warm_tenant },
]

/** A search ends at a rate of its own: latency there says nothing. */
function atSameRate(run: RawRun) {
  return run.search === undefined ? run.latency_ms : undefined
}

/** What did not come to pass took longer than anything. */
function orNever(seconds: number | null | undefined): number {
  return seconds ?? Number.POSITIVE_INFINITY
}

/** From so many runs on either side a rank test decides: fewer than five cannot reach its level. */
export const rankTestFrom = 5
/** How often the rank test may call noise a change. */
export const level = 0.01
/** Share below which a change is no matter, however sure it is. */
export const smallest = 0.02

export type Change = {
  readonly kind: string
  readonly metric: string
  readonly before: number
  readonly after: number
  readonly runs: readonly [before: number, after: number]
  readonly by: 'rank test' | 'ranges' | 'tolerance' | 'count'
  readonly verdict: 'better' | 'worse' | 'same'
}

export type Comparison = {
  readonly changes: readonly Change[]
  /** Kinds that only one side has run. */
  readonly onlyBefore: readonly string[]
  readonly onlyAfter: readonly string[]
}

/** What is different in `after`, and whether it is more than runs of the same thing differ. */
export function compare(before: readonly RawRun[], after: readonly RawRun[]): Comparison {
  const [old, fresh] = [kindsOf(before), kindsOf(after)]
  const only = (one: typeof old, other: typeof old) =>
    [...one].flatMap(([name, [run]]) => (other.has(name) ? [] : kindText(run)))
  return {
    changes: [...old].flatMap(([name, kind]) => {
      const pair = fresh.get(name)
      return pair === undefined ? [] : changesOf(kind, pair)
    }),
    onlyBefore: only(old, fresh),
    onlyAfter: only(fresh, old),
  }
}

function changesOf(before: Kind<RawRun>, after: Kind<RawRun>): readonly Change[] {
  const kind = kindText(before[0])
  const measured = metrics.flatMap((metric) => {
    const [a, b] = [valuesOf(before, metric), valuesOf(after, metric)]
    const [old, fresh] = [spreadOf(a), spreadOf(b)]
    if (old === undefined || fresh === undefined) return []
    const { by, sure } = judge(metric, a, b)
    const improved = metric.better === 'less' ? fresh.median < old.median : fresh.median > old.median
    const verdict = sure ? (improved ? 'better' : 'worse') : 'same'
    const change: Change = {
      kind,
      metric: metric.name,
      before: old.median,
      after: fresh.median,
      runs: [a.length, b.length],
      by,
      verdict,
    }
    return [change]
  })
  // What others lose when they are killed is as chance has it; of ours nothing may be.
  return before[0].subject === 'tenantry' ? [...measured, wrongOf(kind, before, after)] : measured
}

/** Whether two samples differ beyond noise, and what says so. */
function judge({ tolerance }: Metric, a: readonly number[], b: readonly number[]) {
  const [old, fresh] = [spreadOf(a), spreadOf(b)]
  if (old === undefined || fresh === undefined) return { by: 'tolerance', sure: false } as const
  const share = old.median === 0 ? (fresh.median === 0 ? 0 : 1) : Math.abs(fresh.median / old.median - 1)
  if (Math.min(a.length, b.length) >= rankTestFrom)
    return { by: 'rank test', sure: share >= smallest && rankTest(a, b) <= level } as const
  if (Math.min(a.length, b.length) > 1) {
    const apart = old.most < fresh.least || fresh.most < old.least
    return { by: 'ranges', sure: apart && share >= tolerance / 2 } as const
  }
  return { by: 'tolerance', sure: share >= tolerance } as const
}

/** What was lost, doubled, reordered or given up is never noise. */
function wrongOf(kind: string, before: Kind<RawRun>, after: Kind<RawRun>): Change {
  const wrong = (runs: Kind<RawRun>) => runs.reduce((sum, run) => sum + wrongIn(run), 0)
  const [old, fresh] = [wrong(before), wrong(after)]
  return {
    kind,
    metric: 'messages gone wrong',
    before: old,
    after: fresh,
    runs: [before.length, after.length],
    by: 'count',
    verdict: fresh > old ? 'worse' : fresh < old ? 'better' : 'same',
  }
}

function valuesOf(runs: readonly RawRun[], metric: Metric): readonly number[] {
  return runs.flatMap((run) => metric.of(run) ?? [])
}

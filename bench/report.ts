import { labelOf } from './configuration.ts'
import { kindsOf } from './kinds.ts'
import { table } from '../cli/output.ts'
import type { Run } from './run.ts'
import { spreadText } from './spread.ts'

/** A table of all runs, those of one kind together: the median, and where there are several, the least and the most. */
export function reportOf(runs: readonly Run[]): string {
  const latency = runs.some(({ latency_ms }) => latency_ms)
  const starts = runs.some(({ start_ms }) => start_ms !== undefined)
  const heaps = runs.some(({ heap }) => heap)
  const head = [
    'SCENARIO',
    'MODE',
    'ON',
    'RUNS',
    'MESSAGES',
    ...(latency
      ? ['OFFERED/S', 'P50 MS', 'P99 MS', 'P99.9 MS', 'P99.99 MS', 'MAX MS', 'OBJECTIVES']
      : starts
        ? ['START MS']
        : ['RATE/S', 'FROM START/S', 'MB/S']),
    ...(heaps ? ['BYTES/TENANT', 'BYTES/WARM TENANT'] : []),
    'CPU S/M',
    'POSTGRES S/M',
    'BROKER S/M',
    'RSS MB',
    'OTHERS %',
    'LOST',
    'DUPLICATED',
    'REORDERED',
  ]
  const beside = runs.some(({ subject }) => subject !== 'tenantry')
  const rows = [...kindsOf(runs).values()].map((same) => {
    const [{ scenario, grown, mode, subject }] = same
    const label = labelOf(same[0])
    const spread = (of: (run: Run) => number | null | undefined, digits = 0) =>
      spreadText(
        same.flatMap((run) => of(run) ?? []),
        digits,
      )
    return [
      grown === undefined ? scenario : `${scenario}, ${grown.of} ${grown.at.toLocaleString('en')}`,
      mode,
      subject === 'tenantry' ? `${beside ? 'tenantry, ' : ''}${label}` : subject,
      String(same.length),
      spread(({ messages }) => messages),
      ...(latency
        ? [
            spread(({ offered_per_second: offered }) => offered),
            spread(({ latency_ms: ms }) => ms?.p50, 1),
            spread(({ latency_ms: ms }) => ms?.p99, 1),
            spread(({ latency_ms: ms }) => ms?.p999, 1),
            spread(({ latency_ms: ms }) => ms?.p9999, 1),
            spread(({ latency_ms: ms }) => ms?.max, 1),
            judgement(same),
          ]
        : starts
          ? [spread(({ start_ms: ms }) => ms)]
          : [
              spread((run) => run.rate_per_second),
              spread((run) => run.rate_from_start_per_second),
              spread((run) => run.megabytes_per_second, 1),
            ]),
      ...(heaps
        ? [spread(({ heap }) => heap?.bytes_per_tenant), spread(({ heap }) => heap?.bytes_per_warm_tenant)]
        : []),
      spread((run) => run.cpu_seconds_per_million, 1),
      spread((run) => run.postgres_cpu_seconds_per_million, 1),
      spread((run) => run.broker_cpu_seconds_per_million, 1),
      spread((run) => run.rss_peak_bytes / 1e6),
      spread((run) => run.other_cpu_share * 100),
      spread((run) => (run.checked !== 'count' ? run.lost + run.altered + run.dead_letters : null)),
      spread((run) => (run.checked !== 'count' ? run.duplicated : null)),
      spread((run) => (run.checked !== 'count' ? run.reordered : null)),
    ]
  })
  return table([head, ...rows])
}

/** Whether the objectives held in all of them. */
function judgement(runs: readonly Run[]): string {
  const judged = runs.flatMap(({ objectives_held: held }) => held ?? [])
  if (judged.length === 0) return ''
  const held = judged.filter(Boolean).length
  return held === judged.length ? 'held' : held === 0 ? 'missed' : `missed in ${judged.length - held}`
}

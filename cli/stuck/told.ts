import type { StuckPartition, StuckQuery, StuckReport, StuckTenant } from '../../core/stuck-report.ts'
import { systemClock } from '../../core/clock.ts'
import { formatDuration } from '../../core/config/units.ts'
import { counted, table, visible } from '../output.ts'
import type { Answer } from './daemons.ts'
import type { Recorded, RecordedTenant } from './recorded.ts'

/** A daemon's report for people. */
export function toldDaemon({ url, report }: Answer, { tenant, longerThanMs }: StuckQuery): string {
  const { reasons, assigned, tenants, moreTenants, partitions, morePartitions } = report
  const found = tenants.length + moreTenants
  const whose =
    tenant === undefined
      ? `${counted(found, 'tenant')} with records that wait for longer than ${formatDuration(longerThanMs)}.`
      : `Tenant ${visible(tenant)} has unfinished records in ${counted(found, 'partition')}.`
  const ready = reasons.length === 0 ? 'ready' : `not ready: ${reasons.map(visible).join('; ')}`
  const rows = tenants.map((one) => tenantRow(one, report))
  const partitionRows = partitions.map(partitionRow)
  return [
    `Daemon at ${url}, with ${counted(assigned, 'partition')}, ${ready}.`,
    whose,
    ...(rows.length > 0 ? [table([['TENANT', 'GROUP', 'PARTITION', 'OFFSET', 'FOR', 'WAITS FOR'], ...rows])] : []),
    ...(moreTenants > 0 ? [`… and ${moreTenants} more: raise --limit.`] : []),
    ...(partitionRows.length > 0
      ? ['', table([['PARTITION', 'GROUP', 'PHASE', 'WATERMARK', 'FOR', 'WHY'], ...partitionRows])]
      : []),
    ...(morePartitions > 0 ? [`… and ${morePartitions} more partitions.`] : []),
  ].join('\n')
}

/** What the tables know, for people. */
export function toldRecorded({ tenants, moreTenants }: Recorded): string {
  const now = systemClock.now()
  return [
    `${counted(tenants.length + moreTenants, 'tenant')} with records that wait.`,
    ...(tenants.length > 0
      ? [
          table([
            ['TENANT', 'GROUP', 'PARTITION', 'OFFSET', 'FOR', 'WHAT'],
            ...tenants.map((one) => recordedRow(one, now)),
          ]),
        ]
      : []),
    ...(moreTenants > 0 ? [`… and ${moreTenants} more: raise --limit.`] : []),
  ].join('\n')
}

function tenantRow(one: StuckTenant, { at }: StuckReport): string[] {
  const { tenant, group, topic, partition, oldest, stuckForMs, parked, attempts, lastError } = one
  const facts = [
    waits(one, Date.parse(at)),
    ...(attempts > 0 ? [`${counted(attempts, 'attempt')} failed`] : []),
    ...(lastError !== null && lastError !== one.reason ? [`last error ${visible(lastError)}`] : []),
    ...(parked > 0 ? [`${parked} parked`] : []),
  ]
  const offset = oldest === null ? '' : String(oldest.offset)
  return [visible(tenant), group, `${topic}-${partition}`, offset, span(stuckForMs), facts.join('; ')]
}

function waits({ waitsFor, reason, until, forMs, worker }: StuckTenant, at: number): string {
  const why = reason === '' ? '' : `: ${visible(reason)}`
  const when = until === null ? '' : ` in ${span(Math.max(0, Date.parse(until) - at))}`
  const where = worker === null ? '' : ` on worker ${worker}`
  const words: Readonly<Record<string, string>> = {
    retry: `tried again${when}${why}`,
    held: `held, tried again${when}${why}`,
    dependency: `a circuit breaker${until === null ? '' : `, next probe${when}`}${why}`,
    blocked: `blocked${why}`,
    running: `runs${where}${forMs === null ? '' : ` for ${span(forMs)}`}${why}`,
    turn: `a turn${where}${why}`,
    state: `its state, which is to be read${why}`,
    commit: `its commit${why}`,
    parked: `parked${why}`,
    handover: `another daemon${why}`,
  }
  return words[waitsFor] ?? `${visible(waitsFor)}${when}${why}`
}

function partitionRow({ topic, partition, group, phase, paused, watermark, forMs, reason, holder }: StuckPartition) {
  const why = [
    ...(reason === '' ? [] : [visible(reason)]),
    ...(holder === null
      ? []
      : [`held by ${visible(holder.tenant)}, offset ${holder.offset}, here for ${span(holder.hereForMs)}`]),
  ]
  const state = paused ? `${phase}, paused` : phase
  return [`${topic}-${partition}`, group, state, String(watermark), span(forMs), why.join('; ')]
}

function recordedRow(one: RecordedTenant, now: number): string[] {
  const { tenant, group, topic, partition, offset, since, parked, attempts, retryAt, lastError } = one
  const facts = [
    ...(parked > 0 ? [`${parked} parked`] : []),
    ...(attempts > 0 ? [`${counted(attempts, 'attempt')} failed`] : []),
    ...(lastError === null ? [] : [`last error ${visible(lastError)}`]),
    ...(retryAt === null ? [] : [`tried again at ${retryAt}`]),
  ]
  const waited = span(Math.max(0, now - Date.parse(since)))
  return [visible(tenant), group, `${topic}-${partition}`, String(offset), waited, facts.join('; ')]
}

const units = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
] as const

/** `0ms`, `350ms`, `7s`, `3m20s`, `2h5m`, `3d4h`: two units from seconds on, rounded down. */
function span(ms: number): string {
  const first = units.findIndex(([, size]) => ms >= size)
  if (first < 0) return `${Math.floor(ms)}ms`
  let rest = ms
  return units
    .slice(first, first + 2)
    .map(([unit, size]) => {
      const whole = Math.floor(rest / size)
      rest -= whole * size
      return whole > 0 ? `${whole}${unit}` : ''
    })
    .join('')
}

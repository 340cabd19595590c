import { z } from 'zod'
import { TenantryError } from '../../core/errors.ts'
import type { PartitionOffset } from '../../core/kafka/source.ts'
import type { Reset } from '../../core/postgres/resets.ts'
import type { Place } from './place.ts'
import type { Servers } from './servers.ts'

/** Where to: an end of the log, an offset, or the first record of a time in ms or after it. */
export type To = 'earliest' | 'latest' | { readonly offset: number } | { readonly time: number }

const time = z.iso.datetime({ offset: true })

/** Of a text such as `earliest`, `1200` or `2026-11-01T00:00:00Z`; undefined for any other. */
export function parseTo(text: string): To | undefined {
  if (text === 'earliest' || text === 'latest') return text
  if (/^\d{1,15}$/.test(text)) return { offset: Number(text) }
  return time.safeParse(text).success ? { time: Date.parse(text) } : undefined
}

/** The position in each partition, in its log. Throws TENANTRY_OFFSETS_RANGE for one that the log does not have. */
export async function targetsOf({ cluster }: Servers, place: Place, to: To): Promise<Reset['targets']> {
  const partitions = place.partitions.map((partition) => ({ topic: place.topic, partition }))
  const times =
    typeof to === 'object' && 'time' in to ? byPartition(await cluster.offsetsAt(partitions, to.time)) : undefined
  const ranges = new Map((await cluster.range(partitions)).map((range) => [range.partition, range]))
  return place.partitions.map((partition) => {
    const { start, end } = ranges.get(partition) ?? { start: 0, end: 0 }
    if (to === 'earliest') return { partition, position: start, logEnd: end }
    if (to === 'latest') return { partition, position: end, logEnd: end }
    // What is after the last stable record is no position yet.
    const position = 'offset' in to ? to.offset : Math.min(times?.get(partition) ?? end, end)
    if (position < start || position > end) throw outside(place, partition, position, { start, end })
    return { partition, position, logEnd: end }
  })
}

function byPartition(offsets: readonly PartitionOffset[]): ReadonlyMap<number, number> {
  return new Map(offsets.map(({ partition, offset }) => [partition, offset]))
}

function outside(
  { topic }: Place,
  partition: number,
  position: number,
  { start, end }: { readonly start: number; readonly end: number },
): TenantryError {
  return new TenantryError(
    'TENANTRY_OFFSETS_RANGE',
    `Offset ${position} is outside the log of ${topic}-${partition}, which goes from ${start} to ${end}: use earliest or latest, or one of these.`,
    { topic, partition, position, start, end },
  )
}

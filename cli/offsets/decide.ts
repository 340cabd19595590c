import { randomUUID } from 'node:crypto'
import type postgres from 'postgres'
import { TenantryError } from '../../core/errors.ts'
import { type Decider, ignoreOffset, type Move, type Reset, resetOffsets } from '../../core/postgres/resets.ts'
import { lookAt, type PartitionOffsets } from './look.ts'
import type { Place } from './place.ts'
import { targetsOf } from './position.ts'
import type { Servers } from './servers.ts'

/** What is to be done with what lies between a partition's position and the new one. */
export type Between = { readonly rerun: boolean; readonly dropParked: boolean }

export type Wanted = Between & Pick<Decider, 'by' | 'reason'>

/** A reset as it is to be done, and what it would do now. */
export type Planned = { readonly reset: Reset; readonly moves: readonly Move[] }

/** What a reset to these positions would do, as of now. Changes nothing. */
export async function plan(
  { sql }: Servers,
  place: Place,
  targets: Reset['targets'],
  { action, ...wanted }: Wanted & Pick<Reset, 'action'>,
): Promise<Planned> {
  const { group, topic, topicId } = place
  const reset: Reset = { group, topic, topicId, targets, action, operation: randomUUID(), ...wanted }
  return { reset, moves: await undone(sql, (tx) => resetOffsets(tx, reset)) }
}

/**
 * The position at which Kafka's own tools have set the group's offset. Throws TENANTRY_OFFSETS_NOT_SET where it is one of
 * ours, TENANTRY_OFFSETS_RANGE where it is outside the log.
 */
export async function setByOthers(servers: Servers, place: Place): Promise<Reset['targets']> {
  const { group, topic, partitions } = place
  const [partition = 0] = partitions
  const [found] = await lookAt(servers, { group, topic, partition })
  const offset = found?.kafkaOffset ?? null
  if (found === undefined || offset === null || !found.foreign) throw notSet(place, partition, found)
  return targetsOf(servers, place, { offset })
}

/** Lets a partition go on from its watermark, which is returned, whatever Kafka's offset is. */
export function ignore({ sql }: Servers, place: Place, decider: Pick<Decider, 'by' | 'reason'>): Promise<number> {
  const [partition = 0] = place.partitions
  return ignoreOffset(sql, { ...place, partition, operation: randomUUID(), ...decider })
}

/** What `work` gives in a transaction that is rolled back. */
async function undone<T>(sql: postgres.Sql, work: (tx: postgres.ISql) => Promise<T>): Promise<T> {
  let result: { readonly value: T } | undefined
  const rollback = new Error('this was a look only')
  try {
    await sql.begin(async (tx) => {
      result = { value: await work(tx) }
      throw rollback
    })
  } catch (error) {
    if (error !== rollback) throw error
  }
  if (result === undefined) throw new Error('a transaction ended without its work')
  return result.value
}

function notSet({ group, topic }: Place, partition: number, found: PartitionOffsets | undefined): TenantryError {
  const { kafkaOffset = null, writtenOffset = null, watermark = null } = found ?? {}
  const ours =
    kafkaOffset === null
      ? 'Kafka has no offset for it'
      : writtenOffset === null
        ? `tenantry has not written any yet, or has been told not to go by Kafka's, which is ${kafkaOffset}`
        : `Kafka's offset ${kafkaOffset} is one that tenantry writes (${writtenOffset} to ${watermark})`
  return new TenantryError(
    'TENANTRY_OFFSETS_NOT_SET',
    `There is nothing to accept for ${topic}-${partition} of group ${group}: ${ours}. To move it, use tenantry offsets reset.`,
    { group, topic, partition },
  )
}

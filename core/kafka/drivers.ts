import { messageOf, TenantryError } from '../errors.ts'
import type { SourceOptions } from './options.ts'
import type { Source } from './source.ts'

export type DriverName = 'auto' | 'confluent' | 'platformatic'

/** Settings of librdkafka that a guarantee rests on, and why they are not the user's to change. */
const refused: ReadonlyMap<string, string> = new Map([
  ['enable.auto.commit', 'offsets follow the progress in PostgreSQL'],
  ['enable.auto.offset.store', 'offsets follow the progress in PostgreSQL'],
  ['auto.offset.reset', 'a position outside the log stops the partition; consumer.onOutOfRange decides'],
  ['isolation.level', 'aborted records must never be processed'],
  ['partition.assignment.strategy', 'only cooperative-sticky keeps partitions over a rebalance'],
  ['enable.partition.eof', 'positions past control records are known by it'],
  ['group.id', 'set it by groups'],
  ['group.protocol', 'set it by consumer.protocol'],
  ['group.instance.id', 'set it by consumer.groupInstanceId'],
  ['client.id', 'set it by kafka.clientId'],
  ['bootstrap.servers', 'set it by kafka.bootstrap'],
  ['metadata.broker.list', 'set it by kafka.bootstrap'],
  ['allow.auto.create.topics', 'topics are created by tenantry topics apply'],
])

/** Throws a TenantryError that names the first setting which would break a guarantee, and why. */
export function checkPassThrough(settings: Readonly<Record<string, unknown>>): void {
  for (const key of Object.keys(settings)) {
    const reason = refused.get(key) ?? (key.endsWith('_cb') ? 'callbacks belong to the driver' : undefined)
    if (reason !== undefined) throw new TenantryError('TENANTRY_KAFKA_OPTION_REFUSED', `The driver setting ${key} cannot be set: ${reason}. Remove it.`, { setting: key })
  }
}

/**
 * Makes the source of a group. `auto` takes confluent on Node where its addon loads, else platformatic. Throws
 * `TENANTRY_DRIVER_UNAVAILABLE` when confluent was asked for and cannot load, `TENANTRY_KAFKA_OPTION_REFUSED` for a
 * setting that would break a guarantee. Drivers are loaded when asked for: on Bun the addon never is.
 */
export async function createSource(options: SourceOptions & { readonly driver: DriverName }): Promise<Source> {
  const { driver, ...source } = options
  checkPassThrough(source.passThrough ?? {})
  if (driver !== 'platformatic' && !(driver === 'auto' && process.versions['bun'] !== undefined)) {
    try {
      const { ConfluentSource } = await import('./confluent.ts')
      return new ConfluentSource(source)
    } catch (error) {
      if (driver === 'confluent') throw error
      source.log.info('kafka.driver.fallback', { reason: messageOf(error) }, 'the confluent driver is not available; using platformatic')
    }
  }
  const { PlatformaticSource } = await import('./platformatic.ts')
  return new PlatformaticSource(source)
}

import { refusedByConfluent } from '../config/driver-keys.ts'
import { messageOf, TenantryError } from '../errors.ts'
import type { PassThrough, SourceOptions } from './options.ts'
import type { Source } from './source.ts'

export type DriverName = 'auto' | 'confluent' | 'platformatic'

/** Throws a TenantryError that names the first setting which would break a guarantee, and why. */
function checkPassThrough(settings: PassThrough): void {
  for (const [key, value] of Object.entries(settings)) {
    const reason = refusedByConfluent(key, value)
    if (reason === undefined) continue
    throw new TenantryError(
      'TENANTRY_KAFKA_OPTION_REFUSED',
      `The driver setting ${key} cannot be set: ${reason}. Remove it.`,
      { setting: key },
    )
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
      if (driver === 'confluent' || !(error instanceof TenantryError && error.code === 'TENANTRY_DRIVER_UNAVAILABLE'))
        throw error
      source.log.info(
        'kafka.driver.fallback',
        { reason: messageOf(error) },
        'the confluent driver is not available; using platformatic',
      )
    }
  }
  const { PlatformaticSource } = await import('./platformatic.ts')
  return new PlatformaticSource(source)
}

import { messageOf, TenantryError } from '../core/errors.ts'
import { exitCode, exitCodeOf } from './exit.ts'

/**
 * What PostgreSQL's driver throws, with a code of ours and what to do. `refused` names what the server would not do in
 * the words of the command. What is none of the server's doing, an error of ours, stays what it is.
 */
export async function explained<T>(
  work: Promise<T>,
  refused: (reason: string, cause: unknown) => TenantryError = notDone,
): Promise<T> {
  try {
    return await work
  } catch (error) {
    if (error instanceof TenantryError) throw error
    const reason = (messageOf(error) || 'no reason given').replace(/\.+$/, '')
    const code = exitCodeOf(error)
    if (code === exitCode('unreachable')) {
      throw new TenantryError(
        'TENANTRY_POSTGRES_UNAVAILABLE',
        `PostgreSQL cannot be reached: ${reason}. Check postgres.url and that the server is up.`,
        {},
        { cause: error },
      )
    }
    if (code === exitCode('not-authorised')) {
      throw new TenantryError(
        'TENANTRY_POSTGRES_REFUSED',
        `PostgreSQL refuses this login, or this act to it: ${reason}. Check the login in postgres.url; only migrations need the owner of schema sys (postgres.migrateUrl).`,
        {},
        { cause: error },
      )
    }
    if (!(error instanceof Error && error.name === 'PostgresError')) throw error
    if ('code' in error && error.code === '3D000') {
      throw new TenantryError(
        'TENANTRY_DATABASE_MISSING',
        `PostgreSQL has no such database: ${reason}. Create it, or correct postgres.url.`,
        {},
        { cause: error },
      )
    }
    throw refused(reason, error)
  }
}

function notDone(reason: string, cause: unknown): TenantryError {
  return new TenantryError(
    'TENANTRY_POSTGRES_FAILED',
    `PostgreSQL could not do what was asked: ${reason}. Its own log says more; run the command again when that is mended.`,
    {},
    { cause },
  )
}

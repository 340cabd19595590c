import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findServices, type Services, startServices } from '../../cli/dev/services.ts'
import { identify, isAlive, type ProcessRecord } from '../../tools/setup/process.mjs'
import { checkout } from './runtimes.ts'

const folder = join(checkout, '.tenantry')

/**
 * The cluster that the test files of one run share: one broker, PostgreSQL and Redis, on data of their own. Where it does
 * not come up, nothing of it is left.
 */
export async function startTestCluster(): Promise<Services> {
  await wipeAbandoned()
  const dir = join(folder, `test-${process.pid}`)
  try {
    const services = await startServices({ dir })
    writeFileSync(join(dir, 'owner'), JSON.stringify(identify(process.pid)))
    return services
  } catch (error) {
    await wipe(dir)
    throw error
  }
}

/** Also where it has come to no more than a folder. */
async function wipe(dir: string): Promise<void> {
  await findServices(dir)?.wipe()
  rmSync(dir, { recursive: true, force: true })
}

/** The addresses, as test/services.ts reads them. */
export function environmentOf(services: Services): Record<string, string> {
  return {
    TENANTRY_TEST_KAFKA: services.kafkaAddress,
    TENANTRY_TEST_POSTGRES: services.postgresUrl,
    TENANTRY_TEST_REDIS: services.redisUrl,
  }
}

/** Stops and removes what killed runs have left. */
async function wipeAbandoned(): Promise<void> {
  const names = existsSync(folder) ? readdirSync(folder).filter((name) => name.startsWith('test-')) : []
  for (const name of names) {
    const dir = join(folder, name)
    const owner = ownerOf(dir) ?? { pid: Number(name.slice('test-'.length)), start: '' }
    const alive = owner.start === '' ? identify(owner.pid) !== undefined : isAlive(owner)
    if (!alive) await wipe(dir)
  }
}

function ownerOf(dir: string): ProcessRecord | undefined {
  try {
    const parsed: unknown = JSON.parse(readFileSync(join(dir, 'owner'), 'utf8'))
    if (typeof parsed !== 'object' || parsed === null || !('pid' in parsed) || !('start' in parsed)) return undefined
    return { pid: Number(parsed.pid), start: String(parsed.start) }
  } catch {
    return undefined
  }
}

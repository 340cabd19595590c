import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { TenantryError } from '../../core/errors.ts'
import { endAll } from '../../tools/setup/process.mjs'
import { wipePostgres } from './postgres.ts'
import { checkout } from './programs.ts'
import { readRecord } from './record.ts'
import { findServices, type Services, startServices } from './services.ts'

/** Where the servers of `dev up` can be reached. */
export interface Addresses {
  /** `host:port,…` */
  readonly kafka: string
  /** `postgres://…` */
  readonly postgres: string
  /** `redis://…` */
  readonly redis: string
}

export interface DevOptions {
  /** The folder whose `.tenantry/dev` holds the cluster; TENANTRY_DEV_ROOT, or this checkout, when left out. */
  readonly root?: string
}

export interface DevUpOptions extends DevOptions {
  /** 1 or 3; when left out, what the cluster has, else 1. */
  readonly brokers?: 1 | 3
  /** Whether to start from nothing. */
  readonly wipe?: boolean
}

export interface ServiceStatus {
  readonly name: string
  readonly running: boolean
  readonly address: string
  readonly pid: number | null
  readonly log: string
}

/** Starts what is not running of the checkout's own cluster, in the background, and returns its addresses. Idempotent. */
export async function devUp(options: DevUpOptions = {}): Promise<Addresses> {
  return addressesOf(await devServices(options))
}

/** As `devUp`, with the services themselves, to be frozen and killed. */
export async function devServices(options: DevUpOptions = {}): Promise<Services> {
  const dir = folderOf(options)
  if (options.wipe === true) await devDown({ ...options, wipe: true })
  const known = findServices(dir)?.all.filter((service) => service.name.startsWith('kafka')).length
  const brokers = options.brokers ?? (known === 3 ? 3 : 1)
  return startServices({ dir, brokers, keep: true })
}

/** What there is of the cluster; empty when it was never started. */
export async function devStatus(options: DevOptions = {}): Promise<ServiceStatus[]> {
  const services = findServices(folderOf(options))
  return (services?.all ?? []).map((service) => {
    const pid = service.pid()
    return {
      name: service.name,
      running: pid !== undefined,
      address: service.address,
      pid: pid ?? null,
      log: service.logFile,
    }
  })
}

/** The addresses of the running cluster; undefined unless all of it runs. */
export async function devAddresses(options: DevOptions = {}): Promise<Addresses | undefined> {
  const services = findServices(folderOf(options))
  if (services === undefined || services.all.some((service) => service.pid() === undefined)) return undefined
  return addressesOf(services)
}

/** Stops all servers of the cluster; with `wipe`, removes their data too. */
export async function devDown(options: DevOptions & { readonly wipe?: boolean } = {}): Promise<void> {
  const dir = folderOf(options)
  const services = findServices(dir)
  await services?.stop()
  if (options.wipe !== true) return
  await endStrays(dir)
  if (services !== undefined) wipePostgres(dir)
  rmSync(dir, { recursive: true, force: true })
}

/** The end of a server's log: `lines` lines of it. Throws TENANTRY_DEV_NO_LOG, naming the logs that there are. */
export function devLogs(name: string, options: DevOptions & { readonly lines?: number } = {}): string {
  const folder = join(folderOf(options), 'log')
  const file = join(folder, `${name}.log`)
  if (!existsSync(file)) {
    const names = existsSync(folder) ? readdirSync(folder).map((found) => found.replace(/\.log$/, '')) : []
    throw new TenantryError(
      'TENANTRY_DEV_NO_LOG',
      `There is no log of "${name}". ${names.length > 0 ? `There are: ${names.join(', ')}.` : 'Start the services first: tenantry dev up.'}`,
      { name },
    )
  }
  return readFileSync(file, 'utf8')
    .split('\n')
    .slice(-(options.lines ?? 200) - 1)
    .join('\n')
}

function folderOf({ root = process.env['TENANTRY_DEV_ROOT'] }: DevOptions): string {
  return resolve(root === undefined || root === '' ? checkout : root, '.tenantry/dev')
}

function addressesOf(services: Services): Addresses {
  return { kafka: services.kafkaAddress, postgres: services.postgresUrl, redis: services.redisUrl }
}

/** Servers that are recorded, but not in the layout any more. */
async function endStrays(dir: string): Promise<void> {
  if (!existsSync(dir)) return
  const files = readdirSync(dir).filter((name) => name.endsWith('.json') && name !== 'ports.json')
  const records = files.map((name) => readRecord(join(dir, name))).filter((record) => record !== undefined)
  await endAll(records, 'SIGTERM', 10_000)
}

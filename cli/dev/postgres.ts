import { execFile } from 'node:child_process'
import {
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { createHash } from 'node:crypto'
import { basename, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import postgres from 'postgres'
import { messageOf, TenantryError } from '../../core/errors.ts'
import { nameOf } from '../../tools/setup/process.mjs'
import { namespaceCommand, postgresDemotion, postgresFolder } from './programs.ts'
import { createService, type Service } from './service.ts'

/** What the server is set to. Durable as in production; compose/compose.yml has the same, and a test compares them. */
export const postgresSettings: Readonly<Record<string, string>> = {
  fsync: 'on',
  full_page_writes: 'on',
  synchronous_commit: 'on',
  max_connections: '200',
  shared_buffers: '512MB',
  max_wal_size: '4GB',
  track_commit_timestamp: 'on',
}

/** How its data folder is made; the same in compose/compose.yml. */
export const initdbSettings = ['--encoding=UTF8', '--locale=C.UTF-8']

/** The database that `up` makes. */
export const databaseName = 'tenantry'

export interface PostgresOptions {
  readonly dir: string
  readonly port: number
  readonly keep: boolean
  /** Settings beyond, or instead of, ours. */
  readonly settings: Readonly<Record<string, string>>
}

const NOBODY = 65_534

/** A PostgreSQL 18 server with one database, `tenantry`, and a user `postgres` who needs no password. */
export function postgresService(options: PostgresOptions): Service {
  const place = placeOf(options.dir)
  const settings = { ...postgresSettings, ...options.settings }
  return createService({
    name: 'postgres',
    dir: options.dir,
    ports: [options.port],
    settings: JSON.stringify(settings),
    async prepare() {
      await initialise(place)
      dropStaleLock(join(place.data, 'postmaster.pid'))
    },
    program() {
      const flags = Object.entries(settings).flatMap(([key, value]) => ['-c', `${key}=${value}`])
      const args = [
        '-D',
        place.data,
        '-p',
        String(options.port),
        '-k',
        '',
        '-c',
        'listen_addresses=127.0.0.1',
        ...flags,
      ]
      return demoted(join(place.native, 'bin/postgres'), args)
    },
    probe: () => ensureDatabase(options.port),
    stopSignal: 'SIGINT',
    startTimeoutMs: 60_000,
    keep: options.keep,
    ...(postgresDemotion() === 'nobody' ? { uid: NOBODY } : {}),
  })
}

export function postgresUrl(port: number, database: string = databaseName): string {
  return `postgres://postgres@127.0.0.1:${port}/${database}`
}

/** Removes the data of a stopped server. */
export function wipePostgres(dir: string): void {
  rmSync(postgresData(dir), { recursive: true, force: true })
}

/** The data folder of the server in `dir`. */
export function postgresData(dir: string): string {
  return placeOf(dir).data
}

interface Place {
  readonly data: string
  readonly native: string
}

/** Where data and programs lie: nobody cannot read below folders that are only ours, so it gets copies elsewhere. */
function placeOf(dir: string): Place {
  const native = postgresFolder()
  if (postgresDemotion() !== 'nobody') return { data: join(dir, 'postgres'), native }
  const hash = (text: string) => createHash('sha256').update(text).digest('hex').slice(0, 12)
  const base = existsSync('/var/tmp') ? '/var/tmp' : tmpdir()
  return {
    data: join(base, `tenantry-postgres-${hash(dir)}`),
    native: join(base, `tenantry-postgres-programs-${hash(native + statSync(native).mtimeMs)}`),
  }
}

async function initialise(place: Place): Promise<void> {
  if (existsSync(join(place.data, 'PG_VERSION'))) return
  copyPrograms(place.native)
  removeLeftovers(`${place.data}.tmp`)
  const temporary = `${place.data}.tmp${process.pid}`
  mkdirSync(temporary, { recursive: true, mode: 0o700 })
  if (postgresDemotion() === 'nobody') chownSync(temporary, NOBODY, NOBODY)
  const flags = ['-U', 'postgres', '--auth=trust', '--no-sync', ...initdbSettings, '-D', temporary]
  const { command, args } = demoted(join(place.native, 'bin/initdb'), flags)
  const uid = postgresDemotion() === 'nobody' ? { uid: NOBODY, gid: NOBODY } : {}
  try {
    await promisify(execFile)(command, [...args], { cwd: dirname(temporary), ...uid })
  } catch (error) {
    throw new TenantryError('TENANTRY_DEV_INITDB', `initdb failed: ${messageOf(error)}`, {}, { cause: error })
  }
  renameSync(temporary, place.data)
}

/** What a start that was killed has left; its initdb may still be at it, and fails then. */
function removeLeftovers(prefix: string): void {
  for (const name of readdirSync(dirname(prefix)))
    if (name.startsWith(basename(prefix)))
      rmSync(join(dirname(prefix), name), { recursive: true, force: true, maxRetries: 5 })
}

/** A killed server leaves its lock; it is respected for as long as its pid exists, be it a zombie's or a stranger's. */
function dropStaleLock(file: string): void {
  if (!existsSync(file)) return
  const pid = Number(readFileSync(file, 'utf8').split('\n')[0])
  if (nameOf(pid) !== 'postgres') rmSync(file, { force: true })
}

function copyPrograms(to: string): void {
  const from = postgresFolder()
  if (from === to || existsSync(to)) return
  cpSync(from, `${to}.tmp${process.pid}`, { recursive: true, verbatimSymlinks: true })
  renameSync(`${to}.tmp${process.pid}`, to)
}

function demoted(command: string, args: readonly string[]) {
  if (postgresDemotion() !== 'namespace') return { command, args, env: {} }
  const [unshare, ...flags] = namespaceCommand
  return { command: unshare, args: [...flags, command, ...args], env: {} }
}

/** Resolves when the server answers queries and has our database. */
async function ensureDatabase(port: number): Promise<void> {
  const sql = postgres(postgresUrl(port, 'postgres'), { max: 1, connect_timeout: 5, onnotice: () => {} })
  try {
    const [found] = await sql`select 1 from pg_database where datname = ${databaseName}`
    if (found === undefined) await sql`create database ${sql(databaseName)}`
  } finally {
    await sql.end({ timeout: 1 })
  }
}

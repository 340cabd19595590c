import { randomBytes } from 'node:crypto'
import { Admin } from '@platformatic/kafka'
import postgres from 'postgres'
import { devStatus, devUp } from '../cli/dev/dev.ts'
import { TenantryError } from '../core/errors.ts'
import { migrateUp } from '../core/postgres/migrate.ts'
import { isLeftBehind, ownMark } from './left-behind.ts'

/** The servers that a run measures against. */
export type Servers = {
  /** `host:port,…` */
  readonly kafka: string
  /** Address of a database of the server, to make others from. */
  readonly postgres: string
  /** Processes of the brokers; none when only their addresses are known. */
  readonly brokers: readonly number[]
  /** What makes a commit durable, and other settings that a figure depends on, as the server says. */
  readonly settings: Readonly<Record<string, string>>
}

/** Without these, a commit that was answered could be gone after a crash, and a figure would say nothing. */
const durable = ['fsync', 'full_page_writes', 'synchronous_commit']
const telling = [
  ...durable,
  'server_version',
  'shared_buffers',
  'max_wal_size',
  'wal_sync_method',
  'track_commit_timestamp',
]

/**
 * The checkout's own servers, started if need be, or those at the given addresses. Throws TENANTRY_BENCH_NOT_DURABLE
 * when PostgreSQL is set to lose commits.
 */
export async function findServers(given: { readonly kafka?: string; readonly postgres?: string }): Promise<Servers> {
  const own = given.kafka === undefined || given.postgres === undefined
  const addresses = own ? await devUp() : { kafka: given.kafka, postgres: given.postgres }
  const brokers = own
    ? (await devStatus()).filter(({ name }) => name.startsWith('kafka')).flatMap(({ pid }) => pid ?? [])
    : []
  return { ...addresses, brokers, settings: await readSettings(addresses.postgres) }
}

async function readSettings(url: string): Promise<Readonly<Record<string, string>>> {
  const sql = postgres(url, { max: 1, onnotice() {} })
  try {
    const rows = await sql<{ name: string; setting: string }[]>`
      select name, current_setting(name) as setting from pg_settings where name = any(${telling}) order by name`
    const settings = Object.fromEntries(rows.map(({ name, setting }) => [name, setting]))
    const off = [...durable, 'track_commit_timestamp'].filter((name) => settings[name] !== 'on')
    if (off.length > 0) {
      throw new TenantryError(
        'TENANTRY_BENCH_NOT_DURABLE',
        `PostgreSQL runs with ${off.join(', ')} off: switch it on, or the figures mean nothing.`,
        { off: off.join(' ') },
      )
    }
    return settings
  } finally {
    await sql.end({ timeout: 5 })
  }
}

/** A run's own database, with tenantry's tables and the one that the actors write. */
export class Database {
  readonly url: string
  readonly sql: postgres.Sql
  readonly #name: string
  readonly #admin: string

  private constructor(admin: string, name: string) {
    const url = new URL(admin)
    url.pathname = `/${name}`
    this.#admin = admin
    this.#name = name
    this.url = url.href
    this.sql = postgres(this.url, { max: 2, onnotice() {}, connection: { application_name: 'tenantry bench' } })
  }

  static async create(servers: Servers): Promise<Database> {
    const database = new Database(servers.postgres, `bench_${ownMark()}_${randomBytes(5).toString('hex')}`)
    await database.#asAdmin(async (sql) => {
      await sql`create database ${sql(database.#name)}`
      await sql`alter database ${sql(database.#name)} set track_wal_io_timing = on`
    })
    await migrateUp(database.url)
    // `position` says in which order rows were written: one tenant's are all written by one connection at a time.
    await database.sql`
      create table effects (
        id uuid not null,
        tenant_id text not null,
        n bigint not null,
        amount bigint not null,
        position bigint generated always as identity
      )`
    // For actors with several effects a message: those past the first.
    await database.sql`create table more_effects (id uuid not null, tenant_id text not null, n bigint not null, effect smallint not null)`
    await database.sql`checkpoint`
    return database
  }

  async drop(): Promise<void> {
    await this.sql.end({ timeout: 5 })
    await this.#asAdmin((sql) => sql`drop database if exists ${sql(this.#name)} with (force)`)
  }

  async #asAdmin(work: (sql: postgres.Sql) => PromiseLike<unknown>): Promise<void> {
    const sql = postgres(this.#admin, { max: 1, onnotice() {} })
    try {
      await work(sql)
    } finally {
      await sql.end({ timeout: 5 })
    }
  }
}

/** Drops what runs that were broken off have left, on the checkout's own server. */
export async function dropOldDatabases(servers: Servers): Promise<void> {
  if (servers.brokers.length === 0) return
  const sql = postgres(servers.postgres, { max: 1, onnotice() {} })
  try {
    const found = await sql<{ name: string }[]>`select datname as name from pg_database where datname like 'bench\\_%'`
    for (const { name } of found) if (isLeftBehind(name)) await sql`drop database if exists ${sql(name)} with (force)`
  } finally {
    await sql.end({ timeout: 5 })
  }
}

/** Does something as Kafka's administrator. */
export async function withAdmin<T>(servers: Servers, work: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = new Admin({ clientId: 'tenantry-bench', bootstrapBrokers: servers.kafka.split(','), timeout: 30_000 })
  try {
    return await work(admin)
  } finally {
    await admin.close()
  }
}

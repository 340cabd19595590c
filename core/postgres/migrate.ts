import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { TenantryError } from '../errors.ts'
import type { Ask } from './control.ts'
import { shortStatementMs, withSession } from './session.ts'

/** One file of migrations/: `0001_progress.sql`. Once released it never changes. */
export type Migration = {
  readonly number: number
  readonly name: string
  readonly sql: string
  readonly checksum: string
}

export type MigrationStatus = {
  readonly number: number
  readonly name: string
  /** ISO time; undefined when it is still to be applied. */
  readonly appliedAt: string | undefined
  /** The file is not what was applied. */
  readonly changed: boolean
  /** Applied by a newer version of tenantry; this one has no such file. */
  readonly newer: boolean
}

const folder = new URL('../../migrations/', import.meta.url)

const session = 'tenantry migrate'

/** Serialises migrations of one database, whoever runs them. */
const lockKey = 7465

/** All migrations that this version of tenantry has, in order. */
export async function migrations(): Promise<readonly Migration[]> {
  const files = (await readdir(folder)).filter((file) => /^\d{4}_\w+\.sql$/.test(file)).sort()
  return Promise.all(
    files.map(async (file): Promise<Migration> => {
      const sql = await readFile(new URL(file, folder), 'utf8')
      return {
        number: Number(file.slice(0, 4)),
        name: file.slice(5, -4),
        sql,
        checksum: createHash('sha256').update(sql).digest('hex'),
      }
    }),
  )
}

/**
 * Applies what is missing, forward only, each migration in a transaction of its own, under one advisory lock; a second
 * runner waits and finds nothing to do. Returns what it applied. Throws TENANTRY_SCHEMA_CHANGED when an applied
 * migration's file differs, TENANTRY_SCHEMA_NEWER when the database has migrations that this version does not know, and
 * TENANTRY_DATABASE_ENCODING.
 */
export async function migrateUp(url: string): Promise<readonly Migration[]> {
  const known = await migrations()
  return withSession(url, { name: session, statementMs: 0 }, async (sql) => {
    await requireEncoding(sql)
    await sql`select pg_advisory_lock(${lockKey})`
    await sql`create schema if not exists sys`
    await sql`
      create table if not exists sys.migrations (
        number integer primary key, name text not null, checksum text not null, applied_at timestamptz not null default clock_timestamp()
      )`
    const applied = await appliedOf(sql)
    refuseDifference(known, applied)
    const missing = known.filter(({ number }) => !applied.has(number))
    for (const { number, name, sql: text, checksum } of missing) {
      await sql.begin(async (transaction) => {
        await transaction.unsafe(text)
        await transaction`insert into sys.migrations (number, name, checksum) values (${number}, ${name}, ${checksum})`
      })
    }
    return missing
  })
}

export async function migrateStatus(url: string): Promise<readonly MigrationStatus[]> {
  const known = await migrations()
  return withSession(url, { name: session, statementMs: shortStatementMs }, async (sql) => {
    const applied = await appliedOf(sql)
    const own = known.map(({ number, name, checksum }) => {
      const row = applied.get(number)
      return {
        number,
        name,
        appliedAt: row?.applied_at.toISOString(),
        changed: row !== undefined && row.checksum !== checksum,
        newer: false,
      }
    })
    const newest = known.at(-1)?.number ?? 0
    const others = [...applied.values()].filter(({ number }) => number > newest)
    return [
      ...own,
      ...others.map(({ number, name, applied_at: at }) => ({
        number,
        name,
        appliedAt: at.toISOString(),
        changed: false,
        newer: true,
      })),
    ]
  })
}

/**
 * Throws TENANTRY_SCHEMA_OLD, _CHANGED or _NEWER when the database's schema is not the one that this version needs, and
 * TENANTRY_DATABASE_ENCODING.
 */
export async function requireSchema(sql: Ask): Promise<void> {
  await requireEncoding(sql)
  const known = await migrations()
  const applied = await appliedOf(sql)
  refuseDifference(known, applied)
  const needed = known.at(-1)?.number ?? 0
  const has = Math.max(0, ...applied.keys())
  if (has < needed) {
    throw new TenantryError(
      'TENANTRY_SCHEMA_OLD',
      `The database's schema is at migration ${has}; this version of tenantry needs ${needed}: run "tenantry migrate up".`,
      { has, needed },
    )
  }
}

/** Another encoding does not have each character that a tenant's or a message's id may hold, or does not look at them. */
async function requireEncoding(sql: Ask): Promise<void> {
  const [{ encoding } = { encoding: '' }] = await sql<{ encoding: string }[]>`
    select current_setting('server_encoding') as encoding`
  if (encoding === 'UTF8') return
  throw new TenantryError(
    'TENANTRY_DATABASE_ENCODING',
    `The database's encoding is ${encoding}, and messages are UTF8: create another one with "create database … encoding 'UTF8' template template0".`,
    { encoding },
  )
}

type Applied = { number: number; name: string; checksum: string; applied_at: Date }

async function appliedOf(sql: Ask): Promise<ReadonlyMap<number, Applied>> {
  const [there] = await sql<{ found: boolean }[]>`select to_regclass('sys.migrations') is not null as found`
  if (there?.found !== true) return new Map()
  const rows = await sql<Applied[]>`select number, name, checksum, applied_at from sys.migrations order by number`
  return new Map(rows.map((row) => [row.number, row]))
}

function refuseDifference(known: readonly Migration[], applied: ReadonlyMap<number, Applied>): void {
  const newest = known.at(-1)?.number ?? 0
  for (const { number, name, checksum } of applied.values()) {
    if (number > newest) {
      throw new TenantryError(
        'TENANTRY_SCHEMA_NEWER',
        `The database's schema is at migration ${number}; this version of tenantry knows ${newest}: use a newer version.`,
        { has: number, needed: newest },
      )
    }
    const own = known.find((migration) => migration.number === number)
    if (own !== undefined && own.checksum !== checksum) {
      throw new TenantryError(
        'TENANTRY_SCHEMA_CHANGED',
        `Migration ${number} (${name}) was applied with other content than this version has: restore the file, and put the change into a new migration.`,
        { number, name },
      )
    }
  }
}

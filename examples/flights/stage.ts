import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import postgres from 'postgres'
import { checkout } from '../../cli/dev/programs.ts'
import { type Services, startServices } from '../../cli/dev/services.ts'
import { systemClock } from '../../core/clock.ts'
import { TenantryError } from '../../core/errors.ts'
import { applyTopics } from '../../core/kafka/topics.ts'
import { migrateUp } from '../../core/postgres/migrate.ts'
import { commands, events } from './messages.ts'

export type StageOptions = {
  readonly brokers: 1 | 3
  readonly driver: string
  /** Where servers and files of the demo lie. */
  readonly folder: string
}

/** What the demo plays on: servers of its own, empty topics, an empty database, a daemon's configuration. */
export type Stage = {
  readonly services: Services
  readonly kafka: readonly string[]
  readonly databaseUrl: string
  readonly sql: postgres.Sql
  readonly configFile: string
  readonly folder: string
  /** What makes a commit durable, as PostgreSQL itself says. */
  readonly durability: Readonly<Record<string, string>>
  leave(): Promise<void>
}

export const demoFolder = join(checkout, '.tenantry/demo')

const database = 'flights'
/** Without these a commit that was answered could be gone after a crash, and exactly once would be a word. */
const durable = ['fsync', 'full_page_writes', 'synchronous_commit']
/** How long Kafka waits for a member that says nothing: the demo kills one, and a consumer group must notice. */
const sessionMs = 5_000

/** Throws TENANTRY_DEMO_NOT_DURABLE when PostgreSQL is set to lose commits. */
export async function setStage({ brokers, driver, folder }: StageOptions): Promise<Stage> {
  mkdirSync(folder, { recursive: true })
  // Empty servers: an offset that another run's group has left would be where an empty database starts.
  rmSync(join(folder, 'servers'), { recursive: true, force: true })
  const services = await startServices({
    dir: join(folder, 'servers'),
    brokers,
    redis: false,
    keep: false,
    quickStart: false,
    kafkaSettings: { 'group.consumer.session.timeout.ms': String(sessionMs) },
  })
  const kafka = services.kafkaAddress.split(',')
  const [sql] = await Promise.all([emptyDatabase(services.postgresUrl), createTopics(kafka, brokers)])
  const databaseUrl = databaseAt(services.postgresUrl, database)
  const configFile = join(folder, 'tenantry.yml')
  writeFileSync(configFile, configuration(kafka, databaseUrl, driver))
  return {
    services,
    kafka,
    databaseUrl,
    sql,
    configFile,
    folder,
    durability: await readDurability(sql),
    async leave() {
      await sql.end({ timeout: 5 })
      await services.stop()
    },
  }
}

async function emptyDatabase(server: string): Promise<postgres.Sql> {
  const admin = postgres(server, { max: 1, onnotice() {} })
  await admin`create database ${admin(database)}`
  await admin.end({ timeout: 5 })
  const url = databaseAt(server, database)
  await migrateUp(url)
  const sql = postgres(url, { max: 2, onnotice() {}, connection: { application_name: 'flights demo' } })
  await sql.file(join(import.meta.dirname, 'tables.sql'))
  return sql
}

async function createTopics(kafka: readonly string[], brokers: 1 | 3): Promise<void> {
  const spec = { partitions: 12, replicationFactor: brokers, minInSyncReplicas: brokers === 3 ? 2 : 1 }
  const day = 86_400_000
  await applyTopics({ bootstrap: kafka, clientId: 'flights-demo' }, systemClock, [
    { name: commands, retentionMs: 7 * day, ...spec },
    { name: events, retentionMs: 30 * day, ...spec },
    { name: 'sys.deadletter.v1', retentionMs: 30 * day, ...spec },
  ])
}

async function readDurability(sql: postgres.Sql): Promise<Readonly<Record<string, string>>> {
  const rows = await sql<{ name: string; setting: string }[]>`
    select name, current_setting(name) as setting from pg_settings where name = any(${durable})`
  const settings = Object.fromEntries(rows.map(({ name, setting }) => [name, setting]))
  const off = durable.filter((name) => settings[name] !== 'on')
  if (off.length === 0) return settings
  throw new TenantryError(
    'TENANTRY_DEMO_NOT_DURABLE',
    `PostgreSQL runs with ${off.join(', ')} off: switch it on, as otherwise a crash could undo what was answered.`,
    { off },
  )
}

function configuration(kafka: readonly string[], url: string, driver: string): string {
  return `# Written by the flights demo.
kafka:
  brokers: ${JSON.stringify(kafka)}
  driver: ${driver}
postgres:
  url: ${url}
groups:
  actuator: { start: earliest }
  analyst: { start: earliest }
actors:
  folder: ${JSON.stringify(join(import.meta.dirname, 'actors'))}
http:
  port: 0
`
}

function databaseAt(server: string, name: string): string {
  const url = new URL(server)
  url.pathname = `/${name}`
  return url.href
}

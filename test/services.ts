import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { Admin } from '@platformatic/kafka'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { systemClock } from '../core/clock.ts'
import { messageOf, TenantryError } from '../core/errors.ts'
import { KafkaPublisher, type OutgoingMessage } from '../core/kafka/producer.ts'
import { silentLog } from '../core/log.ts'
import { positionsOf, sumOf } from '../tools/run/positions.ts'

// What integration tests need of the cluster that the runner has started. A file that is run on its own
// (node test/integration/x.test.ts) takes the addresses from the environment, too.

/** Bootstrap addresses of the real Kafka: `host:port,…`. */
export function kafkaAddress(): string {
  return address('TENANTRY_TEST_KAFKA')
}

/** URL of a database that all test files share: take `freshDatabase` for anything that writes. */
export function postgresAddress(): string {
  return address('TENANTRY_TEST_POSTGRES')
}

/**
 * URL of the real Redis. All test files share its keys: prefix them.
 * @public
 */
export function redisAddress(): string {
  return address('TENANTRY_TEST_REDIS')
}

function address(variable: string): string {
  const value = process.env[variable]
  if (value !== undefined && value !== '') return value
  throw new Error(`${variable} is not set: run this file by "npm test -- <its path>", which starts the servers`)
}

export interface FreshDatabase {
  readonly url: string
  /** Removes it, ending its connections. */
  drop(): Promise<void>
}

/** A new, empty database on the shared server, or on the one that has the database `server`. */
export async function freshDatabase(server: string = postgresAddress()): Promise<FreshDatabase> {
  const name = `test_${randomBytes(6).toString('hex')}`
  await asAdmin(server, (sql) => sql`create database ${sql(name)}`)
  const url = new URL(server)
  url.pathname = `/${name}`
  return {
    url: url.href,
    drop: () => asAdmin(server, (sql) => sql`drop database if exists ${sql(name)} with (force)`),
  }
}

async function asAdmin(server: string, work: (sql: postgres.Sql) => PromiseLike<unknown>): Promise<void> {
  const sql = postgres(server, { max: 1, onnotice: () => {} })
  try {
    await work(sql)
  } finally {
    await sql.end({ timeout: 5 })
  }
}

export interface FreshTopicOptions {
  /** 12 when left out. */
  readonly partitions?: number
  /** 1 when left out. */
  readonly replicas?: number
  /** Topic configuration: `cleanup.policy`, `max.message.bytes` … */
  readonly config?: Readonly<Record<string, string>>
  /** How its name begins; `test` when left out. */
  readonly name?: string
  /** Another cluster's bootstrap addresses; the shared one's when left out. */
  readonly kafka?: string
}

/** Creates a topic with a new name and returns the name, once every partition has a leader. */
export async function freshTopic(options: FreshTopicOptions = {}): Promise<string> {
  const topic = `${options.name ?? 'test'}.${randomBytes(6).toString('hex')}`
  const partitions = options.partitions ?? 12
  const admin = new Admin({ clientId: 'tenantry-test', bootstrapBrokers: (options.kafka ?? kafkaAddress()).split(',') })
  try {
    await admin.createTopics({
      topics: [topic],
      partitions,
      replicas: options.replicas ?? 1,
      configs: Object.entries(options.config ?? {}).map(([name, value]) => ({ name, value })),
    })
    await eventually(
      async () => {
        const { topics } = await admin.metadata({ topics: [topic], forceUpdate: true })
        const found = topics.get(topic)
        return (
          found !== undefined &&
          found.partitionsCount === partitions &&
          found.partitions.every((partition) => partition.leader >= 0)
        )
      },
      { deadlineMs: 20_000, what: `${topic} has leaders` },
    )
  } finally {
    await admin.close()
  }
  return topic
}

/** Sends all of these, in order; each was delivered when this resolves. */
export async function sendAll(messages: readonly OutgoingMessage[]): Promise<void> {
  const bootstrap = kafkaAddress().split(',')
  const publisher = new KafkaPublisher({ bootstrap, clientId: 'test', clock: systemClock, log: silentLog })
  for (const delivery of await publisher.send(messages)) assert.is(delivery.kind, 'delivered')
  await publisher.stop()
}

/** Records that a group is done with, by the truth in PostgreSQL. */
export async function recordsDone(sql: postgres.Sql, group: string): Promise<number> {
  return sumOf(await positionsOf(sql, group), 'watermark')
}

/** Commits in the database of `sql` that wait for a lock. */
export async function commitsWaiting(sql: postgres.Sql): Promise<number> {
  const rows = await sql`
    select from pg_stat_activity
    where datname = current_database() and application_name like '%lane%' and wait_event_type = 'Lock'`
  return rows.length
}

export interface EventuallyOptions {
  /** How long to wait, in milliseconds; 30 s when left out: a deadline that is only for what never comes. */
  readonly deadlineMs?: number
  /** Pause between two looks, in milliseconds; 20 when left out. */
  readonly every?: number
  /** What is awaited, for the error. */
  readonly what?: string
}

/**
 * Looks until `condition` gives something truthy, and returns that. A throw counts as "not yet". Fails after the
 * deadline with TENANTRY_TEST_DEADLINE, which has the last error, or the last value seen.
 */
export async function eventually<T>(
  condition: () => T | Promise<T>,
  options: EventuallyOptions = {},
): Promise<NonNullable<Exclude<T, false | 0 | ''>>> {
  const { deadlineMs = 30_000 } = options
  const deadline = performance.now() + deadlineMs
  let last: unknown
  for (;;) {
    try {
      const value = await condition()
      if (isReached(value)) return value
      last = value
    } catch (error) {
      last = error
    }
    if (performance.now() >= deadline) {
      const seen = last instanceof Error ? last.message : `last seen: ${messageOf(last)}`
      throw tooLate(`${options.what ?? 'the condition'}: not within ${deadlineMs / 1000} s (${seen})`, last)
    }
    await pause(options.every ?? 20)
  }
}

/** Something was not so within its deadline: a fault of ours, or of a machine that is too slow for it. */
export function tooLate(what: string, cause?: unknown): TenantryError {
  return new TenantryError('TENANTRY_TEST_DEADLINE', what, {}, { cause })
}

function isReached<T>(value: T): value is NonNullable<Exclude<T, false | 0 | ''>> {
  return Boolean(value)
}

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Admin, ConfigResourceTypes, IncrementalAlterConfigOperationTypes } from '@platformatic/kafka'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { Log } from '../../cli/verify/log.ts'
import { migrateUp } from '../../core/postgres/migrate.ts'
import { afterEach } from '../harness.ts'
import {
  eventually,
  type FreshDatabase,
  freshDatabase,
  freshTopic,
  kafkaAddress,
  postgresAddress,
  recordsDone,
} from '../services.ts'
import { environment } from '../spawn-cli.ts'
import { Daemon } from './daemon.ts'
import { Feeder } from './feeder.ts'
import { judge, type Verdict } from './judge.ts'
import { Plan } from './plan.ts'

export const partitions = 6
/** A member that is silent for so long has lost its partitions. */
export const sessionMs = 3_000

export const minute = 60_000
/** The usual load. */
export const perSecond = 800

/** How much more than usual: `CHAOS=10 npm test -- test/chaos` kills ten times as often. */
export const scale = scaleOf(process.env['CHAOS'] ?? '1')

function scaleOf(text: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text)) throw new Error(`CHAOS is a whole number from 1, not "${text}"`)
  return Number(text)
}

export type StageOptions = {
  /** Whose servers: the shared ones when left out. */
  readonly kafka?: string
  readonly postgres?: string
  readonly mode?: 'message-id' | 'offset'
}

export type StartOptions = {
  /** A way to the database through a proxy. */
  readonly database?: string
  /** Configuration over the stage's, as `KEY=VALUE`. */
  readonly set?: readonly string[]
}

/** A topic, a database, daemons that work on them and a load: everything that a fault needs, and a checker at the end. */
export class Stage {
  readonly kafka: string
  readonly topic: string
  readonly events: string
  readonly sql: postgres.Sql
  readonly #mode: 'message-id' | 'offset'
  readonly #database: FreshDatabase
  readonly #folder: string
  readonly #plan: Plan
  readonly #daemons: Daemon[] = []
  readonly #began = performance.now()
  #feeder: Feeder | undefined
  #sent = 0

  private constructor(
    kafka: string,
    mode: 'message-id' | 'offset',
    topic: string,
    events: string,
    database: FreshDatabase,
  ) {
    this.kafka = kafka
    this.#mode = mode
    this.topic = topic
    this.events = events
    this.#database = database
    this.sql = postgres(database.url, { max: 4, onnotice() {} })
    this.#folder = mkdtempSync(join(tmpdir(), 'tenantry-chaos-'))
    // In offset mode nobody promises anything about messages that were sent twice.
    this.#plan = new Plan(topic, { copies: mode === 'message-id' })
  }

  static async create(options: StageOptions = {}): Promise<Stage> {
    const { kafka = kafkaAddress(), mode = 'message-id' } = options
    const topic = await freshTopic({ kafka, partitions, name: 'chaos' })
    const events = await freshTopic({ kafka, partitions: 3, name: 'chaos.events' })
    await shortenSession(kafka, topic)
    const database = await freshDatabase(options.postgres ?? postgresAddress())
    await migrateUp(database.url)
    const stage = new Stage(kafka, mode, topic, events, database)
    await stage.sql`create table effects (message_id text not null, tenant_id text not null, number integer not null)`
    writeFileSync(join(stage.#folder, 'tenantry.yml'), configuration(topic))
    return stage
  }

  get database(): string {
    return this.#database.url
  }

  /** Records of the load that Kafka has. */
  get sent(): number {
    return this.#feeder?.sent ?? this.#sent
  }

  /** Starts a daemon; it is killed at the end if it still runs. */
  start({ database = this.database, set = [] }: StartOptions = {}): Daemon {
    const actors = fileURLToPath(new URL('../fixtures/actors/chaos', import.meta.url))
    const daemon = new Daemon({
      args: ['start', '--actors', actors, ...set.flatMap((one) => ['--set', one])],
      cwd: this.#folder,
      env: environment(this.#folder, {
        KAFKA_BROKERS: this.kafka,
        DATABASE_URL: database,
        CHAOS_GROUP: this.topic,
        CHAOS_TOPIC: this.topic,
        CHAOS_EVENTS: this.events,
        CHAOS_IDEMPOTENCY: this.#mode,
        // By this the runner finds what a test has left behind.
        ...(process.env['TENANTRY_TEST_MARK'] !== undefined && {
          TENANTRY_TEST_MARK: process.env['TENANTRY_TEST_MARK'],
        }),
      }),
      logFile: join(this.#folder, `daemon-${this.#daemons.length}.log`),
    })
    this.#daemons.push(daemon)
    return daemon
  }

  /** Begins, or goes on with, the load. */
  feed(perSecond: number): void {
    this.#feeder = new Feeder({ kafka: this.kafka, topic: this.topic, plan: this.#plan, from: this.#sent }, perSecond)
  }

  async stopFeeding(): Promise<void> {
    const feeder = this.#feeder
    if (feeder === undefined) return
    try {
      await feeder.stop()
    } finally {
      this.#sent = feeder.sent
      this.#feeder = undefined
    }
  }

  /** Records that are done, by the truth in PostgreSQL. */
  done(): Promise<number> {
    return recordsDone(this.sql, this.topic)
  }

  /** Resolves when `count` more records are done than now: the load is being worked on. */
  async worked(count: number, deadlineMs = 60_000): Promise<void> {
    const from = await this.done()
    await this.reached(from + count, deadlineMs)
  }

  async reached(count: number, deadlineMs = 60_000): Promise<void> {
    await eventually(async () => (await this.done()) >= count, {
      deadlineMs,
      every: 50,
      what: `${count} records done; ${this.#tails()}`,
    })
  }

  /** Ends the load, lets the daemons finish it, stops them, and fails unless both checkers find all in order. */
  async finish(): Promise<Verdict> {
    const verdict = await this.verdict()
    const { lost, duplicated, reordered, invented, findings } = verdict
    assert.equal(
      { lost, duplicated, reordered, invented, findings },
      { lost: 0, duplicated: 0, reordered: 0, invented: 0, findings: [] },
    )
    process.stdout.write(
      `${this.#daemons.length} daemons, ${verdict.records} records in ${Math.round((performance.now() - this.#began) / 1_000)} s: lost 0, duplicated 0, reordered 0\n`,
    )
    return verdict
  }

  /** As `finish`, but only says what was found. */
  async verdict(): Promise<Verdict> {
    await this.stopFeeding()
    await this.reached(await this.#logged(), 90_000)
    await eventually(async () => (await this.sql`select from sys.outbox limit 1`).length === 0, {
      deadlineMs: 30_000,
      what: 'an empty outbox',
    })
    await this.stopDaemons()
    return this.judge()
  }

  /** Drains all that run, and requires that each ends as a drained daemon does. */
  async stopDaemons(): Promise<void> {
    const running = this.#daemons.filter((daemon) => daemon.running)
    const codes = await Promise.all(running.map((daemon) => daemon.stop()))
    assert.ok(
      codes.every((code) => code === 0),
      `exit codes ${codes.join(', ')}: ${running.map((daemon) => daemon.logEnd()).join('\n')}`,
    )
  }

  judge(): Promise<Verdict> {
    return judge({
      kafka: this.kafka,
      database: this.database,
      sql: this.sql,
      topic: this.topic,
      events: this.events,
      mode: this.#mode,
      plan: this.#plan,
      sent: this.sent,
    })
  }

  /** Kills and removes everything. */
  async end(): Promise<void> {
    await this.stopFeeding().catch(() => {})
    await Promise.all(this.#daemons.filter((daemon) => daemon.running).map((daemon) => daemon.kill()))
    await this.sql.end({ timeout: 1 })
    await this.#database.drop()
    rmSync(this.#folder, { recursive: true, force: true })
  }

  /** The sum of the log's ends, which here is the number of its records. */
  async #logged(): Promise<number> {
    const log = new Log({ bootstrap: this.kafka.split(','), clientId: 'chaos-stage' }, 'chaos-stage')
    try {
      return ((await log.describe(this.topic))?.ends ?? []).reduce((sum, end) => sum + end, 0)
    } finally {
      await log.close()
    }
  }

  #tails(): string {
    return this.#daemons.map((daemon, i) => `daemon ${i}: ${daemon.logEnd()}`).join('\n')
  }
}

/** Gives a stage to each test of the file that asks, and ends it after the test. */
export function stageForEach(): () => Promise<Stage> {
  let open: Stage | undefined
  afterEach(async () => {
    await open?.end()
    open = undefined
  })
  return async () => {
    open = await Stage.create()
    return open
  }
}

/** Deadlines short enough that a fault and its mending fit into a test. */
function configuration(group: string): string {
  return `groups:
  ${group}: { start: earliest }
http: { port: 0 }
workers: { count: 1, drainDeadline: 10s }
consumer: { offsetInterval: 200ms, releaseTimeout: 4s, sessionTimeout: 6s }
commit: { answerDeadline: 2s, backoffMax: 500ms }
postgres: { lockTimeout: 1s, transactionTimeout: 5s, connectTimeout: 3s }
`
}

async function shortenSession(kafka: string, group: string): Promise<void> {
  const admin = new Admin({ clientId: 'chaos', bootstrapBrokers: kafka.split(',') })
  const set = (name: string, value: number) => ({
    name,
    value: String(value),
    configOperation: IncrementalAlterConfigOperationTypes.SET,
  })
  try {
    await admin.incrementalAlterConfigs({
      resources: [
        {
          resourceType: ConfigResourceTypes.GROUP,
          resourceName: group,
          configs: [set('consumer.session.timeout.ms', sessionMs), set('consumer.heartbeat.interval.ms', 300)],
        },
      ],
    })
  } finally {
    await admin.close()
  }
}

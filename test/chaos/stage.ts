import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { Log } from '../../cli/verify/log.ts'
import { messageOf } from '../../core/errors.ts'
import { migrateUp } from '../../core/postgres/migrate.ts'
import { RUN_MARK } from '../../tools/setup/process.mjs'
import {
  eventually,
  type FreshDatabase,
  freshDatabase,
  freshTopic,
  kafkaAddress,
  postgresAddress,
  recordsDone,
} from '../services.ts'
import { ownRuntime, requireProgram, type Runtime } from '../../tools/run/runtime.ts'
import { environment } from '../spawn-cli.ts'
import { configuration, shortenSession } from './configuration.ts'
import { Daemon } from './daemon.ts'
import { Feeder } from './feeder.ts'
import type { TopicLog } from './history.ts'
import { judge, type Verdict } from './judge.ts'
import { Plan } from './plan.ts'

export const partitions = 6
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
  /** Of each partition; 1 when left out. */
  readonly replicas?: number
  /** Among the load are records that end as dead letters. */
  readonly poison?: boolean
}

export type StartOptions = {
  /** A way to the database through a proxy. */
  readonly database?: string
  /** A way to Kafka through proxies. */
  readonly kafka?: string
  /** This process's own when left out. */
  readonly runtime?: Runtime
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
  #perSecond = perSecond
  /** The topic's predecessors, as they were when they were deleted. */
  readonly gone: TopicLog[] = []

  private constructor(
    kafka: string,
    mode: 'message-id' | 'offset',
    topic: string,
    events: string,
    database: FreshDatabase,
    poison: boolean,
  ) {
    this.kafka = kafka
    this.#mode = mode
    this.topic = topic
    this.events = events
    this.#database = database
    this.sql = postgres(database.url, { max: 4, onnotice() {} })
    this.#folder = mkdtempSync(join(tmpdir(), 'tenantry-chaos-'))
    // In offset mode nobody promises anything about messages that were sent twice.
    this.#plan = new Plan(topic, { copies: mode === 'message-id', poison })
  }

  static async create(options: StageOptions = {}): Promise<Stage> {
    const { kafka = kafkaAddress(), mode = 'message-id', replicas = 1, poison = false } = options
    const topic = await freshTopic({ kafka, partitions, replicas, name: 'chaos' })
    const events = await freshTopic({ kafka, partitions: 3, replicas, name: 'chaos.events' })
    await shortenSession(kafka, topic)
    const database = await freshDatabase(options.postgres ?? postgresAddress())
    await migrateUp(database.url)
    const stage = new Stage(kafka, mode, topic, events, database, poison)
    await stage.sql`create table effects (message_id text not null, tenant_id text not null, number integer not null)`
    writeFileSync(join(stage.#folder, 'tenantry.yml'), configuration(topic))
    return stage
  }

  get database(): string {
    return this.#database.url
  }

  /** Records of the load that Kafka has, or had. */
  get sent(): number {
    return this.#feeder?.sent ?? this.#sent
  }

  /** Of them, those in the topic as it is now. */
  get present(): number {
    return this.gone.reduce((left, { records }) => left - records.length, this.sent)
  }

  /** Starts a daemon; it is killed at the end if it still runs. */
  start({ database = this.database, kafka = this.kafka, runtime = ownRuntime, set = [] }: StartOptions = {}): Daemon {
    const actors = fileURLToPath(new URL('../fixtures/actors/chaos', import.meta.url))
    const daemon = new Daemon({
      program: requireProgram(runtime),
      args: ['start', '--actors', actors, ...set.flatMap((one) => ['--set', one])],
      cwd: this.#folder,
      env: environment(this.#folder, {
        KAFKA_BROKERS: kafka,
        DATABASE_URL: database,
        CHAOS_GROUP: this.topic,
        CHAOS_TOPIC: this.topic,
        CHAOS_EVENTS: this.events,
        CHAOS_IDEMPOTENCY: this.#mode,
        // By these whoever runs us finds what was left behind.
        ...marks(),
      }),
      logFile: join(this.#folder, `daemon-${this.#daemons.length}.log`),
    })
    this.#daemons.push(daemon)
    return daemon
  }

  /** Begins, or goes on with, the load: as much as before where nothing else is said. */
  feed(perSecond = this.#perSecond): void {
    this.#perSecond = perSecond
    this.#feeder = new Feeder({ kafka: this.kafka, topic: this.topic, plan: this.#plan, from: this.#sent }, perSecond)
  }

  /** Changes the load that goes on. */
  set perSecond(perSecond: number) {
    this.#perSecond = perSecond
    if (this.#feeder !== undefined) this.#feeder.perSecond = perSecond
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

  /** Records of the topic as it is now that are done, by the truth in PostgreSQL. */
  done(): Promise<number> {
    return recordsDone(this.sql, this.topic)
  }

  /** Resolves when `count` more records are done than now: the load is being worked on. */
  async worked(count: number, deadlineMs = 60_000): Promise<void> {
    const from = await this.done()
    await this.reached(from + count, deadlineMs)
  }

  async reached(count: number, deadlineMs = 60_000): Promise<void> {
    const there = async () => (await this.done()) >= count
    await eventually(there, { deadlineMs, every: 50, what: `${count} records done` }).catch((error: unknown) => {
      throw new Error(`${messageOf(error)}; ${this.#tails()}`, { cause: error })
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
    await this.drain(90_000)
    await this.stopDaemons()
    return this.judge()
  }

  /** Ends the load, and resolves when all of it is done and published. */
  async drain(deadlineMs: number): Promise<void> {
    await this.stopFeeding()
    await this.reached(await this.#logged(), deadlineMs)
    await eventually(async () => (await this.sql`select from sys.parked_messages limit 1`).length === 0, {
      deadlineMs,
      what: 'all parked records done',
    })
    await eventually(async () => (await this.sql`select from sys.outbox limit 1`).length === 0, {
      deadlineMs,
      what: 'an empty outbox',
    })
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
      gone: this.gone,
    })
  }

  /** Kills and removes everything; the daemons' logs are kept in `logs` where it is given. */
  async end(logs?: string): Promise<void> {
    await Promise.all(this.#daemons.filter((daemon) => daemon.running).map((daemon) => daemon.kill()))
    if (logs !== undefined) cpSync(this.#folder, logs, { recursive: true })
    await this.#feeder?.abandon()
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

function marks(): Record<string, string> {
  const names = ['TENANTRY_TEST_MARK', RUN_MARK]
  return Object.fromEntries(
    names.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  )
}

// runtimes: node, bun
// timeout: 900 s
import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { verify } from '../../cli/verify/verify.ts'
import { systemClock } from '../../core/clock.ts'
import { KafkaPublisher } from '../../core/kafka/producer.ts'
import { silentLog } from '../../core/log.ts'
import { migrateUp } from '../../core/postgres/migrate.ts'
import { afterEach, test } from '../harness.ts'
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

// What messages do to their threads, on real processes: each ends with the checker.

const minute = 60_000

/** A topic of one partition, a database, and a daemon of one worker. */
class Scene {
  readonly topic: string
  readonly sql: postgres.Sql
  readonly #database: FreshDatabase
  readonly #folder = mkdtempSync(join(tmpdir(), 'tenantry-threads-'))
  readonly #pipe = join(this.#folder, 'pipe')
  readonly #publisher: KafkaPublisher
  #daemon: Daemon | undefined
  #sent = 0

  private constructor(topic: string, letters: string, database: FreshDatabase) {
    this.topic = topic
    this.#database = database
    this.sql = postgres(database.url, { max: 2, onnotice() {} })
    execFileSync('mkfifo', [this.#pipe])
    const bootstrap = kafkaAddress().split(',')
    this.#publisher = new KafkaPublisher({ bootstrap, clientId: 'threads', clock: systemClock, log: silentLog })
    const groups = `groups:\n  ${topic}: { start: earliest }\n`
    writeFileSync(
      join(this.#folder, 'tenantry.yml'),
      `${groups}deadLetters: { topic: ${letters} }\nhttp: { port: 0 }\nlog: { repeatLimit: 1000 }\nworkers: { count: 1, drainDeadline: 10s }\n`,
    )
  }

  static async create(): Promise<Scene> {
    const topic = await freshTopic({ partitions: 1, name: 'threads' })
    const letters = await freshTopic({ partitions: 1, name: 'threads-dead' })
    const database = await freshDatabase(postgresAddress())
    await migrateUp(database.url)
    const scene = new Scene(topic, letters, database)
    await scene.sql`
      create table effects (
        message_id text not null, tenant_id text not null, number integer not null, recorded_at timestamptz not null,
        written_at timestamptz not null default clock_timestamp())`
    return scene
  }

  /** One message for each, in this order. */
  async send(messages: readonly (readonly [tenant: string, does: string])[]): Promise<void> {
    const outgoing = messages.map(([tenant, does]) => ({
      topic: this.topic,
      key: Buffer.from(tenant),
      value: Buffer.from(
        JSON.stringify({ message_id: randomUUID(), type: 'step', tenant_id: tenant, payload: { does } }),
      ),
      headers: [],
    }))
    for (const delivery of await this.#publisher.send(outgoing)) assert.is(delivery.kind, 'delivered')
    this.#sent += outgoing.length
  }

  start(set: readonly string[] = []): Daemon {
    const actors = fileURLToPath(new URL('../fixtures/actors/killers', import.meta.url))
    this.#daemon = new Daemon({
      args: ['start', '--actors', actors, ...set.flatMap((one) => ['--set', one])],
      cwd: this.#folder,
      env: environment(this.#folder, {
        KAFKA_BROKERS: kafkaAddress(),
        DATABASE_URL: this.#database.url,
        KILLERS_GROUP: this.topic,
        KILLERS_PIPE: this.#pipe,
        ...(process.env['TENANTRY_TEST_MARK'] !== undefined && {
          TENANTRY_TEST_MARK: process.env['TENANTRY_TEST_MARK'],
        }),
      }),
      logFile: join(this.#folder, 'daemon.log'),
    })
    return this.#daemon
  }

  /** Resolves when all that was sent is done, and nothing is parked: what held the others up too long may be. */
  async done(deadlineMs = 2 * minute): Promise<void> {
    const allDone = async () =>
      (await recordsDone(this.sql, this.topic)) >= this.#sent &&
      (await this.sql`select from sys.parked_messages limit 1`).length === 0
    await eventually(allDone, {
      deadlineMs,
      every: 50,
      what: `${this.#sent} records done; ${this.#daemon?.logEnd()}`,
    })
  }

  /** Numbers of the threads that were lost, in order. */
  get lost(): readonly unknown[] {
    return this.#daemon?.events('worker.lost').map(({ worker }) => worker) ?? []
  }

  deadLetters(): Promise<{ tenant_id: string; reason: string; attempts: number; message_id: string | null }[]> {
    return this.sql`select tenant_id, reason, attempts, message_id from sys.dead_letters order by record_offset`
  }

  /** Fails unless nothing was lost, doubled or reordered. */
  async finish(): Promise<void> {
    assert.is(await this.#daemon?.stop(), 0, this.#daemon?.logEnd())
    const report = await verify({
      kafka: { bootstrap: kafkaAddress().split(','), clientId: 'threads-verify' },
      postgres: this.#database.url,
      group: this.topic,
      effects: [{ table: 'effects', column: 'message_id' }],
      orders: [{ table: 'effects', column: 'message_id', sequence: 'number' }],
      chains: [{ in: 'state', path: ['chain'] }],
    })
    const { records, lost, duplicated, reordered, invented, findings } = report
    assert.equal(
      { records, lost, duplicated, reordered, invented, findings },
      { records: this.#sent, lost: 0, duplicated: 0, reordered: 0, invented: 0, findings: [] },
    )
  }

  async end(): Promise<void> {
    if (this.#daemon?.running === true) await this.#daemon.kill()
    await this.#publisher.stop()
    await this.sql.end({ timeout: 1 })
    await this.#database.drop()
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

let open: Scene | undefined

async function scene(): Promise<Scene> {
  open = await Scene.create()
  return open
}

afterEach(async () => {
  await open?.end()
  open = undefined
})

test(
  'of 500 handlers that run at once, the one that ends the thread each time is the one dead letter',
  async () => {
    const on = await scene()
    const tenants = Array.from({ length: 499 }, (_, i) => `tenant-${i}`)
    await on.send([
      ...tenants.map((tenant) => [tenant, 'gather'] as const),
      ['killer', 'kill'],
      ...tenants.flatMap((tenant) => [[tenant, 'go'] as const, [tenant, 'go'] as const]),
      ['killer', 'go'],
      ['killer', 'go'],
    ])
    const daemon = on.start()
    await on.done()
    const letters = await on.deadLetters()
    assert.equal(
      letters.map(({ tenant_id, reason, attempts }) => [tenant_id, reason, attempts]),
      [['killer', 'worker_crash', 3]],
    )
    assert.ok(letters[0]?.message_id, 'the dead letter names its message')
    // Where others have run on the extra thread before it, its first end there does not count.
    assert.match(on.lost.join(), /^0(?:,1){3,4}$/)
    const suspects = Number(daemon.events('worker.lost')[0]?.['executing'])
    assert.ok(suspects >= 490, `${suspects} handlers ran when the thread ended`)
    await on.finish()
  },
  { timeoutMs: 4 * minute },
)

test(
  'a message that blocks its thread is a dead letter after three, and the others wait for the limit once',
  async () => {
    const on = await scene()
    const daemon = on.start()
    await daemon.until('partition.owned')
    const tenants = Array.from({ length: 20 }, (_, i) => `tenant-${i}`)
    let feeding = true
    const feed = (async () => {
      while (feeding) {
        await on.send(tenants.map((tenant) => [tenant, 'go'] as const))
        await pause(50)
      }
    })()
    await eventually(async () => (await on.sql`select from effects limit 1`).length > 0, { deadlineMs: minute })
    await on.send([
      ['blocker', 'loop'],
      ['blocker', 'go'],
    ])
    await eventually(async () => (await on.deadLetters()).length > 0, { deadlineMs: minute })
    feeding = false
    await feed
    await on.done()
    assert.equal(
      (await on.deadLetters()).map(({ tenant_id, reason, attempts }) => [tenant_id, reason, attempts]),
      [['blocker', 'worker_crash', 3]],
    )
    assert.equal(on.lost, [0, 1, 1, 1])
    const [delay] = await on.sql<{ worst: number }[]>`
      select 1000 * max(extract(epoch from written_at - recorded_at))::float8 as worst
      from effects where tenant_id <> 'blocker'`
    // The limit is a second; the rest is another thread's start, on a machine with much more to do. That they waited once
    // is said by the threads that were lost.
    assert.ok((delay?.worst ?? 0) < 15_000, `others waited for ${delay?.worst} ms at most`)
    process.stdout.write(`others waited for ${Math.round(delay?.worst ?? 0)} ms at most\n`)
    await on.finish()
  },
  { timeoutMs: 3 * minute },
)

test(
  'a thread in a call of the operating system’s holds up neither the others nor the end of the process',
  async () => {
    const on = await scene()
    await on.send([
      ['reader', 'read'],
      ['other', 'go'],
    ])
    const daemon = on.start(['workers.drainDeadline=1s'])
    await eventually(async () => (await on.sql`select from effects`).length === 1, { deadlineMs: minute })
    assert.is(on.lost[0], 0)
    const asked = performance.now()
    const code = await daemon.stop()
    assert.ok(code === 0 || code === 6, `${code}: ${daemon.logEnd()}`)
    assert.ok(performance.now() - asked < 20_000, 'it is not waited for')
  },
  { timeoutMs: 2 * minute },
)

test(
  'when threads end again and again the daemon drains and ends with a code of its own',
  async () => {
    const on = await scene()
    await on.send(Array.from({ length: 10 }, (_, i) => [`tenant-${i}`, 'exit'] as const))
    await on.send([['well', 'go']])
    const daemon = on.start(['workers.maxRestarts=4'])
    assert.is(await daemon.ended, 8, daemon.logEnd())
    assert.is(daemon.events('daemon.failed')[0]?.['code'], 'TENANTRY_WORKERS_FAIL')
    assert.is(daemon.events('daemon.stopped').length, 1)
  },
  { timeoutMs: 2 * minute },
)

test(
  'a message that ends the whole process each time is found by its next owners, and is the one dead letter',
  async () => {
    const on = await scene()
    const around = Array.from({ length: 60 }, (_, i) => [`tenant-${i % 20}`, 'go'] as const)
    await on.send([...around, ['killer', 'go'], ['killer', 'end process'], ['killer', 'go'], ...around])
    let lost = 0
    const settings = ['consumer.protocol=classic', 'consumer.sessionTimeout=6s', 'consumer.offsetInterval=100ms']
    let daemon = on.start(settings)
    for (let ended = false; !ended; ) {
      ended = await Promise.race([on.done(4 * minute).then(() => true), daemon.ended.then(() => false)])
      if (ended) break
      lost++
      assert.ok(lost < 8, `${lost} daemons were lost: ${daemon.logEnd()}`)
      daemon = on.start(settings)
    }
    assert.equal(
      (await on.deadLetters()).map(({ tenant_id, reason, attempts }) => [tenant_id, reason, attempts]),
      [['killer', 'process_lost', 2]],
    )
    assert.is(daemon.events('record.process_lost').length, 1)
    // Three until records run alone, two while this one did.
    assert.is(lost, 5)
    await on.finish()
  },
  { timeoutMs: 8 * minute },
)

// timeout: 600 s
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { createInterface } from 'node:readline'
import { Admin, Producer } from '@platformatic/kafka'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { z } from 'zod'
import { checkRows } from '../../bench/check.ts'
import { Messages } from '../../bench/content.ts'
import { javaPeers } from '../../bench/peers/java.ts'
import { type Assignment, assignmentVariable, progressLine, type WorkKind } from '../../bench/peers/peer.ts'
import { after, before, test } from '../harness.ts'
import { eventually, type FreshDatabase, freshDatabase, freshTopic, kafkaAddress } from '../services.ts'

const count = 2_000
const copies = 100
const total = count + copies
const partitions = 4
const messages = new Messages({
  kind: 'order',
  records: count,
  tenants: 50,
  spread: 'even',
  ids: 'v4',
  copyEvery: 0,
  day: 20_000,
})

let topic = ''
let database: FreshDatabase
let sql: postgres.Sql

before(async () => {
  topic = await freshTopic({ partitions, name: 'peers' })
  database = await freshDatabase()
  sql = postgres(database.url, { max: 1, onnotice() {} })
  await sql`create table peer_keys (tenant text, message_id uuid, primary key (message_id, tenant))`
  await sql`
    create table effects (
      id uuid, tenant_id text, n bigint, amount bigint, position bigint generated always as identity
    )`
  const numbers = [...Array(count).keys(), ...Array(copies).keys()] // the first ones come again
  const producer = new Producer({ clientId: 'test', bootstrapBrokers: kafkaAddress().split(','), idempotent: true })
  await producer.send({ messages: numbers.map((n) => ({ topic, ...messages.message(n) })), acks: -1 })
  await producer.close()
})

after(async () => {
  await sql.end({ timeout: 5 })
  await database.drop()
})

/** A running peer: what it has said, and how it ended. */
class Run {
  readonly group: string
  ready = 0
  done = 0
  readonly #child: ChildProcess
  #talk = ''

  private constructor(group: string, child: ChildProcess) {
    this.group = group
    this.#child = child
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.#talk += text))
    if (child.stdout === null) throw new Error('no output')
    createInterface({ input: child.stdout }).on('line', (text) => {
      const line = progressLine.parse(JSON.parse(text))
      if ('ready' in line) this.ready = line.ready
      else this.done = line.done
    })
  }

  static async of(name: string, work: Assignment['work'], group = `${name}-${work.kind}-${Date.now()}`): Promise<Run> {
    const peer = javaPeers.find((one) => one.name === name)
    if (peer === undefined) throw new Error(`no peer ${name}`)
    assert.ok(peer.works.includes(work.kind))
    const { program, args, env } = await peer.command()
    const assignment: Assignment = {
      kafka: kafkaAddress(),
      topic,
      group,
      postgres: database.url,
      work,
      concurrency: 50,
      partitions,
      connections: 4,
    }
    const child = spawn(program, args, {
      env: { ...process.env, ...env, [assignmentVariable]: JSON.stringify(assignment) },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    return new Run(group, child)
  }

  async reaches(records: number): Promise<void> {
    await eventually(() => this.done >= records || this.#child.exitCode !== null, {
      deadlineMs: 60_000,
      what: `${this.group} has finished ${records}, last ${this.done}`,
    })
    assert.ok(this.done >= records, `${this.done} finished: ${this.#talk}`)
  }

  async stop(): Promise<void> {
    const closed = new Promise<number | null>((resolve) => this.#child.once('close', resolve))
    this.#child.kill('SIGTERM')
    assert.is(await closed, 0, this.#talk)
  }
}

async function committed(group: string): Promise<number> {
  const admin = new Admin({ clientId: 'test', bootstrapBrokers: kafkaAddress().split(',') })
  try {
    const [found] = await admin.listConsumerGroupOffsets({ groups: [group] })
    const offsets = (found?.topics ?? []).flatMap(({ partitions: all }) =>
      all.map((one) => Number(one.committedOffset)),
    )
    return offsets.reduce((sum, offset) => sum + Math.max(0, offset), 0)
  } finally {
    await admin.close()
  }
}

async function emptyTables(): Promise<void> {
  await sql`truncate peer_keys, effects restart identity`
}

const exactlyOnce = { lost: 0, duplicated: 0, reordered: 0, altered: 0 }

const databaseWorks: readonly (readonly [string, WorkKind])[] = [
  ['parallel-consumer', 'transaction'],
  ['parallel-consumer', 'batch'],
  ['spring-kafka-record', 'transaction'],
  ['spring-kafka-batch', 'batch'],
]
for (const [name, kind] of databaseWorks)
  test(
    `${name} writes each message's row once and in order by ${kind}, and ends with 0 on SIGTERM`,
    async () => {
      await emptyTables()
      const run = await Run.of(name, { kind })
      await run.reaches(total)
      assert.ok(run.ready > 0)
      await run.stop()
      assert.is(run.done, total)
      assert.equal(await checkRows(sql, messages, count), exactlyOnce)
      assert.is(await committed(run.group), total)
    },
    { timeoutMs: 180_000 },
  )

for (const name of ['parallel-consumer', 'spring-kafka-record'])
  test(
    `what ${name} has not done when it is told to stop, its successor does`,
    async () => {
      await emptyTables()
      const first = await Run.of(name, { kind: 'transaction' })
      await first.reaches(1)
      await first.stop()
      const before = await committed(first.group)
      assert.ok(before <= first.done, `${before} committed, ${first.done} done`)
      const second = await Run.of(name, { kind: 'transaction' }, first.group)
      await eventually(async () => (await sql`select from effects`).length === count, { deadlineMs: 60_000 })
      await second.reaches(total - first.done)
      await second.stop()
      assert.equal(await checkRows(sql, messages, count), exactlyOnce)
      assert.is(await committed(first.group), total)
    },
    { timeoutMs: 180_000 },
  )

const posted = z.object({ tenant_id: z.string(), payload: z.object({ n: z.number() }) })

const otherWorks: readonly (readonly [string, WorkKind])[] = [
  ['java-consumer', 'nothing'],
  ['parallel-consumer', 'http'],
  ['parallel-consumer-reactor', 'waits'],
  ['parallel-consumer-reactor', 'http'],
  ['parallel-consumer-vertx', 'waits'],
  ['parallel-consumer-vertx', 'http'],
]
for (const [name, kind] of otherWorks)
  test(
    `${name} finishes ${kind} for every record, one of a key at a time, and ends with 0 on SIGTERM`,
    async () => {
      const orders = new Map<string, number>()
      let [posts, reordered] = [0, 0]
      const server = createServer((request, response) => {
        let body = ''
        request.setEncoding('utf8').on('data', (text: string) => (body += text))
        request.on('end', () => {
          const { tenant_id: tenant, payload } = posted.parse(JSON.parse(body))
          const before = orders.get(tenant) ?? -1
          if (payload.n < before && payload.n >= copies) reordered++
          orders.set(tenant, payload.n)
          posts++
          response.end()
        })
      }).listen(0, '127.0.0.1')
      await once(server, 'listening')
      const address = server.address()
      const port = typeof address === 'object' ? (address?.port ?? 0) : 0
      try {
        const run = await Run.of(name, { kind, ms: 1, times: 5, url: `http://127.0.0.1:${port}/` })
        await run.reaches(total)
        await run.stop()
        assert.is(run.done, total)
        assert.is(await committed(run.group), total)
        if (kind === 'http') assert.equal({ posts, reordered }, { posts: total, reordered: 0 })
      } finally {
        server.closeAllConnections()
        server.close()
      }
    },
    { timeoutMs: 180_000 },
  )

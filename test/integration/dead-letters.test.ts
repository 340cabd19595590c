// runtimes: node, bun
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Admin } from '@platformatic/kafka'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { Log, type LogRecord } from '../../cli/verify/log.ts'
import { systemClock } from '../../core/clock.ts'
import { KafkaPublisher, type OutgoingMessage } from '../../core/kafka/producer.ts'
import { silentLog } from '../../core/log.ts'
import { migrateUp } from '../../core/postgres/migrate.ts'
import { writeActor } from '../actor-folder.ts'
import { after, before, test } from '../harness.ts'
import { eventually, type FreshDatabase, freshDatabase, freshTopic, kafkaAddress } from '../services.ts'
import { type RunningCli, startCli } from '../spawn-cli.ts'

// A daemon, real Kafka and PostgreSQL: what is given up is in the table and on the topic, byte for byte.

const deadLetters = `dead.${randomUUID()}`
let folder = ''
let topic = ''
let database: FreshDatabase
let sql: postgres.Sql
let publisher: KafkaPublisher
let daemon: RunningCli

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tenantry-dead-'))
  topic = await freshTopic({ partitions: 2 })
  database = await freshDatabase()
  await migrateUp(database.url)
  sql = postgres(database.url, { max: 2, onnotice() {} })
  await sql`create table numbers (tenant_id text not null, n int not null)`
  writeActor(
    folder,
    'numbers',
    `import { z } from 'zod'
import { defineActor, Rejected } from 'tenantry'
export default defineActor({
  group: '${topic}',
  topic: '${topic}',
  messages: { number: z.object({ n: z.number().int() }) },
  receive(message, ctx) {
    if (message.payload.n < 0) throw new Rejected('less than nothing')
    ctx.insert('numbers', { n: message.payload.n })
  },
})
`,
  )
  writeFileSync(
    join(folder, 'tenantry.yml'),
    // The other driver's addon makes an empty value of a header's null, and text of its name.
    `kafka: { brokers: "\${BROKERS}", driver: platformatic }\ngroups:\n  ${topic}: { start: earliest }\nhttp: { port: 0 }\nworkers: { count: 1 }\ndeadLetters: { topic: ${deadLetters} }\n`,
  )
  publisher = new KafkaPublisher({
    bootstrap: kafkaAddress().split(','),
    clientId: 'test',
    clock: systemClock,
    log: silentLog,
  })
  daemon = startCli(['start'], { cwd: folder, env: { BROKERS: kafkaAddress(), DATABASE_URL: database.url } })
})

after(async () => {
  daemon?.child.kill('SIGTERM')
  await daemon?.ended
  await publisher?.stop()
  await sql?.end({ timeout: 1 })
  await database?.drop()
  rmSync(folder, { recursive: true, force: true })
})

function url(): Promise<string> {
  return eventually(() => /"url":"([^"]+)"/.exec(daemon.stdout())?.[1] ?? false, { deadlineMs: 60_000, what: 'HTTP' })
}

async function ready(): Promise<{ status: number; text: string }> {
  const answer = await fetch(`${await url()}/health/ready`)
  return { status: answer.status, text: await answer.text() }
}

function number(tenant: string, n: number, more: Partial<OutgoingMessage> = {}): OutgoingMessage {
  const value = { message_id: randomUUID(), type: 'number', tenant_id: tenant, trace_id: `trace ${n}`, payload: { n } }
  return { topic, key: Buffer.from(tenant), value: Buffer.from(JSON.stringify(value)), headers: [], ...more }
}

async function send(...messages: readonly OutgoingMessage[]): Promise<void> {
  for (const delivery of await publisher.send(messages)) assert.is(delivery.kind, 'delivered')
}

/** All that is on the topic of dead letters, in the order of its one partition. */
async function published(): Promise<LogRecord[]> {
  const log = new Log({ bootstrap: kafkaAddress().split(','), clientId: 'test' }, 'test')
  try {
    const { ends } = (await log.describe(deadLetters)) ?? { ends: [] }
    const records: LogRecord[] = []
    for await (const some of log.read(deadLetters, 0, 0, ends[0] ?? 0)) records.push(...some)
    return records
  } finally {
    await log.close()
  }
}

function header({ headers }: LogRecord, name: string): string | undefined {
  return headers.findLast(([own]) => own?.toString() === `tenantry-${name}`)?.[1]?.toString()
}

test(
  'a daemon whose topic of dead letters is missing says so, reads nothing, and starts when it is there',
  async () => {
    await send(number('acme', 1))
    const waiting = await eventually(
      async () => {
        const answer = await ready()
        return answer.text.includes('kafka.dead_letters') && answer
      },
      { deadlineMs: 60_000, what: 'the reason' },
    )
    assert.is(waiting.status, 503)
    assert.ok(waiting.text.includes(`The topic ${deadLetters} does not exist`), waiting.text)
    assert.is((await sql`select from sys.partition_progress`).length, 0)
    const admin = new Admin({ clientId: 'test', bootstrapBrokers: kafkaAddress().split(',') })
    const configs = [{ name: 'max.message.bytes', value: '20000' }]
    await admin.createTopics({ topics: [deadLetters], partitions: 1, replicas: 1, configs })
    await admin.close()
    await eventually(async () => (await ready()).status === 200, { deadlineMs: 60_000, what: 'readiness' })
    await eventually(async () => (await sql`select from numbers`).length === 1, { deadlineMs: 30_000, what: 'the row' })
  },
  { timeoutMs: 240_000 },
)

test(
  'poison of every kind ends in the table and on the topic, in order, with the bytes that it had',
  async () => {
    const bytes = Buffer.from([0xff, 0, 0xc3, 0x28, 0x1b, 0x5b])
    const headers: OutgoingMessage['headers'] = [
      ['same', null],
      ['same', bytes],
      [Buffer.from([0x80]), Buffer.alloc(0)],
      ['tenantry-reason', 'a lie'],
    ]
    const sent = [
      number('acme', -1, { headers }),
      number('acme', 0, { value: bytes, headers }),
      number('acme', 0, { value: null }),
      number('acme', 2),
      number('acme', -2),
    ]
    await send(...sent)
    const poison = sent.filter((_, place) => place !== 3)
    const rows = await eventually(
      async () => {
        const found = await sql<Letter[]>`
          select record_offset::text as offset, record_key as key, record_value as value, reason, published, partition
          from sys.dead_letters order by id`
        return found.length === poison.length && found
      },
      { deadlineMs: 30_000, what: 'the dead letters' },
    )
    const records = await eventually(
      async () => {
        const found = await published()
        return found.length === poison.length && found
      },
      { deadlineMs: 30_000, what: 'their messages' },
    )
    assert.equal(
      rows.map(({ reason, published: state }) => [reason, state]),
      ['rejected', 'bad_utf8', 'null_value', 'rejected'].map((reason) => [reason, 'yes']),
    )
    poison.forEach(({ key, value, headers: own }, place) => {
      const [row, record] = [rows[place], records[place]]
      if (row === undefined || record === undefined) throw new Error('missing')
      assert.equal([row.key, row.value], [key, value])
      assert.equal([record.key, record.value], [key, value])
      const asBytes = own.map(([name, text]) => [Buffer.from(name), text === null ? null : Buffer.from(text)])
      assert.equal(record.headers.slice(0, own.length), asBytes)
      assert.is(record.headers.length, own.length + 16)
      const told = ['origin-topic', 'origin-offset', 'origin-partition', 'reason', 'tenant', 'attempts'] as const
      assert.equal(
        told.map((name) => header(record, name)),
        [topic, row.offset, String(row.partition), row.reason, 'acme', '1'],
      )
    })
    const [rejected] = records
    if (rejected === undefined) throw new Error('missing')
    assert.is(header(rejected, 'error-message'), 'less than nothing')
    assert.is(header(rejected, 'error-class'), 'Rejected')
    assert.match(header(rejected, 'error-stack') ?? '', /numbers\.ts/)
    assert.is(header(rejected, 'trace-id'), 'trace -1')
    const age = Date.now() - Date.parse(header(rejected, 'failed-at') ?? '')
    assert.ok(age >= 0 && age < 120_000, `failed ${age} ms ago`)
    await eventually(async () => (await sql`select from sys.outbox`).length === 0, {
      deadlineMs: 30_000,
      what: 'an empty outbox',
    })
  },
  { timeoutMs: 120_000 },
)

type Letter = {
  offset: string
  key: Buffer | null
  value: Buffer | null
  reason: string
  published: string
  partition: number
}

test(
  'a dead letter too large for the topic is the row that it is, which says so, and what follows goes on',
  async () => {
    const before = (await published()).length
    await send(
      number('acme', 0, { value: Buffer.alloc(30_000, '{') }),
      number('acme', -3),
      number('acme', 4),
      number('umbrella', -4),
    )
    await eventually(async () => (await published()).length === before + 2, { deadlineMs: 60_000, what: 'the others' })
    const refused = await eventually(
      async () => {
        const rows = await sql<{ published: string; bytes: number }[]>`
          select published, octet_length(record_value) as bytes from sys.dead_letters where published like 'refused: %'`
        return rows.length === 1 && rows
      },
      { deadlineMs: 30_000, what: 'the refusal' },
    )
    assert.match(refused[0]?.published ?? '', /^refused: MESSAGE_TOO_LARGE/)
    assert.is(refused[0]?.bytes, 30_000)
    assert.is((await sql`select from sys.dead_letters where reason = 'publish_refused'`).length, 0)
    await eventually(async () => (await sql`select from numbers where n = 4`).length === 1, { what: 'the row' })
    assert.is((await ready()).status, 200)
    assert.match(daemon.stdout(), /"event":"outbox\.refused".*it is a row alone/)
  },
  { timeoutMs: 120_000 },
)

// runtimes: node, bun
import { createHash, randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { verify } from '../../cli/verify/verify.ts'
import { systemClock } from '../../core/clock.ts'
import { KafkaPublisher } from '../../core/kafka/producer.ts'
import { silentLog } from '../../core/log.ts'
import { migrateUp } from '../../core/postgres/migrate.ts'
import { writeActor } from '../actor-folder.ts'
import { after, before, test } from '../harness.ts'
import { eventually, type FreshDatabase, freshDatabase, freshTopic, kafkaAddress } from '../services.ts'
import { type RunningCli, runCli, startCli } from '../spawn-cli.ts'

// Poison, a mended actor, and its dead letters replayed: on a real daemon, Kafka and PostgreSQL.

let folder = ''
let topic = ''
let database: FreshDatabase
let sql: postgres.Sql
let publisher: KafkaPublisher
let daemon: RunningCli | undefined
const settings = () => ({ cwd: folder, env: { BROKERS: kafkaAddress(), DATABASE_URL: database.url } })

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tenantry-replay-'))
  topic = await freshTopic({ partitions: 2 })
  database = await freshDatabase()
  await migrateUp(database.url)
  sql = postgres(database.url, { max: 2, onnotice() {} })
  await sql`create table numbers (
    place bigint generated always as identity, tenant_id text not null, message_id text not null,
    n int not null)`
  writeFileSync(
    join(folder, 'tenantry.yml'),
    `kafka: { brokers: "\${BROKERS}", driver: platformatic }\ngroups:\n  ${topic}: { start: earliest }\nhttp: { enabled: false }\nworkers: { count: 1 }\ndeadLetters: { topic: off }\n`,
  )
  publisher = new KafkaPublisher({
    bootstrap: kafkaAddress().split(','),
    clientId: 'test',
    clock: systemClock,
    log: silentLog,
  })
})

after(async () => {
  await stop()
  await publisher?.stop()
  await sql?.end({ timeout: 1 })
  await database?.drop()
  rmSync(folder, { recursive: true, force: true })
})

/** Starts the daemon with an actor that fails at these, and takes such numbers. */
function start(fails: string, number = 'z.number().int()'): void {
  writeActor(
    folder,
    'numbers',
    `import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { z } from 'zod'
import { defineActor, Rejected } from 'tenantry'
export default defineActor({
  group: '${topic}',
  topic: '${topic}',
  retry: { delaysMs: Array.from({ length: 6_000 }, () => 100) },
  state: { version: 1, schema: z.object({ chain: z.string() }), initial: { chain: '' } },
  messages: { number: z.object({ n: ${number} }) },
  receive({ message_id, payload: { n } }, ctx) {
    ${fails}
    ctx.state.chain = createHash('sha256').update(ctx.state.chain + n).digest('hex')
    ctx.insert('numbers', { message_id, n })
  },
})
`,
  )
  daemon = startCli(['start'], settings())
}

async function stop(): Promise<void> {
  daemon?.child.kill('SIGTERM')
  await daemon?.ended
  daemon = undefined
}

function send(tenant: string, ...numbers: readonly number[]): Promise<void> {
  return sendAs(
    tenant,
    numbers.map((n) => [randomUUID(), n]),
  )
}

async function sendAs(tenant: string, named: readonly (readonly [id: string, n: unknown])[]): Promise<void> {
  const messages = named.map(([id, n]) => {
    const value = { message_id: id, type: 'number', tenant_id: tenant, payload: { n } }
    return { topic, key: Buffer.from(tenant), value: Buffer.from(JSON.stringify(value)), headers: [] }
  })
  for (const delivery of await publisher.send(messages)) assert.is(delivery.kind, 'delivered')
}

async function numbersOf(tenant: string): Promise<number[]> {
  const rows = await sql<{ n: number }[]>`select n from numbers where tenant_id = ${tenant} order by place`
  return rows.map(({ n }) => n)
}

async function chainOf(tenant: string): Promise<string | undefined> {
  const [row] = await sql<{ chain: string }[]>`
    select state ->> 'chain' as chain from sys.actor_state where tenant_id = ${tenant}`
  return row?.chain
}

function chained(numbers: readonly number[]): string {
  return numbers.reduce((chain, n) => createHash('sha256').update(`${chain}${n}`).digest('hex'), '')
}

async function open(): Promise<number> {
  return (await sql`select from sys.dead_letters where state = 'open'`).length
}

function replay(...args: readonly string[]) {
  return runCli(['dlq', 'replay', '--reason', 'mended', '--yes', ...args], settings())
}

/** What the checker counts, which finds nothing wrong. */
async function verified(): Promise<{ processed: number; replayed: number; dead: number; parked: number }> {
  const report = await verify({
    kafka: { bootstrap: kafkaAddress().split(','), clientId: 'test' },
    postgres: database.url,
    group: topic,
    effects: [{ table: 'numbers', column: 'message_id' }],
    orders: [{ table: 'numbers', column: 'message_id', sequence: 'place' }],
  })
  assert.equal(report.findings, [])
  const { processed, replayed, dead_letters: dead, parked } = report
  return { processed, replayed, dead, parked }
}

async function all(tenant: string, numbers: readonly number[]): Promise<void> {
  await eventually(async () => (await numbersOf(tenant)).length >= numbers.length, { deadlineMs: 60_000, what: tenant })
  assert.equal(await numbersOf(tenant), numbers)
  assert.is(await chainOf(tenant), chained(numbers), 'each once, in this order')
}

test(
  'with its actor mended, what was given up is processed once, in order, after what has gone by',
  async () => {
    start(`if (n % 10 === 7) throw new Rejected('no sevens')`)
    const numbers = Array.from({ length: 40 }, (_, n) => n)
    for (const tenant of ['acme', 'umbrella']) await send(tenant, ...numbers)
    await eventually(async () => (await open()) === 8, { deadlineMs: 60_000, what: 'the dead letters' })
    // What follows the last of them would else come after the replayed ones.
    for (const tenant of ['acme', 'umbrella']) {
      const well = numbers.filter((n) => n % 10 !== 7)
      await all(tenant, well)
    }
    await stop()
    // 17 is still too much.
    start(`if (n === 17) throw new Rejected('too much')`)
    const done = await replay('--group', topic, '--wait')
    assert.is(done.code, 6, done.stderr)
    assert.match(done.stderr, '8 dead letters replayed')
    assert.match(done.stderr, '6 succeeded, 2 are dead letters again')
    const first = [...numbers.filter((n) => n % 10 !== 7), 7, 27, 37]
    for (const tenant of ['acme', 'umbrella']) await all(tenant, first)
    const again = await sql<{ replays: number; error: string }[]>`
      select replay_count as replays, error_message as error from sys.dead_letters where state = 'open'`
    assert.equal(
      again.map(({ replays, error }) => [replays, error]),
      [1, 2].map(() => [1, 'too much']),
    )
    await stop()
    assert.equal(await verified(), { processed: 78, replayed: 6, dead: 2, parked: 0 })
    start('')
    const ids = (await sql<{ id: string }[]>`select id from sys.dead_letters where state = 'open'`).map(({ id }) => id)
    const both = await Promise.all([replay(...ids), replay(...ids)])
    const codes = both.map(({ code }) => code ?? -1).sort((one, other) => one - other)
    assert.equal(codes, [0, 1], both.map(({ stderr }) => stderr).join())
    for (const tenant of ['acme', 'umbrella']) await all(tenant, [...first, 17])
    assert.is((await replay(...ids)).code, 1, 'twice is once')
    await send('acme', 40)
    await all('acme', [...first, 17, 40])
    assert.is(await open(), 0)
    assert.is((await sql`select from sys.parked_messages`).length, 0)
    await stop()
    assert.equal(await verified(), { processed: 81, replayed: 8, dead: 0, parked: 0 })
  },
  { timeoutMs: 240_000 },
)

test(
  'a bad record holds no key: its message is processed when it comes mended, and else when the actor takes it',
  async () => {
    const [resent, kept, last] = [randomUUID(), randomUUID(), randomUUID()]
    const before = await verified()
    start('')
    await sendAs('mender', [
      [resent, '1'],
      [resent, '1'],
      [kept, '2'],
      [randomUUID(), 3],
      [resent, 1],
      [resent, 1],
      [last, 4],
    ])
    await all('mender', [3, 1, 4])
    assert.is(await open(), 3, 'each copy of a bad record is a dead letter')
    const told = async () => {
      const { processed, replayed, dead } = await verified()
      return [processed - before.processed, replayed - before.replayed, dead - before.dead]
    }
    assert.equal(await told(), [3, 0, 3])
    await stop()
    start('', 'z.coerce.number().int()')
    const done = await replay('--tenant', 'mender', '--wait')
    assert.is(done.code, 0, done.stderr)
    await all('mender', [3, 1, 4, 2])
    assert.equal(await told(), [4, 1, 0])
    await sendAs('mender', [
      [kept, '2'],
      [randomUUID(), 5],
    ])
    await all('mender', [3, 1, 4, 2, 5])
    assert.is(await open(), 0)
    await stop()
    // By the logs alone it is not known which of the two was processed.
    assert.equal(await told(), [5, 0, 0])
  },
  { timeoutMs: 240_000 },
)

test(
  'what is replayed while its tenant fails comes when that is over, and hinders nobody',
  async () => {
    const mended = join(folder, 'mended')
    start(`if (n === 1) throw new Rejected('no')`)
    await send('sick', 0, 1, 2)
    await eventually(async () => (await open()) === 1, { deadlineMs: 60_000, what: 'the dead letter' })
    await stop()
    start(`if (n === 3 && !existsSync('${mended}')) throw new Error('not yet')`)
    await send('sick', 3, 4, 5)
    await eventually(async () => (await sql`select from sys.retries`).length > 0, {
      deadlineMs: 60_000,
      what: 'a retry',
    })
    assert.is((await replay('--tenant', 'sick')).code, 0)
    assert.is((await verified()).parked, 1)
    await send('well', 0, 1)
    await all('well', [0, 1])
    assert.equal(await numbersOf('sick'), [0, 2])
    writeFileSync(mended, '')
    await eventually(async () => (await numbersOf('sick')).length === 6, { deadlineMs: 60_000, what: 'the sick' })
    const numbers = await numbersOf('sick')
    assert.equal(new Set(numbers), new Set([0, 1, 2, 3, 4, 5]))
    assert.equal(
      numbers.filter((n) => n !== 1),
      [0, 2, 3, 4, 5],
    )
    assert.is(await chainOf('sick'), chained(numbers))
    assert.is(await open(), 0)
    await stop()
  },
  { timeoutMs: 240_000 },
)

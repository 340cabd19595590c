// runtimes: node, bun
import { hash, randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Producer } from '@platformatic/kafka'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { idOf, textOf } from '../../cli/verify/ids.ts'
import { chainPlace } from '../../cli/verify/places.ts'
import type { Report } from '../../cli/verify/report.ts'
import { verify, type VerifyOptions } from '../../cli/verify/verify.ts'
import { messageOf, TenantryError } from '../../core/errors.ts'
import { migrateUp } from '../../core/postgres/migrate.ts'
import { writeActor } from '../actor-folder.ts'
import { after, before, test } from '../harness.ts'
import { eventually, freshDatabase, freshTopic, kafkaAddress } from '../services.ts'
import { runCli, startCli } from '../spawn-cli.ts'

const messages = 600
const tenants = 7

let folder = ''
let topic = ''
let database: Awaited<ReturnType<typeof freshDatabase>>
let sql: postgres.Sql

/** What the daemon has made of a log with copies, dead letters of two kinds, and an aborted transaction. */
before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tenantry-verify-'))
  topic = await freshTopic({ partitions: 4 })
  database = await freshDatabase()
  await migrateUp(database.url)
  sql = postgres(database.url, { max: 2, onnotice() {} })
  await sql`create table effects (message_id text not null, tenant_id text not null, number integer not null)`
  await sql`create table chains (tenant_id text not null, chain text not null)`
  writeProject()
  await produce()
  const daemon = startCli(['start'], { cwd: folder, env: settings() })
  await eventually(
    async () => {
      const [row] = await sql<{ done: number }[]>`select count(*)::int as done from effects`
      const [letters] = await sql<{ given: number }[]>`select count(*)::int as given from sys.dead_letters`
      return row?.done === messages - 6 && letters?.given === 7
    },
    { deadlineMs: 60_000, every: 100, what: 'everything to be done' },
  ).catch((error: unknown) => {
    daemon.child.kill('SIGKILL')
    throw new Error(`${String(error)}\n${daemon.stdout().slice(-3_000)}`)
  })
  daemon.child.kill('SIGTERM')
  assert.is((await daemon.ended).code, 0)
  await sql`
    insert into chains (tenant_id, chain)
    select tenant_id, state ->> 'chain' from sys.actor_state where group_name = ${topic}`
})

after(async () => {
  await sql.end()
  await database.drop()
  rmSync(folder, { recursive: true, force: true })
})

function writeProject(): void {
  writeActor(
    folder,
    'counting',
    `import { hash } from 'node:crypto'
import { z } from 'zod'
import { defineActor, Rejected } from 'tenantry'
export default defineActor({
  group: '${topic}',
  topic: '${topic}',
  state: { version: 1, schema: z.object({ messages: z.number(), chain: z.string() }), initial: { messages: 0, chain: '' } },
  messages: { count: z.object({ n: z.number() }) },
  receive({ message_id, payload }, ctx) {
    if (payload.n % 100 === 50) throw new Rejected('one in a hundred')
    ctx.state.messages += 1
    ctx.state.chain = hash('sha256', ctx.state.chain + message_id, 'hex')
    ctx.insert('effects', { message_id, number: ctx.state.messages })
  },
})
`,
  )
  writeFileSync(
    join(folder, 'tenantry.yml'),
    `kafka: { brokers: "\${BROKERS}", driver: platformatic }\ngroups:\n  ${topic}: { start: earliest }\nhttp: { enabled: false }\ndeadLetters: { topic: off }\nworkers: { count: 1 }\n`,
  )
}

function settings(): Record<string, string> {
  return { BROKERS: kafkaAddress(), DATABASE_URL: database.url }
}

async function produce(): Promise<void> {
  const message = (n: number, id: string) => {
    const tenant = `tenant-${n % tenants}`
    const value = { message_id: id, type: 'count', tenant_id: tenant, payload: { n } }
    return { topic, key: Buffer.from(tenant), value: Buffer.from(JSON.stringify(value)) }
  }
  // UUIDs and names alike; every fiftieth comes twice, some of them among the rejected.
  const ids = Array.from({ length: messages }, (_, n) => (n % 3 === 0 ? `flight ${n}` : randomUUID()))
  const all = ids.flatMap((id, n) => (n % 50 === 0 ? [message(n, id), message(n, id)] : [message(n, id)]))
  const broken = { topic, key: Buffer.from('tenant-1'), value: Buffer.from('{') }
  const producer = new Producer({ clientId: 'test', bootstrapBrokers: kafkaAddress().split(',') })
  await producer.send({ messages: [...all, broken], acks: -1 })
  await producer.close()
  const unsure = new Producer({
    clientId: 'test',
    bootstrapBrokers: kafkaAddress().split(','),
    transactionalId: `verify-${topic}`,
    idempotent: true,
  })
  for (const round of [0, 1]) {
    const transaction = await unsure.beginTransaction()
    await transaction.send({ messages: [message(round, randomUUID()), message(round + 1, randomUUID())], acks: -1 })
    await transaction.abort()
  }
  await unsure.close()
}

function look(options: Partial<VerifyOptions> = {}): Promise<Report> {
  return verify({
    kafka: { bootstrap: kafkaAddress().split(','), clientId: 'test' },
    postgres: database.url,
    group: topic,
    effects: [{ table: 'effects', column: 'message_id' }],
    orders: [{ table: 'effects', column: 'message_id', sequence: 'number' }],
    chains: [
      { in: 'state', path: ['chain'] },
      { in: 'table', table: 'public.chains', column: 'chain' },
    ],
    ...options,
  })
}

function faults({ lost, duplicated, reordered, invented }: Report): readonly number[] {
  return [lost, duplicated, reordered, invented]
}

test('what the daemon did is found right, and all three are proven', async () => {
  const report = await look()
  assert.equal(report.findings, [])
  assert.equal(faults(report), [0, 0, 0, 0])
  assert.ok(report.ok)
  const { records, processed, duplicates, dead_letters: dead, waiting, skipped } = report
  assert.equal(
    { records, processed, duplicates, dead, waiting, skipped },
    {
      records: messages + 12 + 1,
      processed: messages - 6,
      duplicates: 12,
      dead: 7,
      waiting: 0,
      skipped: 0,
    },
  )
  for (const proof of Object.values(report.proofs)) assert.ok(proof.proven && proof.checked >= messages - 6)
})

test('one effect that is missing is lost, and named', async () => {
  const [row] = await sql<Effect[]>`
    delete from effects where number = 3 and tenant_id = 'tenant-2' returning message_id, tenant_id, number`
  try {
    const report = await look()
    assert.equal(faults(report), [1, 0, 0, 0])
    assert.is(report.ok, false)
    const [finding] = report.findings
    assert.is(finding?.fault, 'lost')
    assert.is(finding?.tenant, 'tenant-2')
    assert.ok((finding?.offset ?? -1) >= 0)
  } finally {
    if (row) await sql`insert into effects ${sql(row)}`
  }
})

test('one effect that is there twice is duplicated', async () => {
  await sql`
    insert into effects (message_id, tenant_id, number)
    select message_id, tenant_id, 1000000 from effects where number = 3 and tenant_id = 'tenant-2'`
  try {
    const report = await look({ orders: [] })
    assert.equal(faults(report), [0, 1, 0, 0])
    assert.is(report.ok, false)
  } finally {
    await sql`delete from effects where number = 1000000`
  }
})

test('two effects that changed places are reordered', async () => {
  const swap = () => sql`
    update effects set number = 7 - number where tenant_id = 'tenant-3' and number in (3, 4)`
  await swap()
  try {
    const report = await look()
    assert.equal(faults(report), [0, 0, 1, 0])
    assert.is(report.findings[0]?.tenant, 'tenant-3')
  } finally {
    await swap()
  }
})

test('a chain that is not the log’s is reordered, in a state and in a table', async () => {
  const [before] = await sql<{ state: string }[]>`
    select state::text as state from sys.actor_state where group_name = ${topic} and tenant_id = 'tenant-4'`
  await sql`
    update sys.actor_state set state = '{"messages": 1, "chain": "00"}' where group_name = ${topic} and tenant_id = 'tenant-4'`
  await sql`update chains set chain = '00' where tenant_id = 'tenant-5'`
  try {
    const report = await look()
    assert.equal(faults(report), [0, 0, 2, 0])
    assert.equal(new Set(report.findings.map(({ tenant }) => tenant)), new Set(['tenant-4', 'tenant-5']))
    assert.is(report.proofs.lost.by.includes("chains in the state's chain"), false, 'a wrong chain proves nothing else')
  } finally {
    await sql`
      update sys.actor_state set state = ${before?.state ?? ''}::text::json where group_name = ${topic} and tenant_id = 'tenant-4'`
    await sql`
      update chains set chain = (select state ->> 'chain' from sys.actor_state where group_name = ${topic} and tenant_id = 'tenant-5')
      where tenant_id = 'tenant-5'`
  }
})

test('a chain where no state has any is a wrong place, not a wrong chain', async () => {
  const reason = async (chain: string) => {
    const error = await look({ chains: [chainPlace(chain)] }).catch((thrown: unknown) => thrown)
    assert.is(error instanceof TenantryError && error.code, 'TENANTRY_VERIFY_PLACE')
    return messageOf(error)
  }
  assert.match(await reason('state:chian'), /did you mean chain\?\): the states have chain, messages/)
  assert.match(await reason(`state:${topic}x:chain`), /did you mean .*: the group has states of /)
})

test('a record without key and dead letter is lost', async () => {
  const keys = await sql<Key[]>`
    delete from sys.request_keys
    where ctid = (select ctid from sys.request_keys where group_name = ${topic} limit 1)
    returning message_id, tenant_id, group_name, day`
  const letters = await sql<Letter[]>`
    delete from sys.dead_letters where reason = 'bad_json' returning partition, record_offset::int`
  try {
    assert.equal([keys.length, letters.length], [1, 1])
    const report = await look({ effects: [], orders: [], chains: [] })
    assert.equal(faults(report), [2, 0, 0, 0])
    assert.ok(report.findings.some(({ offset }) => offset === letters[0]?.record_offset))
  } finally {
    for (const key of keys) await sql`insert into sys.request_keys ${sql(key)}`
    for (const { partition, record_offset: offset } of letters)
      await sql`
        insert into sys.dead_letters (group_name, topic, topic_id, partition, record_offset, header_names, header_values,
          tenant_id, actor, message_id, message_type, trace_id, reason, error_class, error_message, error_stack, attempts)
        select group_name, topic, topic_id, ${partition}, ${offset}, '{}', '{}', '', '', '', '', '', 'bad_json', '', '', '', 1
        from sys.consumed_topics where group_name = ${topic}`
  }
})

test('keys, effects and dead letters that no record explains are invented', async () => {
  const id = randomUUID()
  await sql`insert into effects (message_id, tenant_id, number) values (${id}, 'tenant-1', 2000000)`
  await sql`insert into sys.request_keys (message_id, tenant_id, group_name, day) values (${id}, 'tenant-1', ${topic}, 0)`
  await sql`update sys.dead_letters set record_offset = record_offset + 1000000 where reason = 'bad_json'`
  try {
    const report = await look()
    assert.equal(faults(report), [1, 0, 0, 3])
  } finally {
    await sql`delete from effects where number = 2000000`
    await sql`delete from sys.request_keys where message_id = ${id}`
    await sql`update sys.dead_letters set record_offset = record_offset - 1000000 where reason = 'bad_json'`
  }
})

test('the effect of a dead letter is invented', async () => {
  await sql`
    insert into effects (message_id, tenant_id, number)
    select message_id, tenant_id, 3000000 from sys.dead_letters where reason = 'rejected' limit 1`
  try {
    assert.equal(faults(await look({ orders: [] })), [0, 0, 0, 1])
  } finally {
    await sql`delete from effects where number = 3000000`
  }
})

test('a parked record is waiting, not lost; with its key or its effect it is invented', async () => {
  const tenant = 'tenant-6'
  const made = await sql<Effect[]>`
    select message_id, tenant_id, number from effects where tenant_id = ${tenant} order by number`
  const last = made.at(-1)
  if (last === undefined) throw new Error('the tenant has no effects')
  const { message_id: id } = last
  // As if the tenant's last record had been parked, and were to come.
  const chain = made.slice(0, -1).reduce((link, effect) => hash('sha256', link + effect.message_id, 'hex'), '')
  const [place] = await sql<{ topic_id: string; partition: number }[]>`
    select topic_id, partition from sys.actor_state
    join sys.consumed_topics using (group_name, topic)
    where group_name = ${topic} and tenant_id = ${tenant}`
  const takeKey = () => sql<Key[]>`
    delete from sys.request_keys where message_id = ${textOf(idOf(id))} and tenant_id = ${tenant}
    returning message_id, tenant_id, group_name, day`
  const keys = await takeKey()
  await sql`delete from effects where message_id = ${id}`
  await setChain(chain, made.length - 1)
  const missing = await look()
  const offset = missing.findings[0]?.offset ?? -1
  await sql`
    insert into sys.parked_messages (group_name, topic_id, partition, tenant_id, record_offset, origin_topic_id,
      origin_partition, record_timestamp, header_names, header_values, attempts)
    values (${topic}, ${place?.topic_id ?? ''}, ${place?.partition ?? 0}, ${tenant}, ${offset}, ${place?.topic_id ?? ''},
      ${place?.partition ?? 0}, -1, '{}', '{}', 0)`
  try {
    assert.ok(missing.lost > 0, 'it is lost as long as nothing says that it waits')
    const right = await look()
    assert.equal(right.findings, [])
    assert.ok(right.ok)
    assert.equal([right.waiting, right.parked, right.processed], [1, 1, messages - 6 - 1])
    const told = await runCli(['verify', '--group', topic], { cwd: folder, env: settings() })
    assert.match(told.stdout, /^Group .* records are done, 1 wait \(1 parked\)\.$/m)

    await sql`insert into effects ${sql(last)}`
    assert.equal(faults(await look({ chains: [] })), [0, 0, 0, 1])
    await sql`delete from effects where message_id = ${id}`
    for (const one of keys) await sql`insert into sys.request_keys ${sql(one)}`
    const keyed = await look()
    assert.equal(faults(keyed), [0, 0, 0, 1])
    assert.is(keyed.findings[0]?.what, 'a key of a record that is parked')
  } finally {
    await sql`delete from sys.parked_messages`
    await takeKey()
    for (const one of keys) await sql`insert into sys.request_keys ${sql(one)}`
    await sql`delete from effects where message_id = ${id}`
    await sql`insert into effects ${sql(last)}`
    await setChain(hash('sha256', chain + id, 'hex'), made.length)
  }

  async function setChain(value: string, count: number): Promise<void> {
    await sql`
      update sys.actor_state set state = json_build_object('messages', ${count}::int, 'chain', ${value}::text)
      where group_name = ${topic} and tenant_id = ${tenant}`
    await sql`update chains set chain = ${value} where tenant_id = ${tenant}`
  }
})

test('without effects it says what it cannot prove, and in offset mode that it can prove nothing', async () => {
  const keysOnly = await look({ effects: [], orders: [], chains: [] })
  assert.ok(keysOnly.ok)
  assert.equal(
    [keysOnly.proofs.lost.proven, keysOnly.proofs.duplicated.proven, keysOnly.proofs.reordered.proven],
    [true, false, false],
  )
  const nothing = await look({ mode: 'offset', effects: [], orders: [], chains: [] })
  assert.equal(faults(nothing), [0, 0, 0, 0])
  assert.is(nothing.ok, false)
  assert.match(nothing.remarks.join(), /Nothing could be proven/)
})

test('the command exits with 0, with 1 when something is wrong, and names a place that is not there', async () => {
  const at = { cwd: folder, env: settings() }
  const places = ['--effects', 'effects:message_id', '--order', 'effects:message_id:number', '--chain', 'state:chain']
  const right = await runCli(['verify', ...places, '--json'], at)
  assert.is(right.code, 0, right.stderr)
  assert.match(right.stdout, new RegExp(`"processed":${messages - 6},`))

  await sql`update effects set number = 7 - number where tenant_id = 'tenant-3' and number in (3, 4)`
  const wrong = await runCli(['verify', '--group', topic, ...places], at)
  await sql`update effects set number = 7 - number where tenant_id = 'tenant-3' and number in (3, 4)`
  assert.is(wrong.code, 1)
  assert.match(wrong.stdout, /reordered: a row of effects.*tenant-3/)

  const nowhere = await runCli(['verify', '--effects', 'nowhere:message_id'], at)
  assert.is(nowhere.code, 2)
  assert.match(nowhere.stderr, /TENANTRY_VERIFY_PLACE/)
  const other = await runCli(['verify', '--group', 'another'], at)
  assert.is(other.code, 2)
  assert.match(other.stderr, /TENANTRY_VERIFY_GROUP/)
})

test('a Kafka that is away, and a table that this login may not read, are said to be so', async () => {
  const away = await runCli(['verify', '--group', topic], {
    cwd: folder,
    env: { ...settings(), BROKERS: '127.0.0.1:1' },
  })
  assert.is(away.code, 4, away.stderr)
  assert.match(away.stderr, /^Kafka did not let us .*\(TENANTRY_KAFKA_UNAVAILABLE\)$/m)
  const role = `verify_${process.pid}`
  await sql`create role ${sql(role)} login`
  try {
    const url = new URL(database.url)
    url.username = role
    const refused = await runCli(['verify', '--group', topic], {
      cwd: folder,
      env: { ...settings(), DATABASE_URL: url.href },
    })
    assert.is(refused.code, 5, refused.stderr)
    assert.match(refused.stderr, /permission denied.*\(TENANTRY_POSTGRES_REFUSED\)$/m)
  } finally {
    await sql`drop role ${sql(role)}`
  }
})

type Effect = { message_id: string; tenant_id: string; number: number }
type Key = { message_id: string; tenant_id: string; group_name: string; day: number }
type Letter = { partition: number; record_offset: number }

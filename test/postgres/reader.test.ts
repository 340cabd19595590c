// runtimes: node, bun
import { createServer } from 'node:net'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { ReadConnections } from '../../actors/read-connections.ts'
import { PostgresReader } from '../../actors/reader.ts'
import { systemClock } from '../../core/clock.ts'
import { WireProxy } from '../chaos/wire-proxy.ts'
import { after, before, test } from '../harness.ts'
import { eventually, type FreshDatabase, freshDatabase } from '../services.ts'

// `ctx.query` on a real server: what happens to its connection is nobody's failure.

let database: FreshDatabase
let admin: postgres.Sql
let connections: ReadConnections

before(async () => {
  database = await freshDatabase()
  admin = postgres(database.url, { max: 2, onnotice() {} })
  connections = new ReadConnections({ url: database.url, clock: systemClock })
})

after(async () => {
  await connections.close()
  await admin.end({ timeout: 1 })
  await database.drop()
})

const queryOf =
  (over: ReadConnections, tenant = 'acme') =>
  async (text: TemplateStringsArray, ...values: unknown[]) =>
    (await new PostgresReader(over).query(tenant, text, values)).map((row) => ({ ...row }))

const query = (text: TemplateStringsArray, ...values: unknown[]) => queryOf(connections)(text, ...values)

/** Ends the backends of readers that run this; resolves when there was one. */
function end(part: string): Promise<number> {
  return eventually(
    async () => {
      const ended = await admin`
        select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and application_name = 'tenantry reader' and query like ${`%${part}%`}`
      return ended.length
    },
    { what: `a reader that runs ${part}` },
  )
}

test('a read whose backend is ended is run again, and its thread lives on', async () => {
  const read = query`select pg_sleep(0.5)::text as slept, ${7}::int as seven`
  await end('pg_sleep(0.5)')
  assert.equal(await read, [{ slept: '', seven: 7 }])
  assert.equal(await query`select 2 as two`, [{ two: 2 }])
})

test('a connection that was ended while nobody read is opened anew', async () => {
  await query`select 3 as three`
  const ended = await admin`
    select pg_terminate_backend(pid, 5000) from pg_stat_activity
    where datname = current_database() and application_name = 'tenantry reader'`
  assert.ok(ended.length > 0)
  assert.equal(await query`select 3 as three`, [{ three: 3 }])
})

test('a connection that is cut in mid-read is opened anew', async () => {
  const proxy = await WireProxy.before(database.url)
  const over = new ReadConnections({ url: proxy.url, clock: systemClock })
  try {
    const read = queryOf(over)`select pg_sleep(0.6)::text as slept`
    await eventually(
      async () =>
        (await admin`select from pg_stat_activity where query like '%pg_sleep(0.6)%' and pid <> pg_backend_pid()`)
          .length > 0,
    )
    proxy.cut()
    assert.equal(await read, [{ slept: '' }])
  } finally {
    await over.close()
    await proxy.close()
  }
})

test('a server that is away longer than the bound fails the read, and says so', async () => {
  const server = createServer((socket) => socket.destroy())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  const over = new ReadConnections({
    url: `postgres://nobody@127.0.0.1:${address.port}/none`,
    clock: systemClock,
    giveUpMs: 200,
  })
  await queryOf(over)`select 1`.then(
    () => assert.unreachable(),
    (error: unknown) => assert.is(Reflect.get(Object(error), 'code'), 'TENANTRY_DATABASE_AWAY'),
  )
  await over.close()
  server.close()
})

test('a statement that is wrong fails at once, and the next one works', async () => {
  for (const [wrong, code] of [
    [() => query`select nothing from nowhere`, '42P01'],
    [() => query`select ${'x'}::int`, '22P02'],
    [() => query`select 1 / ${0}::int`, '22012'],
  ] as const) {
    await wrong().then(
      () => assert.unreachable(),
      (error: unknown) => assert.is(Reflect.get(Object(error), 'code'), code),
    )
  }
  // Sent at once, they are refused one by one.
  const refused = await Promise.allSettled(
    Array.from({ length: 10 }, (_, i) => query`select ${'x'}::int, ${i}::int from nowhere`),
  )
  assert.ok(refused.every(({ status }) => status === 'rejected'))
  assert.equal(await query`select 4 as four`, [{ four: 4 }])
})

test('reads at once each see their own tenant, and what one sets the next has not', async () => {
  const tenants = Array.from({ length: 20 }, (_, i) => `tenant ${i}`)
  const seen = await Promise.all(
    tenants.map((tenant) => queryOf(connections, tenant)`select current_setting('app.tenant_id') as tenant`),
  )
  assert.equal(
    seen,
    tenants.map((tenant) => [{ tenant }]),
  )
  const set = () =>
    query`select set_config('search_path', 'elsewhere', false), current_setting('statement_timeout') as t`
  await Promise.all([set(), set(), set()])
  const paths = await Promise.all(tenants.map(() => query`select current_setting('search_path') as path`))
  assert.ok(paths.every(([row]) => Reflect.get(Object(row), 'path') !== 'elsewhere'))
})

test('a read that takes long holds up its own connection only', async () => {
  const long = query`select pg_sleep(0.7)::text as slept`
  await eventually(
    async () =>
      (await admin`select from pg_stat_activity where query like '%pg_sleep(0.7)%' and pid <> pg_backend_pid()`)
        .length > 0,
  )
  let ended = false
  void long.then(() => {
    ended = true
  })
  assert.equal(await query`select 5 as five`, [{ five: 5 }])
  assert.not(ended)
  await long
})

test('a tenant that asks for many reads at once keeps no other waiting for all of them', async () => {
  const ended: string[] = []
  const read = (tenant: string, ms: number) =>
    queryOf(connections, tenant)`select pg_sleep(${ms / 1_000}::float8)::text`.then(() => void ended.push(tenant))
  const many = Array.from({ length: 20 }, () => read('many', 50))
  const others = ['a', 'b', 'a'].map((tenant) => read(tenant, 0))
  await Promise.all(others)
  assert.ok(ended.length <= 9, `${ended.join()} have ended`)
  await Promise.all(many)
  assert.is(ended.length, 23)
})

test('a table that got another column since it was read is read again, for the same tenant', async () => {
  await admin`create table widening (n int)`
  await admin`insert into widening values (1)`
  const read = () => query`select *, current_setting('app.tenant_id', true) as tenant from widening`
  for (let i = 0; i < 2; i++) assert.equal(await read(), [{ n: 1, tenant: 'acme' }])
  await admin`alter table widening add column more int`
  for (let i = 0; i < 2; i++) assert.equal(await read(), [{ n: 1, more: null, tenant: 'acme' }])
})

// runtimes: node, bun
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { z } from 'zod'
import { systemClock } from '../../core/clock.ts'
import { KafkaPublisher } from '../../core/kafka/producer.ts'
import { silentLog } from '../../core/log.ts'
import { writeActor } from '../actor-folder.ts'
import { after, before, test } from '../harness.ts'
import { eventually, freshDatabase, freshTopic, kafkaAddress } from '../services.ts'
import { runCli, startCli } from '../spawn-cli.ts'

// A service that goes away while a daemon calls it, and the daemon that is killed meanwhile.

let folder = ''
let topic = ''
let database: Awaited<ReturnType<typeof freshDatabase>>
let sql: postgres.Sql
let env: Readonly<Record<string, string>>
let publisher: KafkaPublisher

/** What is called; `away`: it refuses. */
const service = { away: false, calls: 0, running: 0, most: 0 }
const server = createServer((_request, response) => {
  service.calls++
  service.most = Math.max(service.most, ++service.running)
  setTimeout(() => {
    service.running--
    response.writeHead(service.away ? 503 : 200).end()
  }, 20)
})

before(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  folder = mkdtempSync(join(tmpdir(), 'tenantry-dependency-'))
  topic = await freshTopic({ partitions: 3 })
  database = await freshDatabase()
  env = { BROKERS: kafkaAddress(), DATABASE_URL: database.url }
  sql = postgres(database.url, { max: 1, onnotice() {} })
  await sql`create table sent (tenant_id text not null, n int not null, place bigint generated always as identity)`
  writeActor(
    folder,
    'send',
    `import { z } from 'zod'
import { defineActor } from 'tenantry'
export default defineActor({
  group: '${topic}',
  topic: '${topic}',
  name: 'sender',
  dependencies: { api: { timeoutMs: 5_000 } },
  messages: { send: z.object({ n: z.number().int() }) },
  async receive(message, ctx) {
    await ctx.call('api', async ({ signal }) => {
      const { status } = await fetch('http://127.0.0.1:${address.port}/', { signal })
      if (status !== 200) throw new Error('the service answers ' + status)
    })
    ctx.insert('sent', { n: message.payload.n })
  },
})
`,
  )
  writeFileSync(
    join(folder, 'tenantry.yml'),
    `kafka: { brokers: "\${BROKERS}" }
groups:
  ${topic}: { start: earliest }
http: { port: 0 }
deadLetters: { topic: off }
workers: { count: 1, handlerTimeout: 10s }
consumer: { offsetInterval: 200ms, sessionTimeout: 6s }
retry: { delays: [200ms] }
breaker: { openFor: 2s, probeTimeout: 20s }
`,
  )
  assert.is((await runCli(['migrate', 'up'], { cwd: folder, env })).code, 0)
  publisher = new KafkaPublisher({
    bootstrap: kafkaAddress().split(','),
    clientId: 'test',
    clock: systemClock,
    log: silentLog,
  })
})

after(async () => {
  await publisher?.stop()
  await sql?.end()
  await database.drop()
  rmSync(folder, { recursive: true, force: true })
  server.closeAllConnections()
  server.close()
})

const tenants = 20
let next = 0

/** So many messages of each tenant. */
async function send(each: number): Promise<void> {
  const messages = Array.from({ length: each * tenants }, (_, i) => {
    const tenant = `t${i % tenants}`
    const payload = { n: next + Math.floor(i / tenants) }
    const value = { message_id: randomUUID(), type: 'send', tenant_id: tenant, payload }
    return { topic, key: Buffer.from(tenant), value: Buffer.from(JSON.stringify(value)), headers: [] }
  })
  next += each
  for (const delivery of await publisher.send(messages)) assert.is(delivery.kind, 'delivered')
}

async function breakers(...args: readonly string[]) {
  const { code, stdout, stderr } = await runCli(['breakers', ...args, '--json'], { cwd: folder, env })
  assert.is(code, 0, stderr)
  return stdout
}

async function listed() {
  const rows = z.array(z.looseObject({ tenant: z.string().nullable(), state: z.string() }))
  return rows.parse(JSON.parse(await breakers('list'))).map(({ tenant, state }) => `${tenant ?? 'all'} ${state}`)
}

async function rows(count: number): Promise<void> {
  await eventually(async () => (await sql`select from sent`).length === count, {
    deadlineMs: 90_000,
    every: 200,
    what: `${count} messages handled, of which ${(await sql`select from sent`).length} were at first`,
  })
}

test(
  'a service that is away costs time only, also when the daemon is killed meanwhile',
  async () => {
    const first = startCli(['start'], { cwd: folder, env })
    await send(2)
    await rows(2 * tenants)

    service.away = true
    await send(3)
    const open = ['all open', 'all half-open']
    await eventually(async () => (await listed()).some((one) => open.includes(one)), {
      deadlineMs: 60_000,
      every: 500,
      what: 'one breaker for all',
    })
    assert.is((await listed()).length, 1, 'and no other')
    service.most = 0
    const before = service.calls
    await eventually(() => service.calls >= before + 2, { deadlineMs: 60_000, what: 'two probes' })
    assert.is(service.most, 1, 'one at a time')
    first.child.kill('SIGKILL')
    await first.ended

    const second = startCli(['start'], { cwd: folder, env })
    await eventually(() => service.calls >= before + 10, { deadlineMs: 90_000, what: 'calls of another daemon' })
    service.away = false
    await rows(5 * tenants)
    const wrong = await sql`
      select from (
        select n, row_number() over (partition by tenant_id order by place) - 1 as nth from sent
      ) as each where n <> nth`
    assert.is(wrong.length, 0, 'each tenant in its order')
    assert.is((await sql`select from sys.dead_letters`).length, 0)
    await eventually(async () => (await listed()).length === 0, {
      deadlineMs: 60_000,
      every: 500,
      what: 'no breaker open',
    })

    const of = ['--group', topic, '--actor', 'sender', '--dependency', 'api', '--reason', 'a test']
    await breakers('trip', ...of, '--for', '1h')
    await eventually(() => second.stdout().includes('breaker.tripped'), { deadlineMs: 60_000, what: 'the trip' })
    const tripped = service.calls
    await send(1)
    assert.equal(await listed(), ['all tripped'])
    assert.is(service.calls, tripped)
    await breakers('reset', ...of)
    await rows(6 * tenants)
    second.child.kill('SIGTERM')
    assert.is((await second.ended).code, 0)
  },
  { timeoutMs: 400_000 },
)

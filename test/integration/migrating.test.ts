// runtimes: node, bun
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { httpGet } from '../../core/http-get.ts'
import { migrateUp } from '../../core/postgres/migrate.ts'
import { writeActor } from '../actor-folder.ts'
import { after, before, test } from '../harness.ts'
import { eventually, type FreshDatabase, freshDatabase, freshTopic, kafkaAddress, sendAll } from '../services.ts'
import { startCli } from '../spawn-cli.ts'

// Tables change while a daemon starts or runs: it goes on with them as they are then, and no message is blamed.

let folder = ''
let topic = ''
let database: FreshDatabase
let sql: postgres.Sql

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tenantry-migrating-'))
  topic = await freshTopic({ partitions: 2 })
  database = await freshDatabase()
  await migrateUp(database.url)
  sql = postgres(database.url, { max: 1, onnotice() {} })
  await sql`create table known_away (n int)`
  await sql`create table pings_away (tenant_id text not null, n int not null)`
  writeActor(
    folder,
    'ping',
    `import { z } from 'zod'
import { defineActor } from 'tenantry'
export default defineActor({
  group: '${topic}',
  topic: '${topic}',
  consistency: 'serial',
  messages: { ping: z.object({ n: z.number(), size: z.number().optional(), known: z.boolean().optional() }) },
  async receive({ payload: { n, size, known } }, ctx) {
    if (known === true) await ctx.query\`select n from known\`
    ctx.insert('pings', { n, ...(size === undefined ? {} : { size }) })
  },
})
`,
  )
  writeFileSync(
    join(folder, 'tenantry.yml'),
    `kafka: { brokers: "\${BROKERS}" }\ngroups:\n  ${topic}: { start: earliest }\nhttp: { port: 0 }\ndeadLetters: { topic: off }\nworkers: { count: 2 }\n`,
  )
})

after(async () => {
  await sql.end({ timeout: 1 })
  await database.drop()
  rmSync(folder, { recursive: true, force: true })
})

async function send(payloads: readonly object[]): Promise<void> {
  const messages = payloads.map((payload, i) => {
    const tenant = `tenant-${i % 8}`
    const value = { message_id: randomUUID(), type: 'ping', tenant_id: tenant, payload }
    return { topic, key: Buffer.from(tenant), value: Buffer.from(JSON.stringify(value)), headers: [] }
  })
  await sendAll(messages)
}

async function rows(): Promise<number> {
  return (await sql`select from pings`).length
}

test(
  'what is missing while a daemon starts, and what comes while it runs, costs no dead letter',
  async () => {
    await send(Array.from({ length: 40 }, (_, n) => ({ n })))
    const daemon = startCli(['start'], {
      cwd: folder,
      env: { BROKERS: kafkaAddress(), DATABASE_URL: database.url },
    })
    const http = await eventually(() => /"url":"([^"]+)"/.exec(daemon.stdout())?.[1], { deadlineMs: 60_000 })
    const said = (pattern: RegExp) =>
      eventually(async () => pattern.test((await httpGet(`${http}/health/ready`, 5_000)).text), {
        deadlineMs: 60_000,
        what: String(pattern),
      })
    await said(/effects: there is no table pings that effects may touch .*\(SQLSTATE 42P01\)/)
    await sql`alter table pings_away rename to pings`
    await eventually(async () => (await rows()) === 40, { deadlineMs: 60_000, what: 'rows of what came before' })
    await said(/"ready":true/)

    await send(Array.from({ length: 40 }, (_, n) => ({ n, size: 2 * n })))
    await said(/effects: effect: SQLSTATE 42703/)
    await sql`alter table pings add column size int`
    await eventually(async () => (await rows()) === 80, { deadlineMs: 60_000, what: 'rows with the new column' })
    await said(/"ready":true/)

    await sql`alter table pings alter column n type bigint`
    await send(Array.from({ length: 40 }, (_, n) => ({ n: 3_000_000_000 + n })))
    await eventually(async () => (await rows()) + (await letters()) === 120, {
      deadlineMs: 60_000,
      what: 'large numbers',
    })
    assert.is(await letters(), 0)

    await send(Array.from({ length: 40 }, (_, n) => ({ n, known: true })))
    await said(/effects: relation \\?"known\\?" does not exist \(SQLSTATE 42P01\)/)
    await sql`alter table known_away rename to known`
    await eventually(async () => (await rows()) === 160, { deadlineMs: 60_000, what: 'rows of what reads' })
    await said(/"ready":true/)

    daemon.child.kill('SIGTERM')
    assert.is((await daemon.ended).code, 0)
    assert.is(await letters(), 0)
  },
  { timeoutMs: 240_000 },
)

async function letters(): Promise<number> {
  return (await sql`select from sys.dead_letters`).length
}

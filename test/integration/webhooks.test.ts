// runtimes: node, bun
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { deliveries } from '../../examples/webhooks/recorded.ts'
import { after, before, test } from '../harness.ts'
import { eventually, type FreshDatabase, freshDatabase, freshTopic, kafkaAddress, recordsDone } from '../services.ts'
import { runCli, startCli } from '../spawn-cli.ts'

const example = fileURLToPath(new URL('../../examples/webhooks/', import.meta.url))
let database: FreshDatabase
let sql: postgres.Sql

before(async () => {
  database = await freshDatabase()
  sql = postgres(database.url, { max: 1, onnotice() {} })
  await sql.file(`${example}tables.sql`)
})

after(async () => {
  await sql.end({ timeout: 1 })
  await database.drop()
})

test(
  'every recorded webhook, sent twice, is one row, in the order of its repository',
  async () => {
    const topic = await freshTopic({ partitions: 4, name: 'webhooks' })
    const env = { KAFKA_BROKERS: kafkaAddress(), DATABASE_URL: database.url, WEBHOOKS_TOPIC: topic }
    assert.is((await runCli(['migrate', 'up'], { cwd: example, env })).code, 0)
    const daemon = startCli(['start', '--config', 'tenantry.yml', '--actors', 'actors'], { cwd: example, env })
    await promisify(execFile)(process.execPath, [`${example}feed.ts`, kafkaAddress()], {
      env: { ...process.env, WEBHOOKS_TOPIC: topic },
    })
    const sent = deliveries()
    await eventually(async () => (await recordsDone(sql, 'audit')) === 2 * sent.length, {
      deadlineMs: 60_000,
      every: 100,
      what: 'all deliveries done',
    })
    daemon.child.kill('SIGTERM')
    const { code, stdout } = await daemon.ended
    assert.is(code, 0, stdout.slice(-2_000))

    const numbers = new Map<string, number>()
    const expected = sent.map(({ tenant, id, kind, action }) => {
      const number = (numbers.get(tenant) ?? 0) + 1
      numbers.set(tenant, number)
      return { tenant_id: tenant, message_id: id, number, kind, action }
    })
    const key = (row: { readonly message_id: string }) => row.message_id
    const rows = await sql<typeof expected>`select tenant_id, message_id, number, kind, action from deliveries`
    assert.equal(
      [...rows].sort((a, b) => (key(a) < key(b) ? -1 : 1)),
      expected.sort((a, b) => (key(a) < key(b) ? -1 : 1)),
    )
    assert.is((await sql`select from sys.dead_letters`).length, 0)
    const [push] =
      await sql`select summary from deliveries where kind = 'push' and summary like '1 commits to %' limit 1`
    assert.ok(push, 'a push was read through its schema')
  },
  { timeoutMs: 180_000 },
)

// runtimes: node, bun
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { z } from 'zod'
import { samplesOf } from '../../tools/run/metric-samples.ts'
import { writeActor } from '../actor-folder.ts'
import { after, before, test } from '../harness.ts'
import { eventually, freshDatabase, freshTopic, kafkaAddress, sendAll } from '../services.ts'
import { runCli, startCli } from '../spawn-cli.ts'

let folder = ''
let topic = ''
let database: Awaited<ReturnType<typeof freshDatabase>>

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tenantry-start-'))
  topic = await freshTopic({ partitions: 3 })
  database = await freshDatabase()
  const sql = postgres(database.url, { max: 1, onnotice() {} })
  await sql`create table pings (tenant_id text not null, n int not null)`
  await sql.end()
  writeActor(
    folder,
    'ping',
    `import { z } from 'zod'
import { defineActor } from 'tenantry'
export default defineActor({
  group: '${topic}',
  topic: '${topic}',
  messages: { ping: z.object({ n: z.number().int() }) },
  receive(message, ctx) {
    ctx.insert('pings', { n: message.payload.n })
  },
})
`,
  )
  writeFileSync(
    join(folder, 'tenantry.yml'),
    `kafka: { brokers: "\${BROKERS}" }\ngroups:\n  ${topic}: { start: earliest }\nhttp: { port: 0 }\ndeadLetters: { topic: off }\nworkers: { count: 1 }\n`,
  )
})

after(async () => {
  await database.drop()
  rmSync(folder, { recursive: true, force: true })
})

test(
  'a daemon becomes ready, counts what it does, logs JSON lines without payloads, and ends with 0 at SIGTERM',
  async () => {
    const url = new URL(database.url)
    url.password = 'SECRET-1'
    const env = { BROKERS: kafkaAddress(), DATABASE_URL: url.href }
    assert.is((await runCli(['migrate', 'up'], { cwd: folder, env })).code, 0)
    const daemon = startCli(['start'], { cwd: folder, env })
    const http = await eventually(() => /"url":"([^"]+)"/.exec(daemon.stdout())?.[1] ?? false, {
      deadlineMs: 60_000,
      what: 'the HTTP server',
    })
    await eventually(async () => (await fetch(`${http}/health/ready`)).status === 200, {
      deadlineMs: 60_000,
      what: 'readiness',
    })

    const values = Array.from({ length: 30 }, (_, n) => {
      const tenant = `tenant-${n % 5}`
      const value = { message_id: randomUUID(), type: 'ping', tenant_id: tenant, payload: { n, note: 'PAYLOAD-1' } }
      return { topic, key: Buffer.from(tenant), value: Buffer.from(JSON.stringify(value)), headers: [] }
    })
    // One of them twice: a duplicate. One that is no JSON: a dead letter.
    const [first] = values
    const sent = [
      ...values,
      ...(first ? [first] : []),
      { topic, key: Buffer.from('tenant-1'), value: Buffer.from('{PAYLOAD-2'), headers: [] },
    ]
    await sendAll(sent)

    const done = (text: string, outcome: string) =>
      samplesOf(text).get(`tenantry_records_done_total{group="${topic}",outcome="${outcome}"}`) ?? 0
    const text = await eventually(
      async () => {
        const metrics = await (await fetch(`${http}/metrics`)).text()
        return done(metrics, 'processed') + done(metrics, 'duplicate') + done(metrics, 'dead_lettered') >= 32 && metrics
      },
      { deadlineMs: 60_000, every: 200, what: 'all records done' },
    )
    assert.equal([done(text, 'processed'), done(text, 'duplicate'), done(text, 'dead_lettered')], [30, 1, 1])
    const found = samplesOf(text)
    assert.is(found.get('tenantry_ready'), 1)
    assert.is(found.get('tenantry_record_latency_seconds_count'), 32)
    assert.is(found.get(`tenantry_partitions{group="${topic}",phase="owned"}`), 3)
    assert.is(found.get('tenantry_records_in_flight'), 0)
    assert.ok((found.get('tenantry_commit_duration_seconds_count') ?? 0) > 0)
    const told = [...found.keys()].some((name) => name.startsWith('tenantry_worker_utilisation_ratio'))
    assert.is(told, process.versions['bun'] === undefined)
    assert.not(text.includes('tenant-'), 'no tenant is a label')

    const sql = postgres(database.url, { max: 1, onnotice() {} })
    assert.equal(
      [...(await sql`select count(*)::int as rows, count(distinct tenant_id)::int as tenants from pings`)],
      [{ rows: 30, tenants: 5 }],
    )
    await eventually(
      async () => lagOf(await sql`select * from sys.vw_consumer_lag where group_name = ${topic}`) === 0,
      {
        deadlineMs: 30_000,
        what: 'the lag, asked for in SQL',
      },
    )

    daemon.child.kill('SIGTERM')
    const { code, stdout, stderr } = await daemon.ended
    assert.is(code, 0, stdout.slice(-2_000))
    for (const line of stdout.trimEnd().split('\n'))
      z.looseObject({ time: z.string(), level: z.string(), event: z.string(), msg: z.string() }).parse(JSON.parse(line))
    assert.not(/SECRET|PAYLOAD/.test(stdout + stderr))
    // What the daemon wrote down last, at its end, is all that was sent.
    const [last] = await sql`
      select sum(committed_offset)::int as committed from sys.vw_consumer_lag where group_name = ${topic}`
    assert.is(last?.['committed'], 32)
    await sql.end()
  },
  { timeoutMs: 300_000 },
)

/** Records behind, over all partitions; undefined where none was written down. */
function lagOf(rows: readonly Record<string, unknown>[]): number | undefined {
  return rows.length === 0 ? undefined : rows.reduce((sum, { lag_records: lag }) => sum + Number(lag), 0)
}

// runtimes: node, bun
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Admin } from '@platformatic/kafka'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { Log } from '../../cli/verify/log.ts'
import { migrateUp } from '../../core/postgres/migrate.ts'
import { stuckReport } from '../../core/stuck-report.ts'
import { writeActor } from '../actor-folder.ts'
import { after, before, test } from '../harness.ts'
import { eventually, type FreshDatabase, freshDatabase, freshTopic, kafkaAddress, sendAll } from '../services.ts'
import { type RunningCli, startCli } from '../spawn-cli.ts'

// One daemon, two groups: what one cannot publish stops that one alone, and a message that a topic never takes nobody.

const outboxRows = 5
const orders = 30
let folder = ''
let lame = ''
let well = ''
let small = ''
const missing = `missing.${randomUUID()}`
let database: FreshDatabase
let sql: postgres.Sql
let daemon: RunningCli
let url = ''

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tenantry-outbox-'))
  lame = await freshTopic({ partitions: 1 })
  well = await freshTopic({ partitions: 1 })
  small = await freshTopic({ partitions: 1, config: { 'max.message.bytes': '20000' } })
  database = await freshDatabase()
  await migrateUp(database.url)
  sql = postgres(database.url, { max: 2, onnotice() {} })
  for (const [topic, to] of [
    [lame, missing],
    [well, small],
  ] as const)
    writeActor(
      folder,
      topic,
      `import { z } from 'zod'
import { defineActor } from 'tenantry'
export default defineActor({
  group: '${topic}',
  topic: '${topic}',
  messages: { order: z.object({ bytes: z.number() }) },
  receive({ payload }, ctx) {
    ctx.publish('${to}', { type: 'ordered', payload: 'x'.repeat(payload.bytes) })
  },
})
`,
    )
  writeFileSync(
    join(folder, 'tenantry.yml'),
    `kafka: { brokers: "\${BROKERS}", driver: platformatic }\ngroups:\n  ${lame}: { start: earliest }\n  ${well}: { start: earliest }\nhttp: { port: 0 }\nworkers: { count: 1 }\ndeadLetters: { topic: off }\nbackpressure: { outboxRows: ${outboxRows} }\n`,
  )
  daemon = startCli(['start'], { cwd: folder, env: { BROKERS: kafkaAddress(), DATABASE_URL: database.url } })
  url = await eventually(() => /"url":"([^"]+)"/.exec(daemon.stdout())?.[1] ?? false, {
    deadlineMs: 60_000,
    what: 'HTTP',
  })
})

after(async () => {
  daemon?.child.kill('SIGTERM')
  await daemon?.ended
  await sql?.end({ timeout: 1 })
  await database?.drop()
  rmSync(folder, { recursive: true, force: true })
})

function send(topic: string, ...bytes: readonly number[]): Promise<void> {
  const messages = bytes.map((count, i) => {
    const value = { message_id: randomUUID(), type: 'order', tenant_id: `t${i}`, payload: { bytes: count } }
    return { topic, key: Buffer.from(`t${i}`), value: Buffer.from(JSON.stringify(value)), headers: [] }
  })
  return sendAll(messages)
}

async function waiting(group: string): Promise<number> {
  return (await sql`select from sys.outbox where group_name = ${group}`).length
}

async function pausedFor(): Promise<ReadonlyMap<string, string>> {
  const { partitions } = stuckReport.parse(await (await fetch(`${url}/stuck`)).json())
  return new Map(partitions.filter(({ paused }) => paused).map(({ group, reason }) => [group, reason]))
}

test(
  'the group whose messages have no topic waits and says so; another goes on, past a message that its topic never takes',
  async () => {
    await send(lame, ...Array.from({ length: outboxRows + 1 }, () => 1))
    const reason = await eventually(async () => (await pausedFor()).get(lame), { deadlineMs: 60_000, what: 'a pause' })
    assert.match(reason, /^the outbox of its group is full \(backpressure\.outboxRows\)/, reason)
    await eventually(async () => (await pausedFor()).get(lame)?.includes(`for ${missing}: `), { what: 'the topic' })

    await send(well, ...Array.from({ length: orders }, (_, i) => (i === 7 ? 30_000 : 1)))
    await eventually(async () => (await sql`select from sys.dead_letters`).length === 1, { what: 'the dead letter' })
    const [letter] = await sql`
      select reason, error_message, state, topic, tenant_id, octet_length(record_value) > 30000 as whole from sys.dead_letters`
    const { error_message: said, ...rest } = letter ?? {}
    assert.equal(rest, { reason: 'publish_refused', state: 'open', topic: small, tenant_id: 't7', whole: true })
    assert.match(String(said), /^MESSAGE_TOO_LARGE/)
    await eventually(async () => (await waiting(well)) === 0 && (await published()) === orders - 1, {
      what: 'all other messages of the other group',
    })
    assert.equal([...(await pausedFor()).keys()], [lame])
    assert.match(daemon.stdout(), /"event":"outbox\.refused".*it becomes a dead letter/)

    assert.is(await waiting(lame), outboxRows + 1)
    const admin = new Admin({ clientId: 'test', bootstrapBrokers: kafkaAddress().split(',') })
    await admin.createTopics({ topics: [missing], partitions: 1, replicas: 1 })
    await admin.close()
    await eventually(async () => (await waiting(lame)) === 0 && (await pausedFor()).size === 0, {
      deadlineMs: 60_000,
      what: 'the group that waited',
    })
  },
  { timeoutMs: 240_000 },
)

/** Messages on the topic that takes small ones alone. */
async function published(): Promise<number> {
  const log = new Log({ bootstrap: kafkaAddress().split(','), clientId: 'test' }, 'test')
  try {
    return (await log.describe(small))?.ends[0] ?? 0
  } finally {
    await log.close()
  }
}

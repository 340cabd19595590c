// runtimes: node, bun
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { z } from 'zod'
import { stuckReport } from '../../core/stuck-report.ts'
import { writeActor } from '../actor-folder.ts'
import { after, before, test } from '../harness.ts'
import { blocksOf, commandsOf } from '../pages.ts'
import { eventually, freshDatabase, freshTopic, kafkaAddress, sendAll, postgresAddress } from '../services.ts'
import { runCli, type RunningCli, startCli } from '../spawn-cli.ts'

let folder = ''
let topic = ''
let database: Awaited<ReturnType<typeof freshDatabase>>
let daemon: RunningCli
let url = ''

/** One tenant whose handler does not end, one whose handler fails, and one that is well. */
before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tenantry-stuck-'))
  topic = await freshTopic({ partitions: 1 })
  database = await freshDatabase()
  writeActor(
    folder,
    'ping',
    `import { z } from 'zod'
import { defineActor } from 'tenantry'
export default defineActor({
  group: '${topic}',
  topic: '${topic}',
  messages: { ping: z.object({ note: z.string() }) },
  async receive({ payload }, ctx) {
    if (ctx.tenantId === 'slow') await new Promise(() => {})
    if (ctx.tenantId === 'sick') throw new TypeError('cannot take ' + payload.note)
  },
})
`,
  )
  writeFileSync(
    join(folder, 'tenantry.yml'),
    `kafka: { brokers: "\${BROKERS}", driver: platformatic }\ngroups:\n  ${topic}: { start: earliest }\nhttp: { port: 0 }\ndeadLetters: { topic: off }\nworkers: { count: 1 }\nretry: { delays: [10m] }\n`,
  )
  assert.is((await runCli(['migrate', 'up'], at())).code, 0)
  daemon = startCli(['start'], at())
  url = await eventually(() => /"url":"([^"]+)"/.exec(daemon.stdout())?.[1] ?? false, {
    deadlineMs: 60_000,
    what: 'the HTTP server',
  })
  await send()
})

after(async () => {
  daemon.child.kill('SIGKILL')
  await daemon.ended
  await database.drop()
  rmSync(folder, { recursive: true, force: true })
})

function at() {
  return { cwd: folder, env: { BROKERS: kafkaAddress(), DATABASE_URL: database.url } }
}

async function send(): Promise<void> {
  const messages = ['slow', 'sick', 'sick', 'well'].map((tenant) => {
    const value = { message_id: randomUUID(), type: 'ping', tenant_id: tenant, payload: { note: 'PAYLOAD-1' } }
    return { topic, key: Buffer.from(tenant), value: Buffer.from(JSON.stringify(value)), headers: [] }
  })
  await sendAll(messages)
}

const printed = z.object({
  daemons: z.array(z.object({ url: z.string(), report: stuckReport })),
  silent: z.array(z.object({ url: z.string(), reason: z.string() })),
  recorded: z
    .object({ tenants: z.array(z.looseObject({ tenant: z.string(), attempts: z.int(), lastError: z.string() })) })
    .nullable(),
})

/** What the command prints as JSON of tenants that have waited for a moment. */
async function ask(...args: readonly string[]) {
  const { code, stdout, stderr } = await runCli(['stuck', '--longer-than', '1ms', '--json', ...args], at())
  assert.is(code, 0, stderr)
  assert.not(stdout.includes('PAYLOAD'))
  return printed.parse(JSON.parse(stdout))
}

test('a daemon says who is stuck, on what, and whose record holds the partition', async () => {
  await eventually(async () => (await ask('--url', url)).daemons[0]?.report.tenants.length === 2, {
    deadlineMs: 60_000,
    what: 'two tenants that are stuck',
  })
  const { daemons, recorded } = await ask('--url', url)
  assert.is(recorded, null)
  const { tenants = [], partitions = [] } = daemons[0]?.report ?? {}
  assert.equal(
    tenants.map(({ tenant, waitsFor, attempts, lastError, queued, inFlight }) => ({
      tenant,
      waitsFor,
      attempts,
      lastError,
      queued,
      inFlight,
    })),
    [
      { tenant: 'slow', waitsFor: 'running', attempts: 0, lastError: null, queued: 0, inFlight: 1 },
      { tenant: 'sick', waitsFor: 'retry', attempts: 1, lastError: 'handler: TypeError', queued: 2, inFlight: 0 },
    ].sort(
      (a, b) =>
        tenants.findIndex(({ tenant }) => tenant === a.tenant) - tenants.findIndex(({ tenant }) => tenant === b.tenant),
    ),
  )
  assert.equal(
    partitions.map(({ watermark, holder }) => [watermark, holder?.tenant, holder?.offset]),
    [[0, 'slow', 0]],
  )
  const { stdout } = await runCli(['stuck', '--longer-than', '1ms', '--url', url], at())
  assert.match(stdout, /^slow +\S+ +\S+-0 +0 +\d+m?s +runs on worker 0 for \d+m?s$/m)
  assert.match(
    stdout,
    /^sick +\S+ +\S+-0 +1 +\d+m?s +tried again in \d+m\d*s?: handler; 1 attempt failed; last error handler: TypeError$/m,
  )
  assert.match(stdout, /held by slow, offset 0/)
  const one = await runCli(['stuck', '--tenant', 'sick', '--url', url], at())
  assert.match(one.stdout, /^Tenant sick has unfinished records in 1 partition\.$/m)
})

test('what docs/operations.md has its reader ask works as it stands', async () => {
  const blocks = blocksOf('docs/operations.md')
  const commands = blocks.filter(({ language }) => language === 'sh').flatMap(commandsOf)
  assert.equal(commands.length, 2)
  for (const command of commands) {
    const [, args = ''] = /^npm run -s tenantry -- (.*)$/.exec(command) ?? []
    const here = at()
    const { code, stdout, stderr } = await runCli(args.replace(/http:\S+/, url).split(' '), {
      ...here,
      env: { ...here.env, TENANTRY_HTTP__PORT: new URL(url).port },
    })
    assert.is(code, 0, stderr)
    assert.match(stdout, /^Daemon at /)
    assert.match(
      stdout,
      args.includes('acme') ? /^Tenant acme has unfinished records in 0 partitions\.$/m : /longer than 5s/,
    )
  }
  const sql = postgres(database.url, { max: 1, onnotice() {} })
  try {
    const questions = blocks.filter(
      ({ language, text }) => language === 'sql' && /^from sys\.(retries|parked)/m.test(text),
    )
    assert.is(questions.length, 2)
    const answers = await Promise.all(questions.map(({ text }) => sql.unsafe(text)))
    assert.equal([answers[0]?.[0]?.['tenant_id'], answers[0]?.[0]?.['error_class']], ['sick', 'TypeError'])
  } finally {
    await sql.end()
  }
})

test('it says so while PostgreSQL is away', async () => {
  const { pathname } = new URL(database.url)
  const name = pathname.slice(1)
  const admin = postgres(postgresAddress(), { max: 1, onnotice() {} })
  try {
    await admin`alter database ${admin(name)} with allow_connections false`
    await admin`select pg_terminate_backend(pid) from pg_stat_activity where datname = ${name}`
    await send()
    await eventually(
      async () => {
        const { tenants, reasons } = stuckReport.parse(await (await fetch(`${url}/stuck?longerThanMs=0`)).json())
        return tenants.some(({ tenant, waitsFor }) => tenant === 'well' && waitsFor === 'commit') && reasons.length > 0
      },
      { deadlineMs: 60_000, every: 100, what: 'a tenant that waits for its commit' },
    )
  } finally {
    await admin`alter database ${admin(name)} with allow_connections true`
    await admin.end()
  }
})

test('where no daemon answers, it says so and what PostgreSQL has recorded', async () => {
  daemon.child.kill('SIGKILL')
  await daemon.ended
  const { daemons, silent, recorded } = await ask('--url', url)
  assert.equal(daemons, [])
  assert.equal(silent, [{ url, reason: 'nobody listens there' }])
  assert.equal(
    recorded?.tenants.map(({ tenant, attempts, lastError }) => ({ tenant, attempts, lastError })),
    [{ tenant: 'sick', attempts: 1, lastError: 'handler: TypeError' }],
  )
  const { stdout, stderr, code } = await runCli(['stuck', '--longer-than', '1ms'], at())
  assert.is(code, 0)
  assert.match(stderr, /^No daemon can be asked, as http\.port is 0/)
  assert.match(stderr, /only what PostgreSQL has recorded/)
  assert.match(stdout, /^sick .* 1 attempt failed; last error handler: TypeError; tried again at 20/m)
  assert.match(
    (await runCli(['stuck', '--url', url], at())).stderr,
    /^No daemon answers at \S+: nobody listens there\.$/m,
  )
})

test('what PostgreSQL has recorded has parked records in it, of each tenant of a partition together', async () => {
  const sql = postgres(database.url, { max: 1, onnotice() {} })
  try {
    for (const [tenant, offset, minutes] of [
      ['sick', 7, 3],
      ['full', 5, 9],
      ['full', 6, 8],
      ['new', 8, 0],
    ] as const)
      await sql`
        insert into sys.parked_messages (group_name, topic_id, partition, tenant_id, record_offset, origin_topic_id,
          origin_partition, record_timestamp, header_names, header_values, attempts, parked_at)
        select group_name, topic_id, 0, ${tenant}, ${offset}, topic_id, 0, -1, '{}', '{}', ${offset === 5 ? 2 : 0},
          now() - make_interval(mins => ${minutes})
        from sys.consumed_topics where group_name = ${topic}`
    const told = await runCli(['stuck', '--longer-than', '2m', '--limit', '1'], at())
    assert.match(told.stdout, /^2 tenants with records that wait\.$/m)
    assert.match(told.stdout, /^full .*-0 +5 +9m\d*s? +2 parked; 2 attempts failed$/m)
    assert.match(told.stdout, /^… and 1 more/m)
    const sick = await runCli(['stuck', '--tenant', 'sick'], at())
    assert.match(sick.stdout, /^sick .*-0 +1 +3m\d*s? +1 parked; 1 attempt failed; last error handler: TypeError; /m)
  } finally {
    await sql.end()
  }
})

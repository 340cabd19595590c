import { execFile, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { z } from 'zod'
import { after, before, test } from '../harness.ts'
import { freshDatabase, kafkaAddress } from '../services.ts'
import { type CliResult, runCli } from '../spawn-cli.ts'

let folder = ''
let database: Awaited<ReturnType<typeof freshDatabase>>
const topic = `cli.${process.pid}.${Date.now().toString(36)}`

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tenantry-cli-'))
  database = await freshDatabase()
})

after(async () => {
  await database.drop()
  rmSync(folder, { recursive: true, force: true })
})

function run(...args: readonly string[]) {
  return runCli(args, { cwd: folder, env: { KAFKA_BROKERS: kafkaAddress(), DATABASE_URL: database.url } })
}

function wantTopic(settings: string): void {
  writeFileSync(join(folder, 'tenantry.yml'), `topics:\n  ${topic}: ${settings}\n`)
}

/** The differences that concern the test's own topic. */
async function topics(...args: readonly string[]) {
  return differences(await run('topics', ...args, '--dev', '--json'))
}

function differences({ code, stdout, stderr }: CliResult) {
  const all = z.array(z.looseObject({ kind: z.string(), topic: z.string() })).parse(JSON.parse(stdout || '[]'))
  return { code, stderr, own: all.filter((difference) => difference.topic === topic) }
}

test(
  'topics are planned, created, grown, and never shrunk',
  async () => {
    wantTopic('{ partitions: 2, retention: 1h }')
    const planned = await topics('plan')
    assert.is(planned.code, 0, planned.stderr)
    assert.equal(
      planned.own.map(({ kind }) => kind),
      ['create'],
    )
    const created = await topics('apply')
    assert.is(created.code, 0, created.stderr)
    assert.equal((await topics('plan')).own, [])

    wantTopic('{ partitions: 3, retention: 2h }')
    const grown = await topics('apply')
    assert.is(grown.code, 0, grown.stderr)
    assert.equal(
      grown.own.map(({ kind }) => kind),
      ['partitions', 'config'],
    )

    wantTopic('{ partitions: 1, retention: 1s }')
    const refused = await topics('apply')
    assert.is(refused.code, 6)
    assert.equal(
      refused.own.map(({ kind }) => kind),
      ['refused', 'refused'],
    )
    wantTopic('{ partitions: 3, retention: 2h }')
    assert.equal((await topics('plan')).own, [])

    wantTopic('{ partitions: 3, retention: 2h, configs: { max.message.byte: 2000000 } }')
    const unknown = await topics('apply')
    assert.is(unknown.code, 6)
    assert.match(String(unknown.own[0]?.['reason']), 'no such setting (did you mean max.message.bytes?)')
    wantTopic('{ partitions: 3, retention: 2h, configs: { max.message.bytes: lots } }')
    const bad = await run('topics', 'apply', '--dev')
    assert.is(bad.code, 3)
    assert.match(bad.stderr, /Kafka refuses .*max\.message\.bytes = lots.*\(TENANTRY_TOPIC_INVALID\)/)
  },
  { timeoutMs: 120_000 },
)

test(
  'a broker that takes connections and never answers is passed over, for reading and for what is changed then',
  async () => {
    const silent = createServer().listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const address = silent.address()
    assert.ok(typeof address === 'object' && address !== null)
    const env = { KAFKA_BROKERS: `127.0.0.1:${address.port},${kafkaAddress()}`, DATABASE_URL: database.url }
    try {
      wantTopic('{ partitions: 3, retention: 3h }')
      const started = performance.now()
      const { own, stderr } = differences(await runCli(['topics', 'apply', '--dev', '--json'], { cwd: folder, env }))
      assert.ok(performance.now() - started < 30_000, 'a request has 30 s, and none was waited for so long')
      assert.ok(
        own.some(({ kind }) => kind === 'config'),
        stderr,
      )
    } finally {
      silent.close()
    }
    assert.not((await topics('plan')).own.some(({ kind }) => kind === 'config'))
  },
  { timeoutMs: 120_000 },
)

test('examples/send.ts says that Kafka is away, when it has waited for it', async () => {
  const env = { ...process.env, KAFKA_BROKERS: '127.0.0.1:1', TENANTRY_PRODUCER__DELIVERY_TIMEOUT: '1s' }
  const example = fileURLToPath(new URL('../../examples/send.ts', import.meta.url))
  const { status, stdout, stderr } = spawnSync(process.execPath, [example, 'greetings.v1', 'acme', 'greet', '{}'], {
    cwd: folder,
    env,
    encoding: 'utf8',
  })
  assert.equal([status, stdout], [1, ''])
  assert.match(stderr, /^Kafka has not taken a message: .*127\.0\.0\.1:1.*\(TENANTRY_NOT_DELIVERED\)\n$/)
})

test('examples/sql.ts runs several statements, and shows what is no text as it is', async () => {
  const sql = async (statement: string) => {
    const env = { ...process.env, DATABASE_URL: database.url }
    const example = fileURLToPath(new URL('../../examples/sql.ts', import.meta.url))
    return (await promisify(execFile)(process.execPath, [example, statement], { cwd: folder, env })).stdout
  }
  assert.is(await sql('create table sent (id integer, what jsonb); create table taken (id integer);'), '')
  assert.is(
    await sql(
      `insert into sent values (1, '{"to":["a"]}') returning what; select id, '2026-01-01Z'::timestamptz at from sent`,
    ),
    'what\n{"to":["a"]}\nid  at\n1   2026-01-01T00:00:00.000Z\n',
  )
})

test(
  'migrate goes up once, and status says what is missing',
  async () => {
    const statuses = z.array(z.looseObject({ number: z.number(), state: z.string() }))
    const before = await run('migrate', 'status', '--json')
    assert.is(before.code, 7)
    assert.ok(statuses.parse(JSON.parse(before.stdout)).every(({ state }) => state === 'missing'))

    const [one, other] = await Promise.all([run('migrate', 'up', '--json'), run('migrate', 'up', '--json')])
    assert.is(one.code, 0, one.stderr)
    assert.is(other.code, 0, other.stderr)
    const applied = [one, other].map(
      ({ stdout }) => z.array(z.looseObject({ number: z.number() })).parse(JSON.parse(stdout)).length,
    )
    assert.equal(
      applied.toSorted((a, b) => a - b),
      [0, Math.max(...applied)],
      'two at once: one applies all, the other nothing',
    )

    const later = await run('migrate', 'status', '--json')
    assert.is(later.code, 0)
    assert.ok(statuses.parse(JSON.parse(later.stdout)).every(({ state }) => state === 'applied'))

    const sql = postgres(database.url, { max: 1, onnotice() {} })
    await sql`insert into sys.migrations (number, name, checksum) values (9999, 'to_come', '')`
    const newer = await run('migrate', 'status', '--json')
    await sql`delete from sys.migrations where number = 9999`
    await sql.end()
    assert.is(newer.code, 7)
    assert.equal(
      statuses
        .parse(JSON.parse(newer.stdout))
        .map(({ state }) => state)
        .slice(-2),
      ['applied', 'newer'],
    )
  },
  { timeoutMs: 120_000 },
)

test(
  'the printed SQL, applied by hand, is the same as up',
  async () => {
    const own = await freshDatabase()
    try {
      const { code, stdout } = await run('migrate', 'print')
      assert.is(code, 0)
      const sql = postgres(own.url, { max: 1, onnotice() {} })
      await sql.unsafe(stdout).simple()
      await sql.end()
      const status = await runCli(['migrate', 'status'], { cwd: folder, env: { DATABASE_URL: own.url } })
      assert.is(status.code, 0, status.stdout + status.stderr)
    } finally {
      await own.drop()
    }
    assert.is((await run('migrate', 'print', '--after', '9999')).stdout.trim(), '')
    assert.is((await run('migrate', 'print', '--after', 'x')).code, 2)
  },
  { timeoutMs: 120_000 },
)

test(
  'a database that refuses or cannot be reached has its own exit code',
  async () => {
    const away = await runCli(['migrate', 'up', '--json'], {
      cwd: folder,
      env: { DATABASE_URL: 'postgres://u:SECRET-1@127.0.0.1:1/d' },
    })
    assert.is(away.code, 4)
    assert.match(away.stderr, /TENANTRY_POSTGRES_UNAVAILABLE/)
    assert.not(away.stderr.includes('SECRET'))
    const sql = postgres(database.url, { max: 1, onnotice() {} })
    const role = `cli_${process.pid}`
    await sql`create role ${sql(role)} login`
    try {
      const refusedUrl = new URL(database.url)
      refusedUrl.username = role
      await sql`drop schema if exists sys cascade`
      const refused = await runCli(['migrate', 'up'], { cwd: folder, env: { DATABASE_URL: refusedUrl.href } })
      assert.is(refused.code, 5, refused.stderr)
      assert.match(refused.stderr, /TENANTRY_POSTGRES_REFUSED/)
    } finally {
      await sql`drop role ${sql(role)}`
      await sql.end()
    }
  },
  { timeoutMs: 120_000 },
)

test(
  'a database that is not there, or was never migrated, is said to be so',
  async () => {
    const nowhere = new URL(database.url)
    nowhere.pathname = '/not_there'
    for (const args of [['migrate', 'status'], ['migrate', 'up'], ['verify']]) {
      const { code, stdout, stderr } = await runCli(args, {
        cwd: folder,
        env: { KAFKA_BROKERS: kafkaAddress(), DATABASE_URL: nowhere.href },
      })
      assert.is(code, 7, args.join(' '))
      assert.is(stdout, '')
      assert.match(stderr, /^PostgreSQL has no such database: .*"not_there".*\(TENANTRY_DATABASE_MISSING\)$/m)
    }
    const own = await freshDatabase()
    const empty = await runCli(['verify'], {
      cwd: folder,
      env: { KAFKA_BROKERS: kafkaAddress(), DATABASE_URL: own.url },
    })
    await own.drop()
    assert.is(empty.code, 7, empty.stderr)
    assert.match(empty.stderr, /run "tenantry migrate up".*TENANTRY_SCHEMA_OLD/)
  },
  { timeoutMs: 120_000 },
)

test(
  'a daemon refuses a schema that is too old',
  async () => {
    const own = await freshDatabase()
    const actors = fileURLToPath(new URL('../fixtures/actors/worker-pool', import.meta.url))
    const groups = ['--set', 'groups.chaos.start=latest', '--set', 'groups.counter.start=latest']
    const { code, stdout } = await runCli(['start', '--actors', actors, '--port', '0', ...groups], {
      cwd: folder,
      env: { KAFKA_BROKERS: kafkaAddress(), DATABASE_URL: own.url },
    })
    await own.drop()
    assert.is(code, 7, stdout)
    assert.match(stdout, /TENANTRY_SCHEMA_OLD/)
  },
  { timeoutMs: 120_000 },
)

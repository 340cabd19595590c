import { kill } from 'node:process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { codeOf } from '../../core/errors.ts'
import { migrateUp } from '../../core/postgres/migrate.ts'
import { withSession } from '../../core/postgres/session.ts'
import { TcpProxy } from '../chaos/tcp-proxy.ts'
import { after, before, test } from '../harness.ts'
import { eventually, type FreshDatabase, freshDatabase, kafkaAddress } from '../services.ts'
import { runCli } from '../spawn-cli.ts'

// A PostgreSQL that takes a command's connection, and then freezes.

let database: FreshDatabase
let sql: postgres.Sql
let folder = ''
const name = 'test silence'
const patience = { everyMs: 50, answerMs: 1_000, times: 2 }

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tenantry-silent-'))
  database = await freshDatabase()
  sql = postgres(database.url, { max: 3, onnotice() {} })
  await migrateUp(database.url)
})

after(async () => {
  await sql.end({ timeout: 1 })
  await database.drop()
  rmSync(folder, { recursive: true, force: true })
})

async function codeSaid(work: Promise<unknown>): Promise<string> {
  try {
    await work
    return ''
  } catch (error) {
    return codeOf(error)
  }
}

test('a statement may take as long as it likes while PostgreSQL is there', async () => {
  const rows = await withSession(
    database.url,
    { name, statementMs: 0, patience: { ...patience, times: 1 } },
    (own) => own`select pg_sleep(1)`,
  )
  assert.is(rows.length, 1)
})

test('a backend that freezes at a statement is not waited for beyond what that may take', async () => {
  const asked = codeSaid(
    withSession(database.url, { name, statementMs: 3_000, patience }, (own) => own`select pg_sleep(100)`),
  )
  const pid = await eventually(async () => {
    const [row] = await sql<{ pid: number }[]>`
      select pid from pg_stat_activity where application_name = ${name} and wait_event = 'PgSleep'`
    return row?.pid ?? false
  })
  kill(pid, 'SIGSTOP')
  try {
    assert.is(await asked, 'TENANTRY_POSTGRES_SILENT')
  } finally {
    kill(pid, 'SIGCONT')
  }
})

test(
  'commands say so when PostgreSQL freezes after they have connected, and end',
  async () => {
    const { hostname, port } = new URL(database.url)
    const proxy = await TcpProxy.open()
    proxy.lead(hostname, Number(port))
    const url = new URL(database.url)
    url.host = `127.0.0.1:${proxy.port}`
    const env = { DATABASE_URL: url.href, KAFKA_BROKERS: kafkaAddress() }
    const commands = [
      ['dlq', 'list'],
      ['breakers', 'list'],
      ['migrate', 'status'],
      ['migrate', 'up'],
      ['offsets', 'show', '--group', 'g'],
      ['verify', '--group', 'g'],
      ['stuck', '--json', '--url', 'http://127.0.0.1:1'],
    ]
    const holder = await sql.reserve()
    await holder`begin`
    await holder`lock table sys.migrations in access exclusive mode`
    const ran = commands.map((args) => runCli(args, { cwd: folder, env }))
    await eventually(
      async () => {
        const [row] = await sql<{ waiting: number }[]>`
          select count(*)::integer as waiting from pg_stat_activity
          where application_name like 'tenantry %' and wait_event_type = 'Lock'`
        return row?.waiting === commands.length
      },
      { deadlineMs: 60_000, what: 'every command waits for its first answer' },
    )
    proxy.weather = { kind: 'held', direction: 'both' }
    for (const [i, { code, stderr }] of (await Promise.all(ran)).entries()) {
      assert.is(code, 4, `${commands[i]?.join(' ')}: ${stderr}`)
      assert.match(stderr, /TENANTRY_POSTGRES_SILENT/)
    }
    await holder`rollback`
    holder.release()
    await proxy.close()
  },
  { timeoutMs: 150_000 },
)

import { randomUUID } from 'node:crypto'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { systemClock } from '../../core/clock.ts'
import type { Facts } from '../../core/errors.ts'
import { type Log, silentLog } from '../../core/log.ts'
import { Control } from '../../core/postgres/control.ts'
import { migrateUp, migrations } from '../../core/postgres/migrate.ts'
import { Upkeep } from '../../core/postgres/upkeep.ts'
import { after, before, test } from '../harness.ts'
import { ManualClock } from '../manual-clock.ts'
import { eventually, type FreshDatabase, freshDatabase } from '../services.ts'

// Keys by day: what a new day costs those who commit, and what becomes of keys that are there already.

const dayMs = 86_400_000
const today = 20_800

let database: FreshDatabase
let sql: postgres.Sql
/** The daemon's own way to the server: it writes no array by itself, as the driver's pool does. */
let control: Control

before(async () => {
  database = await freshDatabase()
  sql = postgres(database.url, { max: 4, onnotice() {}, connection: { lock_timeout: 500 } })
  const limits = { connectTimeoutMs: 10_000, lockTimeoutMs: 500, transactionTimeoutMs: 30_000 }
  control = new Control({ url: database.url, name: 'test upkeep', limits, clock: systemClock })
  for (const { number, name, sql: text, checksum } of await migrations()) {
    if (number > 10) break
    await sql.unsafe(text)
    await sql`
      create table if not exists sys.migrations (
        number integer primary key, name text not null, checksum text not null, applied_at timestamptz not null default clock_timestamp()
      )`
    await sql`insert into sys.migrations (number, name, checksum) values (${number}, ${name}, ${checksum})`
  }
})

after(async () => {
  await control.close()
  await sql.end({ timeout: 1 })
  await database.drop()
})

const claim = (on: postgres.Sql | postgres.TransactionSql, id: string, day: number) =>
  on`insert into sys.request_keys (message_id, tenant_id, group_name, day) values (${id}, 'acme', 'g', ${day})`

async function placeOf(id: string): Promise<string | undefined> {
  const [row] = await sql<{ place: string }[]>`
    select tableoid::regclass::text as place from sys.request_keys where message_id = ${id}`
  return row?.place
}

test('keys that are there keep being known when ids without a time get a partition of their own', async () => {
  const [untimed, old, timed] = [randomUUID(), randomUUID(), randomUUID()]
  await sql`select sys.fn_create_key_day(${today})`
  await claim(sql, untimed, 0)
  await claim(sql, old, today - 400)
  await claim(sql, timed, today)
  await migrateUp(database.url)
  assert.equal(
    [await placeOf(untimed), await placeOf(old), await placeOf(timed)],
    ['sys.request_keys_untimed', 'sys.request_keys_default', `sys.request_keys_${today}`],
  )
  for (const [id, day] of [
    [untimed, 0],
    [old, today - 400],
    [timed, today],
  ] as const)
    await assertRejects(() => claim(sql, id, day), /duplicate key/)
  const again = randomUUID()
  await claim(sql, again, 0)
  assert.is(await placeOf(again), 'sys.request_keys_untimed')
})

async function assertRejects(work: () => PromiseLike<unknown>, expected: RegExp): Promise<void> {
  try {
    await work()
  } catch (error) {
    assert.match(error instanceof Error ? error.message : '', expected)
    return
  }
  assert.unreachable('it was taken')
}

test('a new day waits for no commit of ids without a time, and none waits for it', async () => {
  await sql.begin(async (commit) => {
    await claim(commit, randomUUID(), 0)
    await sql.begin(async (creating) => {
      await creating`select sys.fn_create_key_day(${today + 1})`
      await claim(sql, randomUUID(), 0)
    })
  })
})

test('a day is left to the default partition when that is too large to be locked and read', async () => {
  await claim(sql, randomUUID(), today + 900)
  await assertRejects(() => sql`select sys.fn_add_key_day(${today + 2}, 0)`, /too large to add day 20802/)
  const [row] = await sql<{ created: boolean }[]>`select sys.fn_add_key_day(${today + 2}) as created`
  assert.is(row?.created, true)
})

test('upkeep does not keep anybody from starting, and does the rest when one part of it fails', async () => {
  const clock = new ManualClock()
  const failed: Facts[] = []
  const log = { ...silentLog, warn: (_event: string, fields: Facts) => void failed.push(fields) }
  const upkeep = upkeepOf(clock, log)
  const now = await serverDay()
  await sql`select sys.fn_drop_key_days(2147483647, 'infinity')`
  const stale = randomUUID()
  await claim(sql, stale, 0)
  await sql`update sys.request_keys set seen_at = '1999-01-01' where message_id = ${stale}`
  await sql.begin(async (holder) => {
    await holder`lock table sys.request_keys_default in access share mode`
    await upkeep.start()
    await clock.pass(1)
    await eventually(async () => (await placeOf(stale)) === undefined, { what: 'old keys are deleted' })
  })
  await eventually(() => clock.timers > 0)
  assert.ok(failed.some(({ error }) => String(error).includes('lock timeout')))
  await clock.pass(600_000)
  const kept = [-5, -4, -3, -2, -1, 0, 1, 2].map((ahead) => now + ahead)
  await eventually(async () => (await days()).join() === kept.join(), { what: `there are days ${kept.join()}` })
  await upkeep.stop()
})

test("a daemon whose clock is ahead drops no key that is kept by the server's", async () => {
  const now = await serverDay()
  await sql`select sys.fn_add_key_day(${now - 4})`
  await sql`select sys.fn_add_key_day(${now - 9})`
  const id = randomUUID()
  await claim(sql, id, now - 4)
  const clock = new ManualClock((now + 30) * dayMs)
  const upkeep = upkeepOf(clock, silentLog)
  await upkeep.start()
  await clock.pass(1)
  await eventually(async () => !(await days()).includes(now - 9), { what: 'the days past retention are dropped' })
  await upkeep.stop()
  await assertRejects(() => claim(sql, id, now - 4), /duplicate key/)
})

test('a group that keeps keys shorter drops none that another group of the database keeps', async () => {
  const now = await serverDay()
  for (const age of [1, 3]) await sql`select sys.fn_add_key_day(${now - age})`
  const clock = new ManualClock(now * dayMs)
  const roundOf = async (group: string, keysDays: number) => {
    await sql`select sys.fn_add_key_day(${now - 20})`
    const upkeep = upkeepOf(clock, silentLog, group, keysDays)
    await upkeep.start()
    await clock.pass(1)
    await eventually(async () => !(await days()).includes(now - 20), { what: 'old days are dropped' })
    await upkeep.stop()
  }
  await roundOf('long', 5)
  await roundOf('short', 2)
  assert.ok((await days()).includes(now - 3), 'the day is kept for the other group')
  await sql`update sys.key_retention set said_at = now() - interval '6 days' where group_name <> 'short'`
  await roundOf('short', 2)
  assert.not((await days()).includes(now - 3), 'nobody has spoken for the other group in as long as it keeps keys')
  assert.ok((await days()).includes(now - 1))
})

test("a key that came long after its id's time is kept for as long as any other", async () => {
  const now = await serverDay()
  for (const age of [12, 11, 10]) await sql`select sys.fn_add_key_day(${now - age})`
  const [old, late] = [randomUUID(), randomUUID()]
  await claim(sql, old, now - 12)
  await claim(sql, late, now - 11)
  await sql`update sys.request_keys set seen_at = now() - interval '6 days' where message_id = ${old}`
  const clock = new ManualClock(now * dayMs)
  const upkeep = upkeepOf(clock, silentLog)
  await upkeep.start()
  await clock.pass(1)
  await eventually(async () => !(await days()).includes(now - 10), { what: 'old days are dropped' })
  await upkeep.stop()
  assert.not((await days()).includes(now - 12), 'nothing young is in that day')
  await assertRejects(() => claim(sql, late, now - 11), /duplicate key/)
})

const upkeepOf = (clock: ManualClock, log: Log, group = 'g', keysDays = 5) =>
  new Upkeep({
    control: control.asking(30_000),
    clock,
    log,
    groups: [group],
    keysMs: keysDays * dayMs,
    progressMs: dayMs,
    traceabilityMs: dayMs,
    offsetsLogMs: dayMs,
  })

async function serverDay(): Promise<number> {
  const [row] = await sql<{ day: number }[]>`select floor(extract(epoch from now()) / 86400)::integer as day`
  return row?.day ?? 0
}

async function days(): Promise<number[]> {
  const rows = await sql<{ day: number }[]>`
    select substring(child.relname from '[0-9]+$')::integer as day
    from pg_inherits join pg_class as child on child.oid = inhrelid
    where inhparent = 'sys.request_keys'::regclass and child.relname ~ '[0-9]+$' order by 1`
  return rows.map(({ day }) => day)
}

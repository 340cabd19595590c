import { randomUUID } from 'node:crypto'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { systemClock } from '../../core/clock.ts'
import { codeOf, TenantryError } from '../../core/errors.ts'
import { LaneConnection } from '../../core/postgres/lane-connection.ts'
import { PostgresLedger } from '../../core/postgres/ledger.ts'
import type { Outcome } from '../../core/postgres/transactions.ts'
import { systemRandom } from '../../core/random.ts'
import { after, before, test } from '../harness.ts'
import { eventually } from '../services.ts'
import { LaneStage, row, throughFrame } from './lane-stage.ts'

// What a lane's session is, whatever is sent over it; and in which order a commit takes what another's may want, too.

let stage: LaneStage

before(async () => {
  stage = await LaneStage.create(async (sql) => {
    await sql`create table effects (tenant_id text, what text)`
    await sql`create table balances (tenant_id text, account text, amount bigint, primary key (tenant_id, account))`
  })
})

after(() => stage.end())

function open(transactionTimeoutMs = 10_000): Promise<LaneConnection> {
  const limits = { connectTimeoutMs: 3_000, statementTimeoutMs: 20_000, lockTimeoutMs: 500, transactionTimeoutMs }
  return LaneConnection.open(stage.url, 'test session', limits)
}

/** What the server, or the end of the connection, says of a statement. */
async function codeSaid(connection: LaneConnection, asked: PromiseLike<object>): Promise<string> {
  const late = () => new TenantryError('TENANTRY_TEST_LATE', 'no answer')
  try {
    await connection.answer(asked, systemClock, 15_000, late)
    return ''
  } catch (error) {
    return codeOf(error)
  }
}

test('what strays out of its transaction is refused, and a commit without one is an error', async () => {
  const connection = await open()
  const { sql } = connection
  assert.is(await codeSaid(connection, sql`insert into effects values ('acme', 'strayed')`), '25006')
  assert.is(await codeSaid(connection, sql`commit and chain`), '25P01')
  assert.is((await stage.sql`select from effects`).length, 0)
  await connection.end()
})

test('a lane that was frozen in its transaction does not keep its locks', async () => {
  const idle = await open(300)
  await idle.sql`begin read write`
  const gone = Promise.withResolvers<Error>()
  idle.onceGone(gone.resolve)
  assert.is(codeOf(await gone.promise), 'TENANTRY_LANE_CLOSED')
  const busy = await open(300)
  await busy.sql`begin read write`
  const slept = await codeSaid(busy, busy.sql`select pg_sleep(20)`)
  assert.ok(['25P04', 'TENANTRY_LANE_CLOSED'].includes(slept), slept)
  idle.destroy()
  busy.destroy()
})

test('a takeover that has waited for long ends who holds the partition, and nobody else', async () => {
  const { ref } = stage.partition(3)
  const lockOf = (partition: number) => stage.sql`sys.fn_partition_lock(${ref.group}, ${ref.topicId}, ${partition})`
  const [frozen, other] = [await open(), await open()]
  for (const [{ sql }, partition] of [
    [frozen, 3],
    [other, 2],
  ] as const) {
    await sql`begin read write`
    await sql`select pg_advisory_xact_lock(${lockOf(partition)})`
  }
  const control = postgres(stage.url, { max: 1, connection: { lock_timeout: 300 } })
  const takeOver = async (frozenAfterMs: number) => {
    try {
      return await new PostgresLedger({ control, random: systemRandom, frozenAfterMs }).takeOver(ref)
    } catch (error) {
      assert.is(codeOf(error), '55P03')
      return null
    }
  }
  // As long as it may yet come to itself, it is waited for.
  assert.is(await takeOver(3_600_000), null)
  assert.is(await codeSaid(frozen, frozen.sql`select 1`), '')
  assert.is(await takeOver(100), null)
  const gone = await codeSaid(frozen, frozen.sql`select 1`)
  assert.ok(!['', 'TENANTRY_TEST_LATE'].includes(gone), gone)
  assert.is((await takeOver(100))?.epoch, stage.partition(3).epoch + 1)
  assert.is(await codeSaid(other, other.sql`select 1`), '')
  await Promise.all([other.end(), control.end()])
  frozen.destroy()
})

/** As databases are set that others had before. */
async function inOldDatabase(work: () => Promise<void>): Promise<void> {
  const name = stage.sql(new URL(stage.url).pathname.slice(1))
  await stage.sql`alter database ${name} set default_transaction_isolation = 'repeatable read'`
  await stage.sql`alter database ${name} set bytea_output = 'escape'`
  await stage.sql`alter database ${name} set datestyle = 'SQL, DMY'`
  await stage.sql`alter database ${name} set array_nulls = off`
  try {
    await work()
  } finally {
    await stage.sql`alter database ${name} reset all`
  }
}

test('values are read and written as they are, whatever the database’s settings are', () =>
  inOldDatabase(async () => {
    const connection = await open()
    const [read] = await connection.sql<{ bytes: Buffer; time: Date; texts: string; own: boolean }[]>`
      select '\\x00ff'::bytea as bytes, '2026-02-01T00:00:00Z'::timestamptz as time, ${'{NULL}'}::text[] as texts,
        '01/02/2026'::date = '2026-02-01' as own`
    const said = [read?.bytes.toString('hex'), read?.time.getTime(), read?.texts, read?.own]
    assert.equal(said, ['00ff', Date.UTC(2026, 1), '{NULL}', true])
    await connection.end()
  }))

test('of two commits that follow the same one the second is fenced, whatever the database’s isolation is', () =>
  inOldDatabase(async () => {
    const { ref } = stage.partition(0)
    const blocker = await stage.sql.reserve()
    await blocker`begin`
    await blocker`select pg_advisory_xact_lock(sys.fn_partition_lock(${ref.group}, ${ref.topicId}, ${ref.partition}))`
    const patient = { limits: { lockTimeoutMs: 8_000, statementTimeoutMs: 8_000 } }
    const lanes = [await stage.lane(patient), await stage.lane(patient)]
    const committed = Promise.all(
      lanes.map((lane) => lane.commit(stage.commit([stage.done()]), { kind: 'optimistic' })),
    )
    await eventually(
      async () =>
        (
          await stage.sql`
            select from pg_locks join pg_database on pg_database.oid = database and datname = current_database()
            where locktype = 'advisory' and not granted`
        ).length === 2,
      { what: 'two commits that wait for the partition' },
    )
    await blocker`commit`
    blocker.release()
    assert.equal((await committed).map(({ kind }) => kind).toSorted(), ['committed', 'fenced'])
    await stage.takeAllOver()
  }))

test('keys, states and upserts are written in one order, whatever that of their messages is', async () => {
  const lane = await stage.lane()
  const tenants = Array.from({ length: 40 }, (_, i) => `t${(i * 27) % 40}`.padEnd(4, '-'))
  const outcomes = tenants.map((tenant, i): Outcome => {
    // Ids with their time in front and ids without are in different partitions.
    const id = i % 4 === 0 ? `01900000-0000-7000-8000-${randomUUID().slice(24)}` : randomUUID()
    const effects = [row('balances', { tenant_id: tenant, account: 'a', amount: '1' }, ['tenant_id', 'account'])]
    const outcome = stage.done({ tenant, id, effects })
    if (outcome.result.kind !== 'done') return outcome
    return { ...outcome, result: { ...outcome.result, stateful: true, state: { version: 1, json: '{}' } } }
  })
  assert.is((await stage.run(lane, outcomes)).kind, 'committed')
  for (const table of ['sys.actor_state', 'balances']) await isInOrder(table, 'tenant_id', tenants)
  await isInOrder('sys.request_keys', 'message_id', tenants)
})

test('and so are keys that are all alike, out of frames', async () => {
  const lane = await stage.lane()
  const tenants = Array.from({ length: 40 }, (_, i) => `alike ${i}`)
  const effects = [row('effects', { what: 'alike' })]
  const outcomes = throughFrame(tenants.map((tenant) => stage.done({ tenant, effects })))
  assert.is((await stage.run(lane, outcomes)).kind, 'committed')
  await isInOrder('sys.request_keys', 'message_id', tenants)
})

/** The rows of these tenants were written by this column. */
async function isInOrder(table: string, column: string, tenants: readonly string[]): Promise<void> {
  const rows = await stage.sql<{ written: string }[]>`
    select tableoid::text || ' ' || ${stage.sql(column)}::text as written from ${stage.sql(table)}
    where tenant_id = any (${[...tenants]}) order by tableoid::text, ctid`
  const written = rows.map((one) => one.written)
  assert.is(written.length, tenants.length, table)
  assert.equal(written, written.toSorted(), table)
}

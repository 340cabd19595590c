import * as assert from 'uvu/assert'
import type { Effect, Failure } from '../../core/effects.ts'
import type { Outcome } from '../../core/postgres/transactions.ts'
import type { PostgresLane } from '../../core/postgres/lane.ts'
import { after, before, test } from '../harness.ts'
import { eventually } from '../services.ts'
import { LaneStage, row } from './lane-stage.ts'

// A refused commit says where, whose fault and why, leaves nothing behind, and the lane goes on.

let stage: LaneStage
let lane: PostgresLane

before(async () => {
  stage = await LaneStage.create(async (sql) => {
    await sql`create table effects (tenant_id text, what text)`
    await sql`create table strict (tenant_id text, name text not null unique check (name <> 'bad'), number integer)`
    await sql`create table late (tenant_id text, name text unique deferrable initially deferred)`
    await sql`create table named (tenant_id text, name text unique, n integer)`
    await sql`create table guarded (tenant_id text, name text)`
    await sql`
      create function guard() returns trigger language plpgsql as
      $$ begin raise exception 'not so' using errcode = 'TY001'; end $$`
    await sql`create trigger guard before insert on guarded for each row execute function guard()`
    await sql`insert into strict (name) values ('taken')`
    await sql`insert into late (name) values ('taken')`
  })
  lane = await stage.lane()
})

after(() => stage.end())

function sql(text: string): Effect {
  return { kind: 'sql', text: [text], values: [] }
}

const fine = row('effects', { tenant_id: 'acme', what: 'fine' })

async function goesOn(): Promise<void> {
  assert.is((await stage.run(lane, [stage.done({ effects: [fine] })])).kind, 'committed', 'the lane goes on')
  await stage.sql`delete from effects`
}

for (const [what, effect, sqlstate, blame] of [
  ['a row that breaks a unique constraint', row('strict', { name: 'taken' }), '23505', 'statement'],
  ['a row without a value that must be there', row('strict', { name: null }), '23502', 'statement'],
  ['a row that breaks a check', row('strict', { name: 'bad' }), '23514', 'statement'],
  ['a value that is no number', row('strict', { name: 'n', number: 'many' }), '22P02', 'statement'],
  ['a number out of range', row('strict', { name: 'n', number: '9999999999' }), '22003', 'statement'],
  ['a constraint that is looked at when the commit comes', row('late', { name: 'taken' }), '23505', 'statement'],
  ['a table that is not there', row('nowhere', { name: 'n' }), '42P01', 'statement'],
  ['a column that is not there', row('strict', { name: 'n', nothing: 'n' }), '42703', 'statement'],
  ['raw SQL that is none', sql('selec 1'), '42601', 'statement'],
  ['raw SQL that divides by zero', sql('select 1 / 0'), '22012', 'statement'],
  ['a statement that takes too long', sql('select pg_sleep(60)'), '57014', 'held'],
  ['a right that is missing', sql('set role nobody_of_this_name'), '22023', 'statement'],
  ['a trigger that raises what the fence does', row('guarded', { name: 'n' }), 'TY001', 'statement'],
] as const) {
  test(`${what}: ${sqlstate}, blamed on the ${blame}`, async () => {
    const result = await stage.run(lane, [stage.done({ effects: [fine] }), stage.done({ effects: [effect] })])
    assert.is(result.kind, 'refused')
    if (result.kind !== 'refused') return
    assert.equal([result.step, result.blame, result.failure.sqlstate], ['effect', blame, sqlstate])
    assert.is((await stage.sql`select from effects`).length, 0)
    await goesOn()
  })
}

// Transaction control as a statement of its own never gets here: ctx.sql refuses it (test/unit/testing.test.ts).
for (const text of ['call ends()', 'do $$ begin commit; end $$', 'do $$ begin rollback; end $$'] as const) {
  test(`code that an actor calls cannot end the transaction: ${text}`, async () => {
    await stage.sql`create or replace procedure ends() language plpgsql as 'begin commit; end'`
    const keys = (await stage.sql`select from sys.request_keys`).length
    const result = await stage.run(lane, [stage.done({ effects: [fine, sql(text), fine] })])
    assert.is(result.kind, 'refused')
    if (result.kind !== 'refused') return
    assert.equal([result.step, result.blame, result.failure.sqlstate], ['effect', 'statement', '2D000'])
    const now = [(await stage.sql`select from effects`).length, (await stage.sql`select from sys.request_keys`).length]
    assert.equal(now, [0, keys])
    await goesOn()
  })
}

test('a lock that another holds: only the waiting one is held back', async () => {
  const blocker = await stage.sql.reserve()
  await blocker`begin`
  await blocker`lock table strict in access exclusive mode`
  try {
    const result = await stage.run(lane, [stage.done({ effects: [row('strict', { name: 'waits' })] })])
    assert.equal(result.kind === 'refused' && [result.step, result.blame, result.failure.sqlstate], [
      'effect',
      'held',
      '55P03',
    ])
    await goesOn()
  } finally {
    await blocker`rollback`
    blocker.release()
  }
})

test('a deadlock is tried again, and is nobody’s failure', async () => {
  await stage.sql`create table pair (id integer primary key, n integer)`
  await stage.sql`insert into pair values (1, 0), (2, 0)`
  const patient = { limits: { lockTimeoutMs: 8_000, statementTimeoutMs: 8_000 }, answerMs: 9_000 }
  const lanes = [await stage.lane(patient), await stage.lane(patient)]
  const both = (a: number, b: number) => [
    sql(`update pair set n = n + 1 where id = ${a}`),
    sql('select pg_sleep(0.5)'),
    sql(`update pair set n = n + 1 where id = ${b}`),
  ]
  const results = await Promise.all(
    lanes.map((each, partition) =>
      stage.run(each, [stage.done({ partition, effects: partition === 0 ? both(1, 2) : both(2, 1) })]),
    ),
  )
  const refused = results.filter((result) => result.kind === 'refused')
  assert.equal(results.map(({ kind }) => kind).sort(), ['committed', 'refused'])
  assert.equal(
    refused.map((result) => [result.blame, result.failure.sqlstate]),
    [['again', '40P01']],
  )
})

test('a statement that finds two rows where it needs one is found out, with upserts beside it or not', async () => {
  const two = sql('select (select n from (values (1), (2)) as two (n))')
  for (const beside of [fine, row('named', { name: 'a', n: '1' }, ['name'])]) {
    const outcomes = [stage.done({ effects: [beside] }), stage.done({ effects: [two] })]
    const first = await stage.run(lane, outcomes)
    assert.equal(first.kind === 'refused' && first.blame, 'again', 'upserts are sent row by row')
    const second = await stage.run(lane, outcomes)
    assert.equal(second.kind === 'refused' && [second.step, second.blame], ['effect', 'statement'])
    await goesOn()
  }
})

test('what an actor’s statement leaves to the session is not the next tenant’s', async () => {
  const own = await stage.lane()
  const leaving = [
    sql("select set_config('statement_timeout', '100', false), set_config('search_path', 'nowhere', false)"),
    sql("select set_config('app.tenant_id', 'other', false)"),
    sql('select pg_advisory_lock(4711)'),
    sql("select 'mine' as what into temporary table kept"),
  ]
  assert.is((await stage.run(own, [stage.done({ effects: leaving })])).kind, 'committed')
  const result = await stage.run(own, [
    stage.done({
      tenant: 'other',
      effects: [
        sql('select pg_sleep(0.2)'),
        sql("insert into effects select current_setting('app.tenant_id'), current_user"),
        row('effects', { what: 'later' }),
      ],
    }),
  ])
  assert.is(result.kind, 'committed', JSON.stringify(result))
  assert.equal(
    (await stage.sql`select tenant_id, what = current_user as same from effects order by tenant_id`).map((one) => ({
      ...one,
    })),
    [
      { tenant_id: 'other', same: true },
      { tenant_id: null, same: false },
    ],
  )
  assert.is((await stage.sql`select from pg_locks where locktype = 'advisory' and objid = 4711`).length, 0)
  const kept = await stage.run(own, [stage.done({ effects: [sql('select * from kept')] })])
  assert.equal(kept.kind === 'refused' && kept.failure.sqlstate, '42P01')
  await stage.sql`delete from effects`
})

test('a statement that makes the transaction read-only is to blame for it', async () => {
  const readOnly = sql("select set_config('transaction_read_only', 'on', true)")
  const result = await stage.run(lane, [stage.done({ effects: [readOnly] })])
  assert.equal(result.kind === 'refused' && [result.step, result.blame, result.failure.sqlstate], [
    'effect',
    'statement',
    'TY005',
  ])
  await goesOn()
})

test('a session that a statement makes another user’s is its own again', async () => {
  const role = `other_${process.pid}`
  await stage.sql`create role ${stage.sql(role)}`
  await stage.sql`grant usage on schema sys to ${stage.sql(role)}`
  await stage.sql`grant insert on sys.request_keys to ${stage.sql(role)}`
  try {
    const changing = sql(`select set_config('session_authorization', '${role}', false)`)
    const own = await stage.lane()
    await stage.run(own, [stage.done({ effects: [changing] })])
    await stage.takeAllOver()
    const result = await stage.run(own, [stage.done({ effects: [sql("insert into effects values ('acme', 'mine')")] })])
    assert.is(result.kind, 'committed', JSON.stringify(result))
    await stage.sql`delete from effects`
  } finally {
    await stage.sql`drop owned by ${stage.sql(role)}`
    await stage.sql`drop role ${stage.sql(role)}`
  }
})

test('a statement that takes another role is to blame for what that role may not', async () => {
  const role = `role_of_${process.pid}`
  await stage.sql`create role ${stage.sql(role)}`
  try {
    const result = await stage.run(lane, [
      stage.done({ effects: [sql(`select set_config('role', '${role}', false)`)] }),
    ])
    assert.equal(result.kind === 'refused' && [result.step, result.blame], ['effect', 'statement'])
    await goesOn()
  } finally {
    await stage.sql`drop role ${stage.sql(role)}`
  }
})

test('a tenant’s first states from two partitions are not one: the second is found to belong elsewhere', async () => {
  const stateful = (partition: number): Outcome => {
    const outcome = stage.done({ tenant: 'twice', partition })
    const state = { version: 1, json: `{"partition":${partition}}` }
    return outcome.result.kind === 'done'
      ? { ...outcome, result: { ...outcome.result, stateful: true, state } }
      : outcome
  }
  const both = [stateful(0), stateful(2)]
  for (const blame of ['again', 'statement'] as const) {
    const result = await stage.run(lane, both)
    assert.equal(result.kind === 'refused' && [result.step, result.blame], ['effect', blame])
  }
  assert.is((await stage.run(lane, both.slice(0, 1))).kind, 'committed')
  const second = await stage.run(lane, both.slice(1))
  assert.equal(second.kind === 'refused' && second.failure.sqlstate, 'TY004')
})

test('effects too long to be written at once are refused, not thrown', async () => {
  const long = 'x'.repeat(100 * 1024 * 1024)
  const rows = Array.from({ length: 6 }, () => stage.done({ effects: [row('effects', { what: long })] }))
  const result = await stage.run(lane, rows)
  assert.equal(result.kind === 'refused' && [result.step, result.blame], ['effect', 'statement'])
  await stage.takeAllOver()
  await goesOn()
})

test('a connection that the server ends is the infrastructure’s', async () => {
  const own = await stage.lane()
  const waiting = stage.run(own, [stage.done({ effects: [sql('select pg_sleep(60)')] })])
  await eventually(
    async () =>
      (
        await stage.sql`
          select pg_terminate_backend(pid) from pg_stat_activity
          where datname = current_database() and wait_event = 'PgSleep'`
      ).length > 0,
    { what: 'the backend of the sleeping commit' },
  )
  const result = await waiting
  const known = result.kind === 'unknown' || (result.kind === 'refused' && result.blame === 'infrastructure')
  assert.ok(known, JSON.stringify(result))
  await stage.takeAllOver()
  assert.is((await stage.run(own, [stage.done({ effects: [fine] })])).kind, 'committed', 'by a new connection')
  await stage.sql`delete from effects`
})

const failure: Failure = { reason: 'handler', errorClass: 'Error', message: 'no', stack: 'at', kind: 'permanent' }

test('a dead letter has key, value and headers byte for byte, whatever bytes they are', async () => {
  const every = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
  const records = [
    { key: every, value: every, headers: [[every, every]] },
    { key: Buffer.alloc(0), value: Buffer.alloc(0), headers: [[Buffer.alloc(0), Buffer.alloc(0)]] },
    {
      key: null,
      value: null,
      headers: [
        [Buffer.from('same'), null],
        [Buffer.from('same'), Buffer.from('{"a",NULL}')],
      ],
    },
    { key: Buffer.from('{}'), value: Buffer.from([0xff, 0, 0xc3, 0x28]), headers: [] },
    { key: Buffer.from('k'), value: Buffer.alloc(3_000_000, 7), headers: [] },
  ] as const
  const letters = records.map((record, place) => {
    const outcome = stage.failed({}, { ...failure, message: 'a NUL \0 and half a pair \ud800', reason: `r${place}` })
    return { ...outcome, record: { ...outcome.record, ...record } }
  })
  const offsets = letters.map(({ record }) => record.offset)
  assert.is((await stage.run(lane, letters)).kind, 'committed')
  const rows = await stage.sql<Letter[]>`
    select encode(record_key, 'hex') as key, encode(record_value, 'hex') as value,
      array_to_json(array(select encode(name, 'hex') from unnest(header_names) as name)) as names,
      array_to_json(array(select encode(value, 'hex') from unnest(header_values) as value)) as values
    from sys.dead_letters where record_offset = any (${offsets}) order by record_offset`
  assert.is(rows.length, records.length)
  rows.forEach(({ key, value, names, values }, place) => {
    const sent = records[place]
    assert.equal([key, value], [hex(sent?.key ?? null), hex(sent?.value ?? null)])
    assert.equal(
      names,
      sent?.headers.map(([name]) => hex(name)),
    )
    assert.equal(
      values,
      sent?.headers.map(([, header]) => hex(header)),
    )
  })
})

/** In hexadecimal: the driver takes a null in an array for an empty value. */
type Letter = { key: string | null; value: string | null; names: (string | null)[]; values: (string | null)[] }

function hex(bytes: Uint8Array | null): string | null {
  return bytes === null ? null : Buffer.from(bytes).toString('hex')
}

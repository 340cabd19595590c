import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { ReadConnections } from '../../actors/read-connections.ts'
import { PostgresReader } from '../../actors/reader.ts'
import { Tables } from '../../actors/tables.ts'
import { systemClock } from '../../core/clock.ts'
import { readCatalog } from '../../core/postgres/catalog.ts'
import { encodeParameter } from '../../core/sql-text.ts'
import { after, before, test } from '../harness.ts'
import { type FreshDatabase, freshDatabase } from '../services.ts'

// runtimes: node, bun

let database: FreshDatabase
let sql: postgres.Sql
let tables: Tables

before(async () => {
  database = await freshDatabase()
  sql = postgres(database.url, { max: 1, onnotice() {} })
  await sql`create type mood as enum ('happy', 'it''s "odd", \\ really')`
  await sql`create domain positive as integer check (value > 0)`
  await sql`create domain small as positive check (value < 100)`
  await sql`create domain local_time as timestamp`
  await sql`create domain counts as integer[]`
  await sql`
    create table everything (
      tenant_id text not null, b boolean, i2 smallint, i4 integer, i8 bigint, f4 real, f8 double precision, n numeric,
      t text, v varchar(20), j json, jb jsonb, by bytea, tz timestamptz, ts timestamp, d date, ti time, u uuid,
      m mood, p positive, ps small, lt local_time, cs counts, ai integer[], at text[], aj jsonb[], an numeric[], ab bytea[], atz timestamptz[], au uuid[],
      g integer generated always as (i4 + 1) stored, primary key (tenant_id, i4)
    )`
  // A quoted literal has no type until its column gives it one: what the text form must survive.
  await sql`
    create function put(name text, value text) returns void language plpgsql as
    $$ begin execute format('update everything set %I = %L', name, value); end $$`
  await sql`
    create function read_as(value text, type text) returns text language plpgsql as
    $$ declare result text; begin execute format('select (%L::%s)::text', value, type) into result; return result; end $$`
  tables = new Tables(await readCatalog(sql), { tenantColumn: 'tenant_id', maxDepth: 64 })
})

after(async () => {
  await sql?.end({ timeout: 5 })
  await database?.drop()
})

/** Writes a row as the commit would, from text, and reads one column back as text. */
async function stored(column: string, value: unknown): Promise<string | null> {
  const { shape, values } = tables.get('everything').write({ [column]: value, i4: 1 }, 'acme', undefined)
  const text = values[shape.columns.indexOf(column)] ?? null
  return sql.begin(async (tx) => {
    await tx`set local time zone 'UTC'`
    await tx`insert into everything ${tx({ tenant_id: 'acme', i4: 1 })}`
    await tx`select put(${column}, ${text})`
    const [row] = await tx<{ text: string | null }[]>`select ${tx(column)}::text as text from everything`
    await tx`delete from everything`
    return row?.text ?? null
  })
}

test('PostgreSQL reads each value’s text as the value that was meant', async () => {
  const cases: readonly [column: string, value: unknown, text: string | null][] = [
    ['b', true, 'true'],
    ['i2', -32_768, '-32768'],
    ['i8', 9_223_372_036_854_775_807n, '9223372036854775807'],
    ['i8', -9_223_372_036_854_775_808n, '-9223372036854775808'],
    ['f8', 1e300, '1e+300'],
    ['f8', 5e-324, '5e-324'],
    ['f8', 0.1 + 0.2, '0.30000000000000004'],
    ['f8', Number.NaN, 'NaN'],
    ['f8', Number.NEGATIVE_INFINITY, '-Infinity'],
    ['n', 1e21, '1000000000000000000000'],
    ['n', 1e-7, '0.0000001'],
    ['n', '123456789012345678901234567890.123', '123456789012345678901234567890.123'],
    ['t', 'it\'s "odd" \\ \n\t✓😀', 'it\'s "odd" \\ \n\t✓😀'],
    ['t', 'NULL', 'NULL'],
    ['t', '', ''],
    ['t', null, null],
    ['j', { a: [1, null, 'x\u0001'] }, '{"a":[1,null,"x\\u0001"]}'],
    ['jb', 2n ** 70n, '1180591620717411303424'],
    ['jb', 'text', '"text"'],
    ['by', new Uint8Array([0, 1, 255]), '\\x0001ff'],
    ['by', new Uint8Array(0), '\\x'],
    ['tz', new Date('2026-11-25T06:00:00.123Z'), '2026-11-25 06:00:00.123+00'],
    ['tz', '2026-11-25T06:00:00.123456+01:00', '2026-11-25 05:00:00.123456+00'],
    ['tz', new Date('0001-01-01T00:00:00Z'), '0001-01-01 00:00:00+00'],
    ['ts', new Date('2026-11-25T06:00:00Z'), '2026-11-25 06:00:00'],
    ['d', new Date('2026-11-25T23:59:59Z'), '2026-11-25'],
    ['d', '2026-11-25', '2026-11-25'],
    ['ti', '06:00:01', '06:00:01'],
    ['u', '0190F3A1-7C3B-7ABC-9DEF-0123456789AB', '0190f3a1-7c3b-7abc-9def-0123456789ab'],
    ['m', 'it\'s "odd", \\ really', 'it\'s "odd", \\ really'],
    ['p', 7, '7'],
    ['ai', [1, null, -3], '{1,NULL,-3}'],
    ['ai', [], '{}'],
    [
      'ai',
      [
        [1, 2],
        [3, 4],
      ],
      '{{1,2},{3,4}}',
    ],
    ['at', ['a"b\\c', 'NULL', '', '{}', ','], '{"a\\"b\\\\c","NULL","","{}",","}'],
    ['aj', [{ a: 'x"y' }, null], '{"{\\"a\\": \\"x\\\\\\"y\\"}",NULL}'],
    ['an', [1.5, 2n ** 65n], '{1.5,36893488147419103232}'],
    ['ab', [new Uint8Array([255])], '{"\\\\xff"}'],
    ['atz', [new Date(0)], '{"1970-01-01 00:00:00+00"}'],
    ['au', ['0190f3a1-7c3b-7abc-9def-0123456789ab'], '{0190f3a1-7c3b-7abc-9def-0123456789ab}'],
  ]
  for (const [column, value, text] of cases) assert.is(await stored(column, value), text, column)
})

test('a domain keeps its base type’s rules, a generated column is not written', () => {
  assert.throws(() => tables.get('everything').write({ p: 'x' }, 'acme', undefined), /everything\.p/)
  const refused: Readonly<Record<string, unknown>> = { p: 2 ** 40, ps: 'x', lt: '2026-01-01T00:00:00+05:00', cs: [1.5] }
  for (const [name, value] of Object.entries(refused))
    assert.throws(() => tables.get('everything').write({ [name]: value }, 'acme', undefined), `everything.${name}`)
  assert.throws(() => tables.get('everything').write({ g: 1 }, 'acme', undefined), /generated/)
  assert.throws(() => tables.get('everything').write({ tenant_id: null }, 'acme', undefined), /tenant_id/)
})

test('parameters of own SQL are read as they were meant', async () => {
  const read = async (value: unknown, type: string) => {
    const [row] = await sql<{ text: string }[]>`select read_as(${encodeParameter('p', value, 64)}, ${type}) as text`
    return row?.text
  }
  assert.is(await read([1, null, 2], 'int[]'), '{1,NULL,2}')
  assert.is(await read({ a: [1] }, 'jsonb'), '{"a": [1]}')
  assert.is(await read([{ a: 1 }], 'jsonb'), '[{"a": 1}]')
})

test('what a read gives is what is stored: nulls in arrays, large integers in JSON', async () => {
  const connections = new ReadConnections({ url: database.url, clock: systemClock })
  const reader = new PostgresReader(connections)
  const query = (text: TemplateStringsArray, ...values: unknown[]) => reader.query('t', text, values)
  try {
    const [row] = await query`
      select array['a', null, 'NULL', '{,}"\\'] as texts, array[[1, null], [3, 4]] as numbers, '[0:1]={7,8}'::int[] as shifted, '{}'::int[] as none,
        '{"n": 9007199254740993}'::jsonb as big, array['{"n": 9007199254740993}'::jsonb] as bigs, array[true, null] as truths,
        array['\\xff'::bytea] as blobs, array[9007199254740993] as longs, array['2026-11-25 06:00:00+00'::timestamptz] as times,
        true as truth, 5 as small, null as nothing`
    assert.equal(
      { ...row },
      {
        texts: ['a', null, 'NULL', '{,}"\\'],
        numbers: [
          [1, null],
          [3, 4],
        ],
        shifted: [7, 8],
        none: [],
        big: { n: 9007199254740993n },
        bigs: [{ n: 9007199254740993n }],
        truths: [true, null],
        blobs: [Buffer.from([255])],
        longs: ['9007199254740993'],
        times: [new Date('2026-11-25T06:00:00Z')],
        truth: true,
        small: 5,
        nothing: null,
      },
    )
    const [same] =
      await query`select ${true} = true as truth, ${new Date(0)}::timestamptz as time, ${new Uint8Array([1])}::bytea as bytes, ${'{"a":1}'}::jsonb as json, ${[[1], [2]]}::int[] as lists`
    assert.equal(
      { ...same },
      { truth: true, time: new Date(0), bytes: Buffer.from([1]), json: { a: 1 }, lists: [[1], [2]] },
    )
  } finally {
    await connections.close()
  }
})

test('a read sees its tenant, cannot write, and leaves nothing set', async () => {
  const connections = new ReadConnections({ url: database.url, clock: systemClock })
  const reader = new PostgresReader(connections)
  const query = (text: TemplateStringsArray, ...values: unknown[]) => reader.query("it's ✓", text, values)
  try {
    const rows =
      await query`select current_setting('app.tenant_id') as tenant, ${5}::int + 1 as six, ${['a', null]}::text[] as list, ${10n ** 15n}::int8::text as big`
    assert.equal(
      rows.map((row) => ({ ...row })),
      [{ tenant: "it's ✓", six: 6, list: ['a', null], big: '1000000000000000' }],
    )
    for (const write of [
      query`insert into everything (tenant_id, i4) values ('x', 1)`,
      query`create table x (y int)`,
    ]) {
      await write.then(
        () => assert.unreachable(),
        (error: unknown) => assert.is(Reflect.get(Object(error), 'code'), '25006'),
      )
    }
    assert.equal(
      await query`select count(*)::int as n from everything`.then((found) => found.map((row) => ({ ...row }))),
      [{ n: 0 }],
    )
    await query`select ${{ a: 1 }}::jsonb`.then(
      () => assert.unreachable(),
      (error: unknown) => assert.match(String(error), /parameter of ctx\.query/),
    )
  } finally {
    await connections.close()
  }
  await new PostgresReader(undefined).query('t', Object.assign(['select 1'], { raw: ['select 1'] }), []).then(
    () => assert.unreachable(),
    (error: unknown) => assert.match(String(error), /no database/),
  )
})

import * as assert from 'uvu/assert'
import { ReadConnections } from '../../actors/read-connections.ts'
import { PostgresReader } from '../../actors/reader.ts'
import { statement } from '../../actors/statement.ts'
import { systemClock } from '../../core/clock.ts'
import { after, before, test } from '../harness.ts'
import { LaneStage } from './lane-stage.ts'

// Parameters of actors' own statements arrive as they were given, and what the driver does not send is not committed.

let stage: LaneStage
let connections: ReadConnections

before(async () => {
  stage = await LaneStage.create(async (sql) => {
    await sql`create table given (b boolean, j jsonb, bytes bytea, at timestamptz, local timestamp, day date, n numeric)`
  })
  connections = new ReadConnections({ url: stage.url, clock: systemClock })
})

after(async () => {
  await connections.close()
  await stage.end()
})

const effect = (text: TemplateStringsArray, ...values: unknown[]) => statement(text, values, 32)
const query = (text: TemplateStringsArray, ...values: unknown[]) =>
  new PostgresReader(connections).query('acme', text, values)

const micros = '2026-01-01T10:00:00.123456Z'

for (const [written, kept] of [
  [effect`insert into given (b) values (${true})`, 'b'],
  [effect`insert into given (j) values (${{ a: [1] }})`, `j = '{"a": [1]}'`],
  [effect`insert into given (j) values (${'null'})`, `j = 'null'`],
  [effect`insert into given (bytes) values (${Buffer.from([0, 255])})`, `bytes = '\\x00ff'`],
  [effect`insert into given (at) values (${micros})`, `at = '${micros}'`],
  [effect`insert into given (at) values (${new Date(1)})`, `at = '1970-01-01T00:00:00.001Z'`],
  [effect`insert into given (local) values (${'2026-01-01 10:00'})`, `local = '2026-01-01 10:00'`],
  [effect`insert into given (at) values (${'infinity'})`, `at = 'infinity'`],
  [effect`insert into given (day) values (${'-infinity'})`, `day = '-infinity'`],
  [effect`insert into given (n) values (${'NaN'})`, `n = 'NaN'`],
] as const) {
  test(`ctx.sql writes what was given: ${kept}`, async () => {
    const lane = await stage.lane()
    assert.is((await stage.run(lane, [stage.done({ effects: [written] })])).kind, 'committed')
    assert.is((await stage.sql.unsafe(`delete from given where ${kept} returning 1`)).length, 1)
    await lane.close()
  })
}

test('ctx.query asks for what was given', async () => {
  const rows = await query`
    select ${'infinity'}::timestamptz = 'infinity' as infinite, ${micros}::timestamptz = ${micros}::text::timestamptz as exact,
      ${true}::boolean as yes, ${'true'}::boolean as said, ${5}::jsonb as five, ${Buffer.from([0, 255])}::bytea = '\\x00ff' as bytes,
      ${0}::timestamptz = to_timestamp(0) as since, ${'{"a":[1]}'}::jsonb as document`
  assert.equal(
    rows.map((row) => ({ ...row })),
    [{ infinite: true, exact: true, yes: true, said: true, five: 5, bytes: true, since: true, document: { a: [1] } }],
  )
})

/** As text and values, `n` parameters. */
function many(n: number): { readonly text: TemplateStringsArray; readonly values: readonly string[] } {
  const parts = ['select 1 where 1::text in (', ...Array.from({ length: n - 1 }, () => ','), ')']
  return { text: Object.assign(parts, { raw: parts }), values: Array.from({ length: n }, (_, i) => String(i)) }
}

test('a commit with a statement that the driver does not send is not taken for committed', async () => {
  const lane = await stage.lane()
  const { text, values } = many(70_000)
  const commit = stage.commit([stage.done({ effects: [{ kind: 'sql', text, values }] })])
  assert.is((await lane.commit(commit, { kind: 'optimistic' })).kind, 'unknown')
  assert.is((await lane.resolve(commit)).kind, 'not-committed')
  const fine = effect`insert into given (n) values (${1})`
  assert.is((await stage.run(lane, [stage.done({ effects: [fine] })])).kind, 'committed')
  await lane.close()
})

test('more parameters than the driver sends are refused where they are asked for', async () => {
  const { text, values } = many(65_534)
  assert.throws(() => statement(text, values, 32), 'a statement takes 65533 parameters at most')
  await new PostgresReader(connections).query('acme', text, values).then(
    () => assert.unreachable(),
    (error: unknown) => assert.is(Reflect.get(Object(error), 'code'), 'TENANTRY_BAD_STATEMENT'),
  )
  const most = many(65_533)
  assert.is((await new PostgresReader(connections).query('acme', most.text, most.values)).length, 1)
})

import fc from 'fast-check'
import * as assert from 'uvu/assert'
import type { Effect } from '../../core/effects.ts'
import { readCatalog } from '../../core/postgres/catalog.ts'
import type { Outcome } from '../../core/postgres/transactions.ts'
import { after, before, test } from '../harness.ts'
import type { PostgresLane } from '../../core/postgres/lane.ts'
import { LaneStage, row, throughFrame } from './lane-stage.ts'

// Grouping never changes what one tenant sees: whatever a batch of messages does, one commit leaves the tables as a
// commit for each message would.

let stage: LaneStage

before(async () => {
  stage = await LaneStage.create(async (sql) => {
    await sql`create table plain (tenant_id text, text text, number bigint)`
    await sql`create table other (tenant_id text, text text)`
    await sql`create table parents (tenant_id text, name text, primary key (tenant_id, name))`
    await sql`create table children (tenant_id text, parent text, text text,
      foreign key (tenant_id, parent) references parents (tenant_id, name))`
    await sql`create table balances (tenant_id text, account text, amount bigint, primary key (tenant_id, account))`
    await sql`create table labels (tenant_id text, ref text, amount bigint, unique (tenant_id, ref))`
    await sql`create table marks (tenant_id text, ref text, amount bigint, unique nulls not distinct (tenant_id, ref))`
    await sql`create table journal (tenant_id text, seen bigint)`
    await sql`create table slots (tenant_id text, id text, holder text, primary key (tenant_id, id), unique (tenant_id, holder))`
    await sql`create table late (tenant_id text, id text, unique (tenant_id, id) deferrable)`
  })
})

after(() => stage.end())

const tables = ['plain', 'other', 'parents', 'children', 'balances', 'labels', 'marks', 'journal'] as const

const tenant = fc.constantFrom('a', 'b', 'c')
const text = fc.oneof(
  fc.constantFrom('', 'NULL', 'null', '"', '\\', '{}', 'a,b', ' x ', '✓', null),
  fc.string({ unit: 'grapheme', maxLength: 5 }).map((some) => some.replaceAll('\0', '')),
)
const account = fc.constantFrom('one', 'two')

type Make = (tenant: string) => Effect
const plain: fc.Arbitrary<Make> = fc.tuple(text, fc.integer()).map(
  ([some, n]) =>
    (tenant_id) =>
      row('plain', { tenant_id, text: some, number: String(n) }),
)
/** The same table in another shape: which row came first can be seen. */
const short: fc.Arbitrary<Make> = text.map((some) => (tenant_id) => row('plain', { tenant_id, text: some }))
const other: fc.Arbitrary<Make> = text.map((some) => (tenant_id) => row('other', { tenant_id, text: some }))
const parent: fc.Arbitrary<Make> = account.map(
  (name) => (tenant_id) => row('parents', { tenant_id, name }, ['tenant_id', 'name']),
)
const family: fc.Arbitrary<readonly Make[]> = fc
  .tuple(account, text)
  .map(([name, some]) => [
    (tenant_id) => row('parents', { tenant_id, name }, ['tenant_id', 'name']),
    (tenant_id) => row('children', { tenant_id, parent: name, text: some }),
  ])
const balance: fc.Arbitrary<Make> = fc.tuple(account, fc.nat()).map(
  ([of, amount]) =>
    (tenant_id) =>
      row('balances', { tenant_id, account: of, amount: String(amount) }, ['tenant_id', 'account']),
)
/** Nulls in a unique constraint are no two rows' common key, unless it says so. */
const nullable: fc.Arbitrary<Make> = fc.tuple(fc.constantFrom('labels', 'marks'), fc.option(account), fc.nat()).map(
  ([table, ref, amount]) =>
    (tenant_id) =>
      row(table, { tenant_id, ref, amount: String(amount) }, ['tenant_id', 'ref']),
)
const raise: fc.Arbitrary<Make> = account.map((of) => (tenant_id) => ({
  kind: 'sql',
  text: ['update balances set amount = amount * 2 + 1 where tenant_id = ', ' and account = ', ''],
  values: [tenant_id, of],
}))
/** What a tenant sees of its own effects so far, written down. */
const look: fc.Arbitrary<Make> = fc.constant((tenant_id: string) => ({
  kind: 'sql' as const,
  text: [
    'insert into journal select ',
    ', (select count(*) from plain where tenant_id = ',
    ') + 1000 * (select coalesce(sum(amount), 0) from balances where tenant_id = ',
    ')',
  ],
  values: [tenant_id, tenant_id, tenant_id],
}))
const one = fc.oneof(plain, other, parent, balance, nullable)
const inserts = fc.array(fc.oneof(plain, short, other), { maxLength: 4 })
const upserts = fc.array(one, { maxLength: 4 })
const related = fc
  .array(
    fc.oneof(
      family,
      one.map((make) => [make]),
    ),
    { maxLength: 3 },
  )
  .map((all) => all.flat())
const anything = fc.array(fc.oneof(one, raise, look), { maxLength: 4 })

for (const [what, program, runs] of [
  ['inserted rows', inserts, 40],
  ['inserts and upserts', upserts, 40],
  ['rows of tables that refer to each other', related, 25],
  ['rows and raw SQL', anything, 40],
] as const) {
  test(`one commit does what a commit a message would: ${what}`, async () => {
    const [grouped, single] = [await stage.lane(), await stage.lane()]
    const messages = fc.array(fc.tuple(tenant, program), { minLength: 1, maxLength: 8 })
    await fc.assert(
      fc.asyncProperty(messages, fc.nat(7), async (batch, cut) => {
        const outcomes = batch.map(([of, makes]) => stage.done({ tenant: of, effects: makes.map((make) => make(of)) }))
        for (const outcome of outcomes) await commit(single, [again(outcome)])
        const expected = await contents()
        // Out of a frame, and only a part of it first: what is cut must fit as what is whole.
        const framed = throughFrame(outcomes)
        const parts = [framed.slice(0, cut), framed.slice(cut)].filter((part) => part.length > 0)
        for (const part of parts) await commit(grouped, part)
        assert.equal(await contents(), expected)
      }),
      { numRuns: runs },
    )
  })
}

/** Two spellings of a key in an upsert, of one message or of two, are sent row by row the second time. */
async function commit(lane: PostgresLane, outcomes: readonly Outcome[]): Promise<void> {
  const result = await stage.run(lane, outcomes)
  if (result.kind === 'refused' && result.failure.sqlstate === '21000')
    assert.is((await stage.run(lane, outcomes)).kind, 'committed')
  else assert.is(result.kind, 'committed', JSON.stringify(result))
}

/** The same with an id of its own. */
function again({ tenant: of, partition, result }: Outcome): Outcome {
  return stage.done({ tenant: of, partition, effects: result.kind === 'done' ? result.effects : [] })
}

/** All rows of all tables: those that are only inserted tenant by tenant as they were written. Empties the tables. */
async function contents(): Promise<unknown> {
  const all = await Promise.all(
    tables.map(async (table) => {
      const order = ['parents', 'balances', 'labels', 'marks'].includes(table)
        ? stage.sql`tenant_id, 2, ctid`
        : stage.sql`tenant_id, xmin::text::bigint, ctid`
      return [table, await stage.sql`select * from ${stage.sql(table)} order by ${order}`]
    }),
  )
  await stage.sql`truncate plain, other, children, parents, balances, labels, marks, journal`
  return JSON.parse(JSON.stringify(all, (_key, value: unknown) => (typeof value === 'bigint' ? String(value) : value)))
}

test('a message’s upserts of a table keep their order where it matters to another of its constraints', async () => {
  const lane = await stage.lane()
  const slot = (id: string, holder: string | null) => row('slots', { tenant_id: 'a', id, holder }, ['tenant_id', 'id'])
  await commit(lane, [stage.done({ tenant: 'a', effects: [slot('z', 'h')] })])
  const moved = [stage.done({ tenant: 'a', effects: [slot('z', null), slot('b', 'h')] })]
  const first = await stage.run(lane, moved)
  assert.equal([first.kind, first.kind === 'refused' && first.blame], ['refused', 'again'])
  assert.is((await stage.run(lane, moved)).kind, 'committed')
  const rows = await stage.sql`select id, holder from slots order by id`
  assert.equal(
    [...rows],
    [
      { id: 'b', holder: 'h' },
      { id: 'z', holder: null },
    ],
  )
  // Whose order does not help fails for good.
  const taken = [stage.done({ tenant: 'a', effects: [slot('z', 'h'), slot('c', null)] })]
  assert.equal(await blamed(lane, taken), 'again')
  assert.equal(await blamed(lane, taken), 'statement')
  // A group's halves find out first whose it is.
  assert.equal(await blamed(lane, [...taken, stage.done({ tenant: 'b' })]), 'statement')
  assert.equal(await blamed(lane, [stage.done({ tenant: 'a', effects: [slot('z', 'h')] })]), 'statement')
})

async function blamed(lane: PostgresLane, outcomes: readonly Outcome[]): Promise<string> {
  const result = await stage.run(lane, outcomes)
  return result.kind === 'refused' ? result.blame : result.kind
}

test('a deferrable constraint, which no upsert can name, is not offered to one', async () => {
  const { tables: known } = await readCatalog(stage.sql)
  const uniquesOf = (name: string) => known.find((table) => table.name === name)?.uniques
  assert.equal(uniquesOf('public.late'), [])
  assert.equal(uniquesOf('public.slots'), [
    ['tenant_id', 'id'],
    ['tenant_id', 'holder'],
  ])
})

test('rows in ever new sets of columns do not fill the server with prepared statements', async () => {
  const columns = Array.from({ length: 12 }, (_, i) => `c${i}`)
  await stage.sql`create table wide (tenant_id text)`
  for (const column of columns) await stage.sql`alter table wide add column ${stage.sql(column)} text`
  const sparse = await stage.lane()
  const rowOf = (set: number) => {
    const chosen = columns.filter((_, i) => (set >> i) % 2 === 1)
    return row('wide', { tenant_id: 'a', ...Object.fromEntries(chosen.map((name) => [name, 'x'])) })
  }
  await stage.sql`create table sessions (pid integer)`
  const note: Effect = { kind: 'sql', text: ['insert into sessions select pg_backend_pid()'], values: [] }
  const write = async (sets: readonly number[]) => {
    const outcomes = sets.map((set) =>
      stage.done({ tenant: 'a', effects: set === sets[0] ? [rowOf(set), note] : [rowOf(set)] }),
    )
    assert.is((await stage.run(sparse, outcomes)).kind, 'committed')
  }
  const sessions = async () => (await stage.sql`select distinct pid from sessions`).length
  for (let from = 0; from < 2_500; from += 250) await write(Array.from({ length: 250 }, (_, i) => from + i))
  assert.is(await sessions(), 3)
  for (let times = 0; times < 10; times++) await write(Array.from({ length: 250 }, (_, i) => i))
  assert.is(await sessions(), 3, 'and it keeps a session whose statements are the same')
  const [written] = await stage.sql<{ count: number }[]>`select count(*)::int from wide`
  assert.is(written?.count, 5_000)
})

test('nor do statements of actors’ own in ever new texts', async () => {
  const built = await stage.lane()
  await stage.sql`create table backends (pid integer)`
  for (let from = 0; from < 1_100; from += 100) {
    const texts = Array.from(
      { length: 100 },
      (_, i) => `insert into backends select pg_backend_pid() where ${from + i} = ${from}`,
    )
    const effects = texts.map((text): Effect => ({ kind: 'sql', text: [text], values: [] }))
    assert.is((await stage.run(built, [stage.done({ effects })])).kind, 'committed')
  }
  assert.is((await stage.sql`select distinct pid from backends`).length, 1)
  const last: Effect = { kind: 'sql', text: ['insert into backends select pg_backend_pid()'], values: [] }
  assert.is((await stage.run(built, [stage.done({ effects: [last] })])).kind, 'committed')
  assert.is((await stage.sql`select distinct pid from backends`).length, 2)
})

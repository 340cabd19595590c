// runtimes: node, bun
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { z } from 'zod'
import { migrateUp } from '../../core/postgres/migrate.ts'
import { after, before, beforeEach, test } from '../harness.ts'
import { eventually, type FreshDatabase, freshDatabase } from '../services.ts'
import { runCli } from '../spawn-cli.ts'
import { type Seed, seedLetters } from './seeded-letters.ts'

// `tenantry dlq` on a real database.

let folder = ''
let database: FreshDatabase
let sql: postgres.Sql

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tenantry-dlq-'))
  database = await freshDatabase()
  await migrateUp(database.url)
  sql = postgres(database.url, { max: 2, onnotice() {} })
})

beforeEach(async () => {
  await sql`truncate sys.dead_letters, sys.dlq_audit restart identity`
})

after(async () => {
  await sql?.end({ timeout: 1 })
  await database?.drop()
  rmSync(folder, { recursive: true, force: true })
})

function dlq(...args: readonly string[]) {
  return runCli(['dlq', ...args], { cwd: folder, env: { DATABASE_URL: database.url } })
}

const page = z.object({
  deadLetters: z.array(
    z.strictObject({
      id: z.number(),
      state: z.enum(['open', 'discarded', 'replayed']),
      kind: z.enum(['record', 'message']),
      group: z.string(),
      topic: z.string(),
      partition: z.number().nullable(),
      offset: z.number().nullable(),
      tenant: z.string(),
      actor: z.string(),
      type: z.string(),
      messageId: z.string(),
      traceId: z.string(),
      reason: z.string(),
      errorClass: z.string(),
      errorMessage: z.string(),
      sqlstate: z.string().nullable(),
      attempts: z.number(),
      replayCount: z.number(),
      firstFailedAt: z.iso.datetime(),
      failedAt: z.iso.datetime(),
      published: z.string(),
    }),
  ),
  next: z.number().nullable(),
})

async function list(...args: readonly string[]) {
  const { code, stdout, stderr } = await dlq('list', '--json', ...args)
  assert.is(code, 0, stderr)
  const { deadLetters, next } = page.parse(JSON.parse(stdout))
  return { ids: deadLetters.map(({ id }) => id), deadLetters, next }
}

test(
  'list takes every filter, and all of them together',
  async () => {
    const json = (value: unknown) => Buffer.from(JSON.stringify(value))
    const seeds: readonly Seed[] = [
      { group: 'saga', failedAt: '2026-11-01T00:00:00Z' },
      { tenant: "umbrella' or 1=1--" },
      { topic: 'core.events.v1' },
      { type: 'campaign.%' },
      { reason: 'schema' },
      { errorClass: 'ZodError' },
      { errorMessage: '100 % of "it" is_wrong' },
      { failedAt: '2026-11-03T00:00:00Z' },
      { value: json({ payload: { amount: 250 } }) },
      { value: Buffer.from('{"payload":{"amount":') },
      { value: Buffer.from([0xff, 0, 1]) },
      { value: null },
    ]
    await seedLetters(sql, seeds)
    const cases: readonly (readonly [args: readonly string[], ids: readonly number[]])[] = [
      [[], [12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]],
      [['--group', 'saga'], [1]],
      [['--tenant', "umbrella' or 1=1--"], [2]],
      [['--tenant', '%'], []],
      [['--topic', 'core.events.v1'], [3]],
      [['--type', 'campaign.%'], [4]],
      [['--reason', 'schema'], [5]],
      [['--error', 'ZodError'], [6]],
      [['--error', '% of "it" is_'], [7]],
      [['--since', '2026-11-03T00:00:00Z'], [8]],
      [['--until', '2026-11-02'], [1]],
      [['--json-path', '$.payload.amount > 100'], [9]],
      [['--json-path', '$.payload.amount > 100 && exists($.payload)', '--tenant', 'acme', '--group', 'actuator'], [9]],
      [['--json-path', 'strict $.payload.amount == 250'], [9]],
      [['--json-path', '$.payload.amount > 100', '--reason', 'schema'], []],
      [['--state', 'discarded'], []],
    ]
    for (const [args, ids] of cases) assert.equal((await list(...args)).ids, ids, args.join(' '))
    assert.equal((await list('--since', '999d', '--until', '1ms')).ids.length, 12)
  },
  { timeoutMs: 180_000 },
)

test('list goes on page by page, and nothing is shown twice or left out', async () => {
  await seedLetters(
    sql,
    Array.from({ length: 25 }, () => ({})),
  )
  const seen: number[] = []
  for (let before: readonly string[] = []; ; ) {
    const { ids, next } = await list('--limit', '10', ...before)
    seen.push(...ids)
    if (next === null) break
    before = ['--before', String(next)]
  }
  assert.equal(
    seen,
    Array.from({ length: 25 }, (_, place) => 25 - place),
  )
  const { stdout, stderr } = await dlq('list', '--limit', '10')
  assert.is(stdout.trimEnd().split('\n').length, 11)
  assert.match(stderr, /--before 16 shows the next/)
})

const hostile = '\u001b[31mred\u001b[0m \u009b2J \u202Eevil\u2066 \u0007\u0000\r\ninjected'

test('nothing that a dead letter holds does anything to a terminal', async () => {
  const text = hostile.replace('\0', '')
  const bytes = Buffer.from(hostile)
  await seedLetters(sql, [
    {
      group: text,
      tenant: text,
      topic: text,
      type: text,
      reason: text,
      errorClass: text,
      errorMessage: text,
      errorStack: text,
      key: Buffer.from(text),
      value: Buffer.from(JSON.stringify({ text: hostile })),
      headers: [
        [bytes, bytes],
        [Buffer.from(text), Buffer.from(text)],
        [Buffer.from([0xff, 0x1b]), null],
      ],
    },
    { value: Buffer.from(`{"raw":"\u009b\u202e"}`) },
    { value: bytes },
    { value: Buffer.from(text) },
  ])
  for (const args of [
    ['list'],
    ['list', '--json'],
    ['stats'],
    ['stats', '--json'],
    ['discard', '--error', 'evil', '--reason', 'a test', '--dry-run'],
    ...[1, 2, 3, 4].flatMap((id) => [
      ['show', String(id)],
      ['show', String(id), '--json'],
    ]),
  ]) {
    const { code, stdout, stderr } = await dlq(...args)
    assert.is(code, 0, stderr)
    const active = /[^\P{C}\n]/u.exec(stdout + stderr)
    assert.is(active, null, `${args.join(' ')}: U+${active?.[0].codePointAt(0)?.toString(16)}`)
    if (args[0] === 'show' && args.length === 2)
      assert.not(/^injected/m.test(stdout), 'what it holds looks like no line of ours')
  }
})

const bytes = z.union([z.strictObject({ text: z.string() }), z.strictObject({ base64: z.string() })]).nullable()
const whole = z.looseObject({
  id: z.number(),
  errorStack: z.string(),
  timestamp: z.iso.datetime().nullable(),
  key: bytes,
  value: bytes,
  headers: z.array(z.tuple([bytes, bytes])),
  operation: z
    .strictObject({
      at: z.iso.datetime(),
      sessionName: z.string(),
      givenName: z.string(),
      action: z.string(),
      reason: z.string(),
    })
    .nullable(),
})

async function show(id: number) {
  const { code, stdout, stderr } = await dlq('show', String(id), '--json')
  assert.is(code, 0, stderr)
  return whole.parse(JSON.parse(stdout))
}

function bytesOf(shown: z.infer<typeof bytes>): Buffer | null {
  if (shown === null) return null
  return 'text' in shown ? Buffer.from(shown.text) : Buffer.from(shown.base64, 'base64')
}

test('show prints everything: as JSON no byte is lost, for people as JSON, text or in hexadecimal', async () => {
  const every = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
  const bom = Buffer.from('\ufeff{}')
  const seeds = [
    { key: every, value: every, headers: [[every, every]] },
    { key: null, value: null, headers: [[Buffer.alloc(0), null]] },
    { key: bom, value: Buffer.from('{"big":12345678901234567890,"a":[1,{}],"a":2}'), headers: [] },
    { key: Buffer.alloc(0), value: Buffer.from('two\nlines'), headers: [[Buffer.from('h'), bom]] },
  ] as const
  await seedLetters(sql, seeds)
  for (const [place, seed] of seeds.entries()) {
    const shown = await show(place + 1)
    assert.equal([bytesOf(shown.key), bytesOf(shown.value)], [seed.key, seed.value])
    assert.equal(
      shown.headers.map(([name, value]) => [bytesOf(name), bytesOf(value)]),
      seed.headers,
    )
  }
  const text = async (id: number) => (await dlq('show', String(id))).stdout
  assert.match(await text(1), /^value \(256 bytes, hexadecimal\):\n {2}00000000 {2}00 01 02 .*\|\.{16}\|$/m)
  assert.match(await text(1), /^ {2}00000040 {2}40 41 .*\|@ABCDEFGHIJKLMNO\|$/m)
  assert.match(await text(2), /^value: null$/m)
  assert.match(await text(2), /^header : null$/m)
  const json = await text(3)
  assert.ok(
    json.includes('\n  {\n    "big": 12345678901234567890,\n    "a": [\n      1,\n      {}\n    ],\n    "a": 2\n  }\n'),
    json,
  )
  assert.match(await text(4), /^key: empty$/m)
  assert.match(await text(4), /^value \(9 bytes, text\):\n {2}two\n {2}lines$/m)
  const missing = await dlq('show', '99')
  assert.equal([missing.code, missing.stdout], [1, ''])
  assert.match(missing.stderr, /TENANTRY_DEAD_LETTER_UNKNOWN/)
})

test('a message that waits in the outbox is said to be queued', async () => {
  await seedLetters(sql, [{}, { published: 'refused: MESSAGE_TOO_LARGE' }])
  await sql`
    insert into sys.outbox (group_name, topic_id, partition, seq, place, tenant_id, to_topic, message_id, header_names, header_values,
      dead_letter_topic_id, dead_letter_partition, dead_letter_offset)
    select group_name, topic_id, partition, 1, 0, tenant_id, 'dead', '', '{}', '{}',
      topic_id, partition, record_offset from sys.dead_letters where id = 1`
  const published = async () => (await list()).deadLetters.map((letter) => letter.published)
  assert.equal(await published(), ['refused: MESSAGE_TOO_LARGE', 'queued'])
  await sql`delete from sys.outbox`
  assert.equal(await published(), ['refused: MESSAGE_TOO_LARGE', 'yes'])
})

const discarded = z.strictObject({
  discarded: z.number(),
  chosen: z.number(),
  operation: z.uuid().nullable(),
  dryRun: z.boolean(),
  kinds: z.array(
    z.strictObject({
      group: z.string(),
      topic: z.string(),
      reason: z.string(),
      errorClass: z.string(),
      deadLetters: z.number(),
      tenants: z.number(),
      firstFailedAt: z.iso.datetime(),
      lastFailedAt: z.iso.datetime(),
    }),
  ),
})

async function discard(...args: readonly string[]) {
  const { code, stdout, stderr } = await dlq('discard', '--json', '--reason', 'a test', ...args)
  return { code, stderr, ...discarded.parse(JSON.parse(stdout)) }
}

async function stateOf(...ids: readonly number[]): Promise<string[]> {
  const rows = await sql<{ state: string }[]>`
    select state from sys.dead_letters where id = any (${[...ids]}::bigint[]) order by id`
  return rows.map(({ state }) => state)
}

async function audit() {
  const rows =
    await sql`select session_name, given_name, action, reason, filter, count::int from sys.dlq_audit order by id`
  return rows.map((row) => ({ ...row }))
}

test(
  'discard marks what a filter chooses, deletes nothing, and writes down who, why and which',
  async () => {
    await seedLetters(sql, [{ tenant: 'acme' }, { tenant: 'umbrella' }, { tenant: 'acme', reason: 'schema' }])
    const dry = await discard('--tenant', 'acme', '--dry-run')
    assert.equal([dry.code, dry.discarded, dry.chosen, dry.operation], [0, 0, 2, null])
    assert.equal(
      dry.kinds.map(({ reason, deadLetters }) => [reason, deadLetters]),
      [
        ['handler', 1],
        ['schema', 1],
      ],
    )
    assert.equal(await stateOf(1, 2, 3), ['open', 'open', 'open'])
    assert.equal(await audit(), [])
    const one = await discard('--tenant', 'acme', '--dead-reason', 'schema', '--yes', '--by', 'ada')
    assert.equal([one.code, one.discarded, one.chosen], [0, 1, 1])
    assert.equal(await stateOf(1, 2, 3), ['open', 'open', 'discarded'])
    const session = new URL(database.url).username
    assert.equal(await audit(), [
      {
        session_name: session,
        given_name: 'ada',
        action: 'discard',
        reason: 'a test',
        filter: { tenant: 'acme', reason: 'schema', upTo: 3 },
        count: 1,
      },
    ])
    const { operation } = await show(3)
    assert.equal([operation?.givenName, operation?.action, operation?.reason], ['ada', 'discard', 'a test'])
    assert.match((await dlq('show', '3')).stdout, /^ {2}state {7}discarded .* by ada \(.*\): a test$/m)
    const again = await discard('--tenant', 'acme', '--dead-reason', 'schema', '--yes')
    assert.equal([again.code, again.discarded, again.chosen], [0, 0, 0])
    const ids = await discard('1', '2', '2', '--yes')
    assert.equal([ids.code, ids.discarded], [0, 2])
    assert.equal((await audit()).at(-1)?.['filter'], { ids: [1, 2], upTo: 2 })
    assert.is((await audit()).at(-1)?.['given_name'], userInfo().username)
    assert.is((await sql`select from sys.dead_letters`).length, 3)
  },
  { timeoutMs: 120_000 },
)

test('discard of given ones that are not open says so, and what it ends with', async () => {
  await seedLetters(sql, [{}, {}])
  const some = await discard('1', '77', '--yes')
  assert.equal([some.code, some.discarded, some.chosen], [6, 1, 1])
  assert.match(some.stderr, /1 of the given ones are not there, or not open/)
  const none = await discard('1', '77', '--yes')
  assert.equal([none.code, none.discarded], [1, 0])
})

test('discard wants to know what, why, and whether it may', async () => {
  await seedLetters(sql, [{}])
  const cases: readonly (readonly [args: readonly string[], said: RegExp])[] = [
    [['1', '--yes'], /required option '--reason <text>' not specified/],
    [['1', '--yes', '--reason', ' '], /--reason and --by want a text/],
    [['--yes', '--reason', 'x'], /by their numbers, or choose them by options/],
    [['1', '--tenant', 'acme', '--yes', '--reason', 'x'], /one of both/],
    [['1', '--reason', 'x'], /without a terminal.*--yes or --dry-run/],
    [['x', '--yes', '--reason', 'x'], /number of a dead letter is wanted/],
    [['--json-path', '$.a', '--yes', '--reason', 'x'], /--json-path wants a comparison/],
    [['--json-path', '$.a ==', '--yes', '--reason', 'x'], /--json-path wants a comparison.*syntax error/],
    [['--json-path', '$.a == $b', '--yes', '--reason', 'x'], /--json-path wants a comparison/],
    [['--since', 'yesterday', '--yes', '--reason', 'x'], /A time is wanted/],
    [['--error', '', '--yes', '--reason', 'x'], /A text is wanted/],
  ]
  for (const [args, said] of cases) {
    const { code, stdout, stderr } = await dlq('discard', ...args)
    assert.is(code, 2, args.join(' '))
    assert.is(stdout, '')
    assert.match(stderr, said)
  }
  assert.equal(await stateOf(1), ['open'])
})

test(
  'many are discarded in batches, with what has been done said on the way',
  async () => {
    await sql`
      insert into sys.dead_letters (
        group_name, topic, topic_id, partition, record_offset, header_names, header_values, tenant_id, actor, message_id,
        message_type, trace_id, reason, error_class, error_message, error_stack, attempts)
      select 'g', 't', gen_random_uuid(), 0, number, '{}', '{}', 'acme', 'a', '', '', '', 'handler', '', '', '', 1
      from generate_series(1, 3500) as number`
    const { code, stdout, stderr } = await dlq('discard', '--group', 'g', '--reason', 'a test', '--yes')
    assert.is(code, 0, stderr)
    assert.match(stdout, /^g +t +handler +- +3500 +1 /m)
    assert.match(stderr, /3500 dead letters would be discarded/)
    assert.match(
      stderr,
      /^Operation (\S{36}) in sys.*still open\.\n1000 of 3500 …\n2000 of 3500 …\n3000 of 3500 …\n3500 dead letters discarded: operation \1 /m,
    )
    const counts =
      await sql`select count(*)::int as rows, sum(count)::int as count, count(distinct operation)::int as operations from sys.dlq_audit`
    assert.equal({ ...counts[0] }, { rows: 4, count: 3500, operations: 1 })
  },
  { timeoutMs: 120_000 },
)

test('what cannot go on says how much was done, and ends with 6', async () => {
  await seedLetters(
    sql,
    Array.from({ length: 3 }, () => ({})),
  )
  await sql`
    insert into sys.dead_letters (
      group_name, topic, topic_id, partition, record_offset, header_names, header_values, tenant_id, actor, message_id,
      message_type, trace_id, reason, error_class, error_message, error_stack, attempts)
    select 'actuator', 't', gen_random_uuid(), 0, number, '{}', '{}', 'acme', 'a', '', '', '', 'handler', '', '', '', 1
    from generate_series(1, 1500) as number`
  await sql`
    create function public.refuse() returns trigger language plpgsql as $$
    begin
      if new.id > 1200 then raise exception 'no more'; end if;
      return new;
    end $$`
  await sql`create trigger refuse before update on sys.dead_letters for each row execute function public.refuse()`
  try {
    const { code, stderr } = await dlq('discard', '--group', 'actuator', '--reason', 'a test', '--yes', '--json')
    assert.is(code, 6, stderr)
    const told = stderr.trimEnd().split('\n').at(-1) ?? ''
    assert.equal(
      z.object({ error: z.looseObject({ code: z.string(), discarded: z.number() }) }).parse(JSON.parse(told)).error
        .discarded,
      1000,
    )
    assert.match(told, /TENANTRY_DLQ_PARTLY/)
  } finally {
    await sql`drop function public.refuse() cascade`
  }
})

test('stats counts the last time by group, and what is open by kind', async () => {
  await seedLetters(sql, [
    { reason: 'schema', errorClass: 'ZodError' },
    { tenant: 'umbrella' },
    { group: 'saga', failedAt: '2026-01-01T00:00:00Z', published: 'refused: MESSAGE_TOO_LARGE' },
  ])
  const shape = z.strictObject({
    since: z.iso.datetime(),
    groups: z.array(
      z.strictObject({
        group: z.string(),
        deadLetters: z.number(),
        open: z.number(),
        discarded: z.number(),
        replayed: z.number(),
        refused: z.number(),
        tenants: z.number(),
        reasons: z.record(z.string(), z.number()),
        firstFailedAt: z.iso.datetime(),
        lastFailedAt: z.iso.datetime(),
      }),
    ),
    open: discarded.shape.kinds,
  })
  const stats = async (...args: readonly string[]) => {
    const { code, stdout, stderr } = await dlq('stats', '--json', ...args)
    assert.is(code, 0, stderr)
    return shape.parse(JSON.parse(stdout))
  }
  const recent = await stats('--since', '2026-11-01T00:00:00Z')
  assert.equal(
    recent.groups.map(({ group, deadLetters, tenants, reasons }) => ({ group, deadLetters, tenants, reasons })),
    [{ group: 'actuator', deadLetters: 2, tenants: 2, reasons: { schema: 1, handler: 1 } }],
  )
  assert.is(recent.since, '2026-11-01T00:00:00.000Z')
  assert.equal(
    recent.open.map(({ group, reason, deadLetters }) => [group, reason, deadLetters]),
    [
      ['actuator', 'handler', 1],
      ['actuator', 'schema', 1],
      ['saga', 'handler', 1],
    ],
  )
  const saga = await stats('--since', '3650d', '--group', 'saga')
  assert.equal([saga.groups.map(({ refused }) => refused), saga.open.length], [[1], 1])
  assert.match((await dlq('stats', '--since', '3650d')).stdout, /^saga +1 +1 +0 +0 +1 +1 +handler 1$/m)
})

test('a database without the schema, or one that cannot be reached, has its exit code', async () => {
  const empty = await freshDatabase()
  const old = await runCli(['dlq', 'list'], { cwd: folder, env: { DATABASE_URL: empty.url } })
  await empty.drop()
  assert.is(old.code, 7, old.stderr)
  assert.match(old.stderr, /TENANTRY_SCHEMA_OLD/)
  const away = await runCli(['dlq', 'stats', '--json'], {
    cwd: folder,
    env: { DATABASE_URL: 'postgres://u:SECRET-1@127.0.0.1:1/d' },
  })
  assert.is(away.code, 4)
  assert.not(away.stderr.includes('SECRET'))
  assert.is((await runCli(['dlq', 'list'], { cwd: folder })).code, 3)
})

/** As if a group had read the topic that the seeds are of. */
async function begun(): Promise<void> {
  await sql`truncate sys.parked_messages, sys.consumed_topics`
  await sql`
    insert into sys.consumed_topics (group_name, topic, topic_id, cluster_id, partitions)
    select 'actuator', 'core.commands.v1', topic_id, 'cluster', 12 from sys.dead_letters limit 1`
}

const replayed = z.strictObject({
  replayed: z.number(),
  chosen: z.number(),
  left: z.record(z.string(), z.number()),
  operation: z.uuid().nullable(),
  outcome: z.strictObject({ waiting: z.number(), succeeded: z.number(), deadAgain: z.number() }).nullable(),
  dryRun: z.boolean(),
  kinds: z.array(z.looseObject({ deadLetters: z.number() })),
})

async function replay(...args: readonly string[]) {
  const { code, stdout, stderr } = await dlq('replay', '--json', '--reason', 'mended', '--yes', ...args)
  return { code, stderr, ...(stdout === '' ? null : replayed.parse(JSON.parse(stdout))) }
}

test(
  'replay takes a filter or numbers, leaves what cannot go back, and says how many and why',
  async () => {
    await seedLetters(sql, [{}, {}, { tenant: '' }, { reason: 'schema' }, {}, { group: 'saga' }])
    await begun()
    await sql`update sys.dead_letters set replay_count = 5 where id = 5`
    const dry = await replay('--group', 'actuator', '--dry-run')
    assert.equal([dry.code, dry.replayed, dry.chosen, dry.operation], [0, 0, 3, null])
    assert.equal(dry.left, { replays: 1, tenant: 1 })
    assert.match(dry.stderr, '1 dead letter cannot be: without a tenant.')
    assert.is((await sql`select from sys.parked_messages`).length, 0)
    const some = await replay('--group', 'actuator', '--dead-reason', 'handler', '--by', 'ada')
    assert.equal([some.code, some.replayed, some.left], [0, 2, { replays: 1, tenant: 1 }])
    assert.match(some.stderr, 'Newer records of their tenants have gone by before them')
    assert.equal((await list('--state', 'replayed')).ids, [2, 1])
    const [audit] = await sql`select given_name, action, count::int from sys.dlq_audit`
    assert.equal({ ...audit }, { given_name: 'ada', action: 'replay', count: 2 })
    const shown = await dlq('show', '1')
    assert.match(shown.stdout, /state {7}replayed .* by ada .*: mended/)
    const twice = await replay('1', '2', '4')
    assert.equal([twice.code, twice.replayed], [6, 1], 'those that are not open stay as they are')
    assert.match(twice.stderr, '2 of the given ones are not there, or not open.')
    assert.is((await sql`select from sys.parked_messages`).length, 3)
    assert.is((await replay('1')).code, 1)
    const more = await replay('5', '--max-replays', '6')
    assert.equal([more.code, more.replayed], [0, 1])
    const unread = await replay('--group', 'saga')
    assert.equal([unread.code, unread.replayed, unread.left], [1, 0, { topic: 1 }])
    assert.match(unread.stderr, 'of a topic that their group has never read')
    assert.not.match(unread.stderr, 'sys.dlq_audit', 'where nothing is written down')
  },
  { timeoutMs: 180_000 },
)

test('replay keeps a rate, and begun again goes on with what is open', async () => {
  await seedLetters(
    sql,
    Array.from({ length: 30 }, () => ({})),
  )
  await begun()
  await sql`select sys.fn_replay_dead_letters(array(select id from sys.dead_letters order by id limit 10), 'ada', 'the first')`
  const begin = performance.now()
  const rest = await replay('--tenant', 'acme', '--rate', '10')
  assert.match(rest.stderr, `Operation ${rest.operation ?? ''} in sys.dlq_audit`)
  assert.equal([rest.code, rest.replayed, rest.chosen], [0, 20, 20])
  assert.ok(performance.now() - begin >= 2_000, 'two batches of ten, a second for each')
  assert.is((await sql`select from sys.dlq_audit where operation = ${rest.operation ?? null}`).length, 2)
  assert.is((await sql`select from sys.parked_messages`).length, 30)
})

test('replay waits until what it brought back is done, and says what became of it', async () => {
  await seedLetters(sql, [{}, {}, {}])
  await begun()
  const asked = replay('--tenant', 'acme', '--wait')
  await eventually(async () => (await sql`select from sys.parked_messages`).length === 3, { what: 'them to be parked' })
  await sql`
    insert into sys.dead_letters (group_name, topic, topic_id, partition, record_offset, header_names, header_values,
      tenant_id, actor, message_id, message_type, trace_id, reason, error_class, error_message, error_stack, attempts, replay_count)
    select group_name, topic, topic_id, partition, record_offset, '{}', '{}', tenant_id, '', '', '', '', 'handler', '', '', '', 4, 1
    from sys.dead_letters where id = 2`
  await sql`delete from sys.parked_messages`
  const done = await asked
  assert.equal([done.code, done.outcome], [6, { waiting: 0, succeeded: 2, deadAgain: 1 }])
  assert.match(done.stderr, '2 succeeded, 1 are dead letters again.')
})

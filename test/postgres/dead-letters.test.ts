import { randomUUID } from 'node:crypto'
import * as assert from 'uvu/assert'
import { outboxRows } from '../../core/postgres/outbox-rows.ts'
import type { Failure } from '../../core/effects.ts'
import type { KafkaRecord } from '../../core/kafka/source.ts'
import type { PostgresLane } from '../../core/postgres/lane.ts'
import type { OutboxRow } from '../../core/postgres/ownership.ts'
import type { Outcome } from '../../core/postgres/transactions.ts'
import { after, before, test } from '../harness.ts'
import { failureTime, LaneStage } from './lane-stage.ts'

// A dead letter is a row and a message, both with the record's own bytes, in the commit that gives the record up.

let stage: LaneStage
let lane: PostgresLane
const failure: Failure = { reason: 'handler', errorClass: 'Error', message: 'no', stack: 'at', kind: 'permanent' }

before(async () => {
  stage = await LaneStage.create((sql) => sql`select 1`)
  lane = await stage.lane({ deadLetterTopic: 'dead' })
})

after(() => stage.end())

function letter(record: Partial<KafkaRecord>, partition = 0, more: Partial<Failure> = {}): Outcome {
  const outcome = stage.failed({ partition }, { ...failure, ...more })
  return { ...outcome, record: { ...outcome.record, ...record } }
}

async function outboxOf(partition: number): Promise<readonly OutboxRow[]> {
  return (await stage.ledger.readOutbox(stage.partition(partition).ref, null)).rows
}

/** Bytes as hexadecimal, so that a null is no empty value. */
function shown({ position, tenant, topic, messageId, key, value, headers, deadLetterOf }: OutboxRow) {
  const hex = (bytes: string | Uint8Array | null) => (bytes === null ? null : Buffer.from(bytes).toString('hex'))
  const all = headers.map(([name, header]) => [hex(name), hex(header)])
  return { position, tenant, topic, messageId, key: hex(key), value: hex(value), headers: all, deadLetterOf }
}

test('what the table has of a dead letter is what goes out from memory, byte for byte, whatever bytes they are', async () => {
  const every = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
  const same = Buffer.from('same')
  const records: readonly Partial<KafkaRecord>[] = [
    { key: every, value: every, headers: [[every, every]] },
    { key: Buffer.alloc(0), value: Buffer.alloc(0), headers: [[Buffer.alloc(0), Buffer.alloc(0)]] },
    {
      key: null,
      value: null,
      headers: [
        [same, null],
        [same, Buffer.from('{"a",NULL}')],
        [same, Buffer.from('NULL')],
        [same, Buffer.from('\\x00"\0')],
      ],
    },
    { key: Buffer.from([0]), value: Buffer.from([0xff, 0, 0xc3, 0x28]), headers: [] },
    {
      key: Buffer.from('k'),
      value: Buffer.alloc(1_048_576, 0x5c),
      headers: [[Buffer.from('h'), Buffer.alloc(70_000, 0x22)]],
    },
  ]
  const letters = records.map((record) => letter(record, 0, { message: 'a NUL \0, half a pair \ud800', stack: '{"\\' }))
  const commit = stage.commit(letters)
  assert.is((await lane.commit(commit, { kind: 'optimistic' })).kind, 'committed')
  stage.moved(commit)
  const fromMemory = [...outboxRows(commit, 'dead')].map(({ row }) => shown(row))
  const fromTable = await outboxOf(0)
  assert.equal(fromTable.map(shown), fromMemory)
  fromTable.forEach(({ key, value, headers }, place) => {
    const record = records[place]
    assert.equal([key, value], [record?.key, record?.value])
    assert.equal(headers.slice(0, record?.headers?.length), record?.headers)
    assert.is(headers.length, (record?.headers?.length ?? 0) + 16)
  })
  const rows = await stage.sql`
    select distinct published, state, replay_count, first_failed_at, failed_at from sys.dead_letters`
  const failedAt = new Date(failureTime)
  assert.equal(
    rows.map((row) => ({ ...row })),
    [{ published: 'yes', state: 'open', replay_count: 0, first_failed_at: failedAt, failed_at: failedAt }],
  )
})

test('dead letters are numbered among the messages that actors publish, and deleted with them', async () => {
  const publishing = (...ids: readonly string[]) =>
    stage.done({
      partition: 1,
      effects: ids.map((messageId) => ({
        kind: 'publish',
        topic: 'events',
        messageId,
        key: Buffer.from('acme'),
        value: Buffer.from('{}'),
        headers: [['a', 'b']],
      })),
    })
  const commit = stage.commit([publishing('1', '2'), letter({}, 1), publishing('3'), letter({}, 2)])
  assert.is((await lane.commit(commit, { kind: 'optimistic' })).kind, 'committed')
  stage.moved(commit)
  const rows = await outboxOf(1)
  assert.equal(
    rows.map(({ position, topic }) => [position.index, topic]),
    [
      [0, 'events'],
      [1, 'events'],
      [2, 'dead'],
      [3, 'events'],
    ],
  )
  assert.equal(
    rows.map(shown),
    [...outboxRows(commit, 'dead')].filter(({ partition }) => partition === 0).map(({ row }) => shown(row)),
  )
  assert.is((await outboxOf(2)).length, 1)
  const next = stage.commit([stage.done({ partition: 1 })])
  const published = rows[2]?.position ?? null
  const deleting = { ...next, partitions: next.partitions.map((partition) => ({ ...partition, published })) }
  assert.is((await lane.commit(deleting, { kind: 'optimistic' })).kind, 'committed')
  stage.moved(next)
  assert.equal(
    (await outboxOf(1)).map(({ messageId }) => messageId),
    ['3'],
  )
})

test('a dead letter that Kafka refuses stays the one row that it is, and says so', async () => {
  const commit = stage.commit([letter({}, 3)])
  assert.is((await lane.commit(commit, { kind: 'optimistic' })).kind, 'committed')
  stage.moved(commit)
  const [row] = await outboxOf(3)
  const { ref } = stage.partition(3)
  for (let i = 0; i < 2; i++)
    await stage.ledger.refuseOutbox(ref, row?.position ?? { seq: 0, index: 0 }, 'MESSAGE_TOO_LARGE')
  assert.equal(await outboxOf(3), [])
  const letters = await stage.sql`select reason, published from sys.dead_letters where partition = 3`
  assert.equal(
    letters.map((found) => ({ ...found })),
    [{ reason: 'handler', published: 'refused: MESSAGE_TOO_LARGE' }],
  )
})

test('with no topic, or from the topic itself, dead letters are rows alone', async () => {
  const [none, own] = [await stage.lane({ deadLetterTopic: null }), await stage.lane({ deadLetterTopic: 't' })]
  const before = (await stage.sql`select from sys.outbox`).length
  for (const other of [none, own]) {
    const commit = stage.commit([letter({}, 2, { reason: 'alone' })])
    assert.is((await other.commit(commit, { kind: 'optimistic' })).kind, 'committed')
    stage.moved(commit)
  }
  assert.is((await stage.sql`select from sys.outbox`).length, before)
  const letters = await stage.sql`select published from sys.dead_letters where reason = 'alone'`
  assert.equal(
    letters.map(({ published }) => String(published)),
    ['no', 'no'],
  )
})

test('what was parked is the dead letter of where it was read, and what becomes of its message is said there', async () => {
  const { ref } = stage.partition(2)
  const row = { generation: -1, topicId: randomUUID(), partition: 9, replays: 2 }
  const parked = { ...letter({}, 2, { reason: 'parked' }), row }
  // One of the present topic at the same offset, which is another record.
  const same = { ...letter({}, 2, { reason: 'parked' }), record: parked.record }
  await stage.sql`
    insert into sys.parked_messages (group_name, topic_id, partition, tenant_id, generation, record_offset, origin_topic_id,
      origin_partition, record_timestamp, header_names, header_values, attempts)
    values (${ref.group}, ${ref.topicId}, ${ref.partition}, ${parked.tenant}, ${row.generation}, ${parked.record.offset},
      ${row.topicId}, ${row.partition}, 0, '{}', '{}', 0)`
  const commit = stage.commit([parked, same])
  assert.is((await lane.commit(commit, { kind: 'optimistic' })).kind, 'committed')
  stage.moved(commit)
  const [first] = (await outboxOf(2)).slice(-2)
  assert.equal(first?.deadLetterOf, { topicId: row.topicId, partition: 9, offset: parked.record.offset })
  await stage.ledger.refuseOutbox(ref, first?.position ?? { seq: 0, index: 0 }, 'MESSAGE_TOO_LARGE')
  const letters = await stage.sql`
    select topic_id, partition, replay_count, published from sys.dead_letters where reason = 'parked' order by id`
  assert.equal(
    letters.map((found) => ({ ...found })),
    [
      { topic_id: row.topicId, partition: 9, replay_count: 2, published: 'refused: MESSAGE_TOO_LARGE' },
      { topic_id: ref.topicId, partition: 2, replay_count: 0, published: 'yes' },
    ],
  )
})

test('a value matches a comparison, or it does not; whatever it is, it is no error', async () => {
  const deep = '['.repeat(100_000)
  const values: readonly (readonly [value: Buffer | null, matches: boolean])[] = [
    [Buffer.from('{"n":2}'), true],
    [Buffer.from('{"n":"2"}'), false],
    [Buffer.from('{"n":[1,2]}'), true],
    [Buffer.from('{"n":{"n":2}}'), false],
    [Buffer.from('{}'), false],
    [Buffer.from('{"n":2'), false],
    [Buffer.from('{"n":2,"s":"\\u0000"}'), false],
    [Buffer.from(deep), false],
    [Buffer.from([0xff]), false],
    [Buffer.from('{"n":2}\0'), false],
    [Buffer.alloc(0), false],
    [null, false],
  ]
  for (const [value, matches] of values) {
    const [row] = await stage.sql`select sys.fn_value_matches(${value}, '$.n == 2') as matches`
    assert.is(row?.['matches'], matches, value?.toString('latin1').slice(0, 40) ?? 'null')
  }
  const [dates] = await stage.sql`
    select sys.fn_value_matches('{"at":"2026-02-03T04:05:06+01:00"}', '$.at.datetime() > "2026-01-01".datetime()') as matches`
  assert.is(dates?.['matches'], true)
})

test('the summary and the statistics count what there is', async () => {
  await stage.sql`delete from sys.dead_letters`
  const commit = stage.commit([
    letter({}, 0, { reason: 'schema', errorClass: 'ZodError' }),
    letter({}, 0, { reason: 'schema', errorClass: 'ZodError' }),
    { ...letter({}, 1, { reason: 'handler' }), tenant: 'umbrella', failedAt: failureTime - 100_000 * 3_600_000 },
  ])
  assert.is((await lane.commit(commit, { kind: 'optimistic' })).kind, 'committed')
  stage.moved(commit)
  const summary = () => stage.sql<{ reason: string; letters: number; tenants: number }[]>`
    select reason, dead_letters::int as letters, tenants::int as tenants from sys.vw_dlq_summary order by reason`
  assert.equal(
    (await summary()).map((row) => ({ ...row })),
    [
      { reason: 'handler', letters: 1, tenants: 1 },
      { reason: 'schema', letters: 2, tenants: 1 },
    ],
  )
  await stage.sql`
    select sys.fn_discard_dead_letters(array(select id from sys.dead_letters where reason = 'handler'), 'ada', 'a test')`
  assert.equal(
    (await summary()).map(({ reason }) => reason),
    ['schema'],
  )
  const statistics = async (since: string, group: string | null) =>
    (
      await stage.sql<{ discarded: number }[]>`
        select group_name, dead_letters::int, open::int, discarded::int, refused::int, tenants::int, reasons
        from sys.fn_get_dlq_statistics(${since}::interval, ${group})`
    ).map((row) => ({ ...row }))
  const all = {
    group_name: 'g',
    dead_letters: 3,
    open: 2,
    discarded: 1,
    refused: 0,
    tenants: 2,
    reasons: { schema: 2, handler: 1 },
  }
  assert.equal(await statistics('100 years', null), [all])
  assert.equal(await statistics('100 years', 'g'), [all])
  assert.equal(await statistics('100 years', 'another'), [])
  assert.equal(
    (await statistics('10 years', null)).map(({ discarded }) => discarded),
    [0],
  )
})

test('two operators at once discard each dead letter once, and both are written down', async () => {
  await stage.sql`delete from sys.dead_letters`
  await stage.sql`delete from sys.dlq_audit`
  const commit = stage.commit(Array.from({ length: 500 }, () => letter({}, 0)))
  assert.is((await lane.commit(commit, { kind: 'optimistic' })).kind, 'committed')
  stage.moved(commit)
  const ids = (await stage.sql<{ id: string }[]>`select id from sys.dead_letters order by id`).map(({ id }) => id)
  const half = Math.floor(ids.length / 2)
  const asks = [ids.slice(0, half + 100), ids.slice(half - 100).toReversed(), ids].map(
    (some, who) => stage.sql<{ count: string }[]>`
      select sys.fn_discard_dead_letters(${some}::bigint[], ${`operator ${who}`}, 'at once') as count`,
  )
  const counts = (await Promise.all(asks)).map(([row]) => Number(row?.count))
  assert.is(
    counts.reduce((sum, count) => sum + count, 0),
    500,
  )
  const [audit] = await stage.sql`
    select sum(count)::int as count, count(*)::int as rows, count(distinct operation)::int as operations from sys.dlq_audit`
  const acted = counts.filter((count) => count > 0).length
  assert.equal({ ...audit }, { count: 500, rows: acted, operations: acted })
  assert.is((await stage.sql`select from sys.dead_letters where state <> 'discarded' or operation is null`).length, 0)
})

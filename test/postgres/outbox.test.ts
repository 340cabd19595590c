import { randomUUID } from 'node:crypto'
import * as assert from 'uvu/assert'
import { TenantryError } from '../../core/errors.ts'
import { supersededCode } from '../../core/postgres/ownership.ts'
import { after, before, test } from '../harness.ts'
import { eventually } from '../services.ts'
import { LaneStage } from './lane-stage.ts'

// What was committed for publication, as its next owner reads it.

let stage: LaneStage

before(async () => {
  stage = await LaneStage.create((sql) => sql`select 1`)
})

after(() => stage.end())

/** Rows of this seq, each with so many bytes. */
async function write(partition: number, seq: number, count: number, bytes = 1): Promise<void> {
  const { ref } = stage.partition(partition)
  await stage.sql`
    insert into sys.outbox (group_name, topic_id, partition, seq, place, tenant_id, to_topic, message_id, record_key, record_value, record_headers)
    select ${ref.group}, ${ref.topicId}, ${ref.partition}, ${seq}, place, 'acme', 'out', ${seq}::text || '.' || place, ''::bytea,
      convert_to(repeat('x', ${bytes}), 'UTF8'), '[["a","b"]]'
    from generate_series(0, ${count - 1}) as place`
}

async function readAll(partition: number) {
  const { ref } = stage.partition(partition)
  const pages = [await stage.ledger.readOutbox(ref, null)]
  for (let last = pages[0]; last !== undefined && last.more > 0; ) {
    last = await stage.ledger.readOutbox(ref, last.rows.at(-1)?.position ?? null)
    pages.push(last)
  }
  return pages
}

test('more unpublished messages than a page has are read page by page, in order', async () => {
  await write(0, 9, 3)
  await write(0, 10, 10_000)
  await write(1, 1, 1)
  const pages = await readAll(0)
  assert.equal(
    pages.map(({ rows, more }) => [rows.length, more]),
    [
      [5_000, 5_003],
      [5_000, 3],
      [3, 0],
    ],
  )
  const ids = pages.flatMap(({ rows }) => rows.map(({ messageId }) => messageId))
  assert.equal(ids, [
    ...Array.from({ length: 3 }, (_, place) => `9.${place}`),
    ...Array.from({ length: 10_000 }, (_, place) => `10.${place}`),
  ])
  assert.equal(pages[0]?.rows[0], {
    position: { seq: 9, index: 0 },
    tenant: 'acme',
    topic: 'out',
    messageId: '9.0',
    key: Buffer.from(''),
    value: Buffer.from('x'),
    headers: [['a', 'b']],
    deadLetterOf: null,
  })
})

test('a page ends where it would be too large, and has at least one message', async () => {
  await write(2, 1, 3, 5 * 1024 * 1024)
  await write(2, 2, 2, 9 * 1024 * 1024)
  assert.equal(
    (await readAll(2)).map(({ rows, more }) => [rows.length, more]),
    [
      [2, 3],
      [2, 1],
      [1, 0],
    ],
  )
})

test('a page that is full and has nothing behind it is the last', async () => {
  await write(3, 1, 5_000)
  assert.equal(
    (await readAll(3)).map(({ rows, more }) => [rows.length, more]),
    [[5_000, 0]],
  )
})

test('a message that Kafka refuses becomes a dead letter, also with a NUL in a header', async () => {
  const { ref } = stage.partition(1)
  const headers = JSON.stringify([
    ['tracestate', 'a=\0b'],
    ['back\\u0000slash', '\\\\u0000 \\\0'],
  ])
  await stage.sql`update sys.outbox set record_headers = ${headers}::text::json where partition = 1`
  for (let i = 0; i < 2; i++) await stage.ledger.refuseOutbox(ref, { seq: 1, index: 0 }, 'MESSAGE_TOO_LARGE')
  const letters = await stage.sql<{ names: Buffer[]; values: Buffer[]; why: string }[]>`
    select header_names as names, header_values as values, error_message as why from sys.dead_letters`
  assert.equal(
    letters.map(({ names, values, why }) => [names.map(String), values.map(String), why]),
    [[['tracestate', 'back\\u0000slash'], ['a=\u{fffd}b', '\\\\u0000 \\\u{fffd}'], 'MESSAGE_TOO_LARGE']],
  )
  assert.is((await stage.sql`select from sys.outbox where partition = 1`).length, 0)
})

test('who takes a recreated topic over inherits the old one, modulo the new count, and shuts its last owner out', async () => {
  const refs = (topicId: string, count: number) =>
    Array.from({ length: count }, (_, partition) => ({ group: 'g2', topic: 't2', topicId, partition }))
  const [old, other] = [randomUUID(), randomUUID()]
  const begin = (topicId: string, count: number) =>
    stage.ledger.begin(
      'g2',
      't2',
      topicId,
      'cluster',
      count,
      refs(topicId, count).map((ref) => ({ ref, position: 0 })),
    )
  await begin(old, 5)
  for (const ref of refs(old, 5)) await stage.ledger.takeOver(ref)
  await begin(other, 2)
  const [even, odd] = refs(other, 2)
  if (even === undefined || odd === undefined) throw new Error('no partitions')
  const { inherited } = await stage.ledger.takeOver(even)
  assert.equal(
    inherited.map(({ ref }) => [ref.topicId, ref.partition]),
    [0, 2, 4].map((partition) => [old, partition]),
  )
  const standing = await stage.ledger.standing(refs(old, 5))
  assert.equal(
    standing.map(({ epoch }) => epoch),
    [2, 1, 2, 1, 2],
  )
  const [, second] = inherited
  if (second === undefined) throw new Error('nothing inherited')
  for (const place of [0, 1, 2])
    await stage.sql`
      insert into sys.outbox (group_name, topic_id, partition, seq, place, tenant_id, to_topic, message_id, record_key, record_value, record_headers)
      values ('g2', ${old}, 2, 1, ${place}, 'acme', 'out', ${place}, '', '', '[]')`
  const left = async () => (await stage.ledger.readOutbox(second.ref, null)).rows.map(({ messageId }) => messageId)
  assert.ok(await stage.ledger.deleteOutbox(second, { seq: 1, index: 0 }))
  assert.equal(await left(), ['1', '2'])
  // Whoever has it now deletes; the one before does not.
  const [, again] = (await stage.ledger.takeOver(even)).inherited
  assert.is(await stage.ledger.deleteOutbox(second, { seq: 1, index: 1 }), false)
  assert.equal(await left(), ['1', '2'])
  if (again !== undefined) await stage.ledger.deleteOutbox(again, { seq: 1, index: 2 })
  assert.equal(await left(), [])
  assert.equal(
    (await stage.ledger.takeOver(odd)).inherited.map(({ ref }) => ref.partition),
    [1, 3],
  )
})

test('a claim of an earlier topic that comes late raises nothing and takes nothing from its heir', async () => {
  const refs = (topicId: string, count: number) =>
    Array.from({ length: count }, (_, partition) => ({ group: 'g3', topic: 't3', topicId, partition }))
  const [first, second, third] = [randomUUID(), randomUUID(), randomUUID()]
  for (const [topicId, count] of [
    [first, 6],
    [second, 4],
    [third, 3],
  ] as const) {
    const starts = refs(topicId, count).map((ref) => ({ ref, position: 0 }))
    await stage.ledger.begin('g3', 't3', topicId, 'cluster', count, starts)
    const progress = await stage.ledger.topicProgress('g3', 't3', topicId)
    assert.equal([progress.partitions, progress.superseded], [count, false])
  }
  const rows = async () =>
    (
      await stage.sql<{ rows: string }[]>`select count(*) as rows from sys.partition_progress where group_name = 'g3'`
    )[0]?.rows
  const before = await rows()
  const [stale] = refs(second, 1)
  if (stale === undefined) throw new Error('no partition')
  // Also what it would inherit is left alone.
  const refused = await stage.ledger.takeOver(stale).catch((error: unknown) => error)
  assert.ok(refused instanceof TenantryError && refused.code === supersededCode)
  assert.is(await rows(), before)
  const [heir] = refs(third, 1)
  if (heir === undefined) throw new Error('no partition')
  assert.is((await stage.ledger.takeOver(heir)).inherited.length, 4)
  // A daemon that looked before the topic was recreated may begin it late, without having it named the newest.
  await stage.ledger.begin('g3', 't3', second, 'cluster', 4, [])
  assert.ok((await stage.ledger.topicProgress('g3', 't3', second)).superseded)
  await stage.ledger.beginAgain('g3', 't3', second)
  assert.ok((await stage.ledger.topicProgress('g3', 't3', third)).superseded)
  assert.is((await stage.ledger.takeOver(stale)).inherited.length, 3)
})

test('no later topic is begun while one is taken over', async () => {
  const { ref } = stage.partition(3)
  const late = { ...ref, topicId: randomUUID(), partition: 0 }
  const begin = () => stage.ledger.begin(ref.group, ref.topic, late.topicId, 'cluster', 1, [{ ref: late, position: 0 }])
  const waits = async () =>
    (
      await stage.sql`
      select from pg_locks join pg_database on pg_database.oid = pg_locks.database
      where datname = current_database() and locktype = 'advisory' and not granted`
    ).length > 0
  const begun: { promise?: Promise<void> } = {}
  await stage.sql.begin(async (sql) => {
    await sql`select sys.fn_take_over(${ref.group}, ${ref.topicId}, ${ref.partition}, ${randomUUID()})`
    begun.promise = begin()
    await eventually(waits)
    assert.not.ok((await stage.ledger.topicProgress(ref.group, ref.topic, ref.topicId)).superseded)
  })
  await begun.promise
  assert.ok((await stage.ledger.topicProgress(ref.group, ref.topic, ref.topicId)).superseded)
})

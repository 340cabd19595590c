import { randomUUID } from 'node:crypto'
import * as assert from 'uvu/assert'
import type { Failure } from '../../core/effects.ts'
import type { KafkaRecord } from '../../core/kafka/source.ts'
import type { PostgresLane } from '../../core/postgres/lane.ts'
import type { ParkedRow } from '../../core/postgres/ownership.ts'
import type { Commit, Outcome, ParkedAt } from '../../core/postgres/transactions.ts'
import { afterYear9999 } from '../../core/timestamp.ts'
import { after, before, beforeEach, test } from '../harness.ts'
import { LaneStage, row, throughFrame } from './lane-stage.ts'

// A dead letter goes back to its tenant's records, once, by whoever asks for it; and what it does then it does once.

let stage: LaneStage
let lane: PostgresLane
const failure: Failure = { reason: 'handler', errorClass: 'Error', message: 'no', stack: 'at', kind: 'permanent' }

before(async () => {
  stage = await LaneStage.create((sql) => sql`create table effects (tenant_id text, what text)`)
  lane = await stage.lane()
})

beforeEach(
  () => stage.sql`truncate sys.dead_letters, sys.dlq_audit, sys.parked_messages, sys.outbox, effects restart identity`,
)

after(() => stage.end())

/** Commits these dead letters; they have the numbers from 1 on. */
async function give(...letters: readonly Outcome[]): Promise<void> {
  assert.is((await stage.run(lane, letters)).kind, 'committed')
}

function letter(id: string | null = randomUUID(), record: Partial<KafkaRecord> = {}, partition = 0): Outcome {
  const outcome = stage.failed({ id, partition }, failure)
  return { ...outcome, record: { ...outcome.record, ...record } }
}

/** A dead letter of a record that has an id and does not pass its actor's schema. */
function bad(id: string): Outcome {
  const { result, ...outcome } = letter(id)
  if (result.kind !== 'failed') throw new Error('it has not failed')
  const failed = { ...failure, kind: 'bad-record', reason: 'schema' } as const
  return { ...outcome, result: { ...result, key: null, failure: failed } }
}

/** Of each dead letter whether it holds its key. */
async function holding(): Promise<readonly (boolean | null)[]> {
  const rows = await stage.sql<{ holds_key: boolean | null }[]>`select holds_key from sys.dead_letters order by id`
  return rows.map(({ holds_key: holds }) => holds)
}

function replay(id: number, maxReplays = 5) {
  return stage.sql`select sys.fn_replay_dlq_message(${id}, 'ada', 'mended', ${maxReplays})`
}

async function refusal(asked: PromiseLike<unknown>): Promise<string> {
  try {
    await asked
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
  return ''
}

async function replayAll(ids: readonly number[], operation = randomUUID()) {
  const rows = await stage.sql<{ letter_id: string; refused: string | null }[]>`
    select * from sys.fn_replay_dead_letters(${[...ids]}::bigint[], 'ada', 'mended', '{}', ${operation})`
  return rows.map(({ letter_id, refused }) => [Number(letter_id), refused])
}

async function parked(partition = 0, tenant = 'acme'): Promise<readonly ParkedRow[]> {
  const wanted = [{ tenant, after: null, rows: 100 }]
  return (await stage.ledger.readParked(stage.partition(partition).ref, wanted, 1 << 30)).rows
}

/** The record once more, as its owner reads it back. */
async function again(outcome: Outcome, partition = 0): Promise<Outcome> {
  const back = (await parked(partition)).find(({ record }) => record.offset === outcome.record.offset)
  if (back === undefined) throw new Error('it is not parked')
  return { ...outcome, partition, record: back.record, attempts: back.attempts, row: back.at }
}

function does(id: string): Outcome {
  return stage.done({ id, effects: [row('effects', { tenant_id: 'acme', what: id })] })
}

async function count(what: string): Promise<[effects: number, keys: number]> {
  const effects = await stage.sql`select from effects where what = ${what}`
  const keys = await stage.sql`select from sys.request_keys where message_id = ${what}`
  return [effects.length, keys.length]
}

async function lettersOf(offset: number) {
  const rows = await stage.sql`
    select id::int, state, replay_count, error_message, published from sys.dead_letters
    where record_offset = ${offset} order by id`
  return rows.map((one) => ({ ...one }))
}

/** Commits by asking first; returns what was a duplicate. */
async function checked(outcomes: readonly Outcome[]): Promise<readonly number[]> {
  const commit = stage.commit(outcomes)
  let found: readonly number[] = []
  const settle = (duplicates: readonly number[]): Commit => {
    found = duplicates
    const result = { kind: 'duplicate', messageId: '', type: '', traceId: '' } as const
    return {
      ...commit,
      outcomes: commit.outcomes.map((one, place): Outcome => (duplicates.includes(place) ? { ...one, result } : one)),
    }
  }
  assert.is((await lane.commit(commit, { kind: 'checked', settle })).kind, 'committed')
  stage.moved(commit)
  return found
}

test('a record comes back with its time, or the latest that a dead letter keeps', async () => {
  const times = [0, 1_795_000_000_123, afterYear9999 - 1, 1_790_000_000_000_000, -1]
  await give(...times.map((timestamp) => letter(randomUUID(), { timestamp })))
  await replayAll(times.map((_, i) => i + 1))
  assert.equal(
    (await parked()).map(({ record }) => record.timestamp),
    [0, 1_795_000_000_123, afterYear9999 - 1, afterYear9999 - 1, -1],
  )
})

test('a dead letter goes back with the bytes that it had, once, and the audit tells', async () => {
  const bytes = Buffer.from([0xff, 0, 0xc3, 0x28])
  const record = {
    timestamp: 1_700_000_000_123,
    key: bytes,
    value: bytes,
    headers: [
      [bytes, null],
      [Buffer.alloc(0), Buffer.alloc(0)],
    ] as const,
  }
  const one = letter(randomUUID(), record)
  await give({ ...one, attempts: 3, firstFailedAt: 1 })
  await replay(1)
  const [back] = await parked()
  assert.equal(back?.record, { offset: one.record.offset, ...record })
  const { topicId } = stage.partition(0).ref
  const { batch, ...at } = back?.at ?? {}
  assert.equal(at, { generation: 0, topicId, partition: 0, replays: 1, holdsKey: true } satisfies ParkedAt)
  assert.type(batch, 'number')
  assert.equal([back?.attempts, back?.firstFailedAt], [0, 0], 'its attempts begin anew')
  assert.match(await refusal(replay(1)), 'dead letter 1 was not replayed: it has been replayed already')
  assert.equal(await replayAll([1]), [[1, 'replayed']])
  assert.is((await parked()).length, 1)
  const audit =
    await stage.sql`select session_name = session_user as own, given_name, action, reason, count::int from sys.dlq_audit`
  assert.equal(
    audit.map((line) => ({ ...line })),
    [{ own: true, given_name: 'ada', action: 'replay', reason: 'mended', count: 1 }],
  )
  const [marked] = await stage.sql`
    select state, operation = (select operation from sys.dlq_audit) as by from sys.dead_letters`
  assert.equal({ ...marked }, { state: 'replayed', by: true })
})

test('partitions’ owners are told where the first of a tenant is, and a new one counts them apart', async () => {
  await give(letter(), letter(), { ...letter(), tenant: 'umbrella' }, letter(randomUUID(), {}, 1))
  const waiting: Outcome = { ...stage.done(), result: { kind: 'parked', since: 1_600_000_000_000 } }
  assert.is((await stage.run(lane, [waiting])).kind, 'committed')
  const refs = stage.owned.map(({ ref }) => ref)
  assert.equal(await stage.ledger.findReplayed(refs), [])
  await replayAll([1, 2, 3, 4])
  const found = [...(await stage.ledger.findReplayed(refs))].sort((a, b) => a.place - b.place)
  const offsets = await stage.sql<{ offset: number }[]>`
    select record_offset::int as offset from sys.dead_letters order by id`
  const at = (place: number) => ({ generation: 0, offset: offsets[place]?.offset ?? -1 })
  assert.equal(found, [
    { place: 0, tenant: 'acme', first: at(0) },
    { place: 0, tenant: 'umbrella', first: at(2) },
    { place: 1, tenant: 'acme', first: at(3) },
  ])
  const owned = stage.partition(0)
  const { parked: tenants, ...taken } = await stage.ledger.takeOver(owned.ref)
  Object.assign(owned, { epoch: taken.epoch, seq: taken.seq, commitId: taken.commitId })
  assert.equal(
    [...tenants]
      .sort((a, b) => (a.tenant < b.tenant ? -1 : 1))
      .map(({ tenant, rows, replayed }) => ({ tenant, rows, replayed })),
    [
      { tenant: 'acme', rows: 1, replayed: true },
      { tenant: 'umbrella', rows: 0, replayed: true },
    ],
  )
})

for (const [way, through] of [
  ['decided here', (outcomes: readonly Outcome[]) => outcomes],
  ['from a frame', throughFrame],
] as const) {
  test(`its own key makes it no copy, ${way}, and every other record with that key one`, async () => {
    const [bet, asked, other] = [randomUUID(), randomUUID(), randomUUID()]
    const letters = [letter(bet), letter(asked)] as const
    await give(...letters)
    assert.is((await stage.run(lane, through([does(bet)]))).kind, 'duplicates', 'before')
    await replayAll([1, 2])
    const back = async (place: 0 | 1, id: string): Promise<Outcome> => ({
      ...(await again(letters[place])),
      result: does(id).result,
    })
    const beside = through([await back(0, bet), does(other), does(bet)])
    assert.is((await stage.run(lane, beside)).kind, 'duplicates', 'with a copy beside it')
    assert.is((await stage.run(lane, through([does(other), await back(0, bet)]))).kind, 'committed')
    assert.equal(await checked(through([does(asked), await back(1, asked), does(asked)])), [0, 2])
    for (const id of [bet, asked, other]) assert.equal(await count(id), [1, 1])
    assert.is((await parked()).length, 0)
    assert.is((await stage.run(lane, through([does(bet)]))).kind, 'duplicates', 'after')
  })
}

test('of two that hold one key, one is it', async () => {
  const id = randomUUID()
  const letters = [letter(id), letter()] as const
  await give(...letters)
  await replayAll([1, 2])
  const back = async () => Promise.all(letters.map(async (one) => ({ ...(await again(one)), result: does(id).result })))
  assert.is((await stage.run(lane, await back())).kind, 'duplicates')
  assert.equal(await checked(await back()), [1])
  assert.equal(await count(id), [1, 1])
})

test('one that could not be read was given up without a key: a copy that was read meanwhile makes it one', async () => {
  const id = randomUUID()
  const unread = stage.failed({ id: null }, failure)
  await give({
    ...unread,
    result: { ...unread.result, kind: 'failed', failure, key: null, messageId: '', type: '', traceId: '' },
  })
  assert.is((await stage.run(lane, [does(id)])).kind, 'committed')
  await replay(1)
  const [back] = await parked()
  assert.is(back?.at.holdsKey, undefined)
  const mended = { ...(await again(unread)), result: does(id).result }
  assert.is((await stage.run(lane, [mended])).kind, 'duplicates')
  assert.equal(await checked([mended]), [0])
  assert.equal(await count(id), [1, 1])
})

for (const [way, resent] of [
  ['runs and claims its key', false],
  ['is a copy of its message that was sent again, mended', true],
] as const) {
  test(`a bad record holds no key although its message has an id: brought back it ${way}`, async () => {
    const id = randomUUID()
    const one = bad(id)
    await give(one)
    const copy = bad(id)
    await give(copy)
    assert.equal(await holding(), [false, false], 'each copy is a dead letter')
    assert.equal(await count(id), [0, 0])
    if (resent) assert.is((await stage.run(lane, [does(id)])).kind, 'committed')
    await replay(1)
    assert.is((await parked())[0]?.at.holdsKey, undefined)
    const mended = { ...(await again(one)), result: does(id).result }
    assert.equal(await checked([mended]), resent ? [0] : [])
    assert.equal(await count(id), [1, 1])
    assert.is((await stage.run(lane, [does(id)])).kind, 'duplicates', 'after')
  })
}

test('a bad record that is bad again holds no key; one that was given up for another reason before still does', async () => {
  const [never, before] = [randomUUID(), randomUUID()]
  const letters = [bad(never), letter(before)] as const
  await give(...letters)
  await replayAll([1, 2])
  for (const [place, id] of [never, before].entries()) {
    const back = await again(letters[place] ?? letters[0])
    await give({ ...back, result: bad(id).result, failedAt: letters[0].failedAt })
  }
  assert.equal(await holding(), [false, true, false, true])
  assert.equal(
    [await count(never), await count(before)],
    [
      [0, 0],
      [0, 1],
    ],
  )
  await replayAll([3, 4])
  assert.equal(
    (await parked()).map(({ at }) => at.holdsKey),
    [undefined, true],
  )
})

test('a dead letter of before that has a message id holds its key', async () => {
  await give(letter(), { ...letter(null) })
  await stage.sql`update sys.dead_letters set holds_key = null`
  await replayAll([1, 2])
  assert.equal(
    (await parked()).map(({ at }) => at.holdsKey),
    [true, undefined],
  )
})

test('one that fails again is a dead letter again, with its number, and what Kafka says of its message is said of that one', async () => {
  const one = letter()
  await give(one)
  for (const attempt of [1, 2]) {
    await replay(attempt)
    const result = { ...one.result, kind: 'failed', failure: { ...failure, message: `no ${attempt}` } } as const
    await give({ ...(await again(one)), result: { messageId: '', type: '', traceId: '', key: null, ...result } })
  }
  const { rows } = await stage.ledger.readOutbox(stage.partition(0).ref, null)
  assert.equal(
    rows.map(({ headers }) => headers.at(-1)?.map(String)),
    ['0', '1', '2'].map((number) => ['tenantry-replay-count', number]),
  )
  await stage.ledger.refuseOutbox(stage.partition(0).ref, rows[1]?.position ?? { seq: 0, index: 0 }, 'NO')
  assert.equal(await lettersOf(one.record.offset), [
    { id: 1, state: 'replayed', replay_count: 0, error_message: 'no', published: 'yes' },
    { id: 2, state: 'replayed', replay_count: 1, error_message: 'no 1', published: 'refused: NO' },
    { id: 3, state: 'open', replay_count: 2, error_message: 'no 2', published: 'yes' },
  ])
  assert.match(await refusal(replay(3, 2)), 'it has been replayed 2 times')
  assert.equal(await parked(), [])
  await replay(3)
  assert.is((await parked())[0]?.at.replays, 3)
})

test('what cannot go back is left as it is, says why, and hinders no other', async () => {
  await give(letter(), letter(), { ...letter(), tenant: '' }, letter(), letter(), letter(), letter())
  await stage.sql`select sys.fn_discard_dead_letters(array[2], 'ada', 'not wanted')`
  await stage.sql`update sys.dead_letters set outbox_place = 0 where id = 4`
  await stage.sql`update sys.dead_letters set outbox_place = -7 where id = 5`
  await stage.sql`update sys.dead_letters set topic = 'unread' where id = 6`
  await stage.sql`update sys.dead_letters set replay_count = 5 where id = 7`
  const wanted = [
    [1, null],
    [2, 'discarded'],
    [3, 'tenant'],
    [4, 'message'],
    [5, 'reset'],
    [6, 'topic'],
    [7, 'replays'],
    [99, 'unknown'],
  ]
  assert.equal(await replayAll([7, 6, 5, 4, 3, 2, 1, 99, 1]), wanted)
  assert.is((await stage.sql`select from sys.parked_messages`).length, 1)
  for (const [id, why] of wanted.slice(1))
    assert.match(await refusal(replay(Number(id))), `dead letter ${id} was not replayed: `, String(why))
  assert.equal(
    (await stage.sql`select sum(count)::int as all from sys.dlq_audit where action = 'replay'`)[0]?.['all'],
    1,
  )
  for (const [name, reason] of [
    [' ', 'mended'],
    ['ada', ''],
  ] as const)
    assert.match(
      await refusal(stage.sql`select sys.fn_replay_dead_letters(array[1], ${name}, ${reason})`),
      'replaying needs a name and a reason',
    )
})

test('two operators at once replay each dead letter once, and both are written down', async () => {
  await give(...Array.from({ length: 300 }, () => letter()))
  const ids = Array.from({ length: 300 }, (_, place) => place + 1)
  const answers = await Promise.all([
    replayAll(ids.slice(0, 200)),
    replayAll(ids.slice(100).toReversed()),
    replayAll(ids),
  ])
  const done = answers.flat().filter(([, refused]) => refused === null)
  assert.is(done.length, 300)
  assert.is(new Set(done.map(([id]) => id)).size, 300)
  assert.is((await stage.sql`select from sys.parked_messages`).length, 300)
  assert.is((await stage.sql`select sum(count)::int as all from sys.dlq_audit`)[0]?.['all'], 300)
})

test('those of a topic that was recreated go to its heirs, before all that these have themselves, and in order', async () => {
  const first = stage.partition(0).ref.topicId
  await give(letter(randomUUID(), {}, 3), letter(randomUUID(), {}, 1), letter(randomUUID(), {}, 3), letter())
  const own = [{ ...stage.done({ partition: 1 }), result: { kind: 'parked', since: 1_600_000_000_000 } } as const]
  assert.is((await stage.run(lane, own)).kind, 'committed')
  const heirs = [randomUUID(), randomUUID()]
  for (const topicId of heirs) {
    const starts = [0, 1].map((partition) => ({ ref: { group: 'g', topic: 't', topicId, partition }, position: 0 }))
    await stage.ledger.begin('g', 't', topicId, 'cluster', 2, starts)
  }
  assert.equal(await replayAll([3]), [[3, null]])
  const places = () => stage.sql<{ generation: number; id: number }[]>`
    select parked.topic_id, parked.partition, parked.generation, parked.origin_topic_id, parked.origin_partition,
      letter.id::int
    from sys.parked_messages as parked
    join sys.dead_letters as letter
      on letter.topic_id = parked.origin_topic_id and letter.partition = parked.origin_partition
        and letter.record_offset = parked.record_offset
    order by parked.partition, parked.generation, parked.record_offset`
  assert.equal(
    await replayAll([1, 2, 4]),
    [1, 2, 4].map((id) => [id, null]),
  )
  const found = (await places()).map((one) => ({ ...one }))
  const at = (id: number, partition: number, generation: number, from: number) => ({
    topic_id: heirs[1],
    partition,
    generation,
    origin_topic_id: first,
    origin_partition: from,
    id,
  })
  // That of partition 1 came later, below what was there; those of partition 3 stay together.
  assert.equal(found, [at(4, 0, -1, 0), at(2, 1, -3, 1), at(1, 1, -1, 3), at(3, 1, -1, 3)])
  // The heir's heir has not taken over yet: what the first left is still there, and goes below these.
  await stage.ledger.takeOver({ group: 'g', topic: 't', topicId: heirs[1] ?? '', partition: 1 })
  const generations = await stage.sql<{ replays: number }[]>`
    select replay_count as replays from sys.parked_messages
    where topic_id = ${heirs[1] ?? ''} and partition = 1 order by generation`
  assert.equal(
    generations.map(({ replays }) => replays),
    [0, 1, 1, 1],
  )
})

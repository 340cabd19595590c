import { createHash, randomUUID } from 'node:crypto'
import * as assert from 'uvu/assert'
import type { KafkaRecord } from '../../core/kafka/source.ts'
import type { PostgresLane } from '../../core/postgres/lane.ts'
import type { ParkedRow } from '../../core/postgres/ownership.ts'
import type { Outcome, ParkedAt } from '../../core/postgres/transactions.ts'
import { after, before, test } from '../harness.ts'
import { LaneStage } from './lane-stage.ts'

// Parked records are there, byte for byte, as soon as a commit says so, and gone with the one of their outcome.

let stage: LaneStage
let lane: PostgresLane

before(async () => {
  stage = await LaneStage.create(async () => {})
  lane = await stage.lane()
})

after(() => stage.end())

function parked(outcome: Outcome, record: Partial<KafkaRecord> = {}): Outcome {
  return { ...outcome, result: { kind: 'parked', since }, record: { ...outcome.record, ...record } }
}

/** When each of the records came. */
const since = 1_600_000_000_000

function at(partition = 0, generation = 0): ParkedAt {
  return { generation, topicId: stage.partition(partition).ref.topicId, partition, replays: 0 }
}

async function read(tenants: readonly string[], rows = 100, maxBytes = 1 << 30): Promise<readonly ParkedRow[]> {
  const wanted = tenants.map((tenant) => ({ tenant, after: null, rows }))
  return (await stage.ledger.readParked(stage.partition(0).ref, wanted, maxBytes)).rows
}

function bytesOf(record: KafkaRecord | undefined) {
  if (record === undefined) return undefined
  const { key, value, headers, ...rest } = record
  const hex = (bytes: Buffer | null) =>
    bytes && (bytes.length > 1_000 ? createHash('sha256').update(bytes).digest('hex') : bytes.toString('hex'))
  return { ...rest, key: hex(key), value: hex(value), headers: headers.map(([name, text]) => [hex(name), hex(text)]) }
}

async function empty(): Promise<void> {
  await stage.sql`delete from sys.parked_messages`
}

test('a parked record comes back byte for byte, with its attempts', async () => {
  const everyByte = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
  const headers = [
    [Buffer.from('a'), Buffer.from([0, 255, 92, 34])],
    [Buffer.from('a'), null],
    [Buffer.alloc(0), Buffer.alloc(0)],
  ] as const
  const outcomes = [
    {
      ...parked(stage.done(), {
        key: everyByte,
        value: Buffer.alloc(1 << 20, 0xfe),
        headers,
        timestamp: 1_700_000_000_123,
      }),
      attempts: 2,
      firstFailedAt: 1_600_000_000_456,
    },
    parked(stage.done(), { key: null, value: null, timestamp: -1 }),
    parked(stage.done(), { value: Buffer.alloc(0), timestamp: Number.MAX_VALUE }),
  ]
  assert.is((await stage.run(lane, outcomes)).kind, 'committed')
  const rows = await read(['acme'])
  assert.is(rows.length, 3)
  assert.ok(rows.every((row) => row.since === since))
  const [first, second, third] = rows
  assert.equal(bytesOf(first?.record), bytesOf(outcomes[0]?.record))
  assert.equal([first?.attempts, first?.firstFailedAt], [2, 1_600_000_000_456])
  assert.equal(bytesOf(second?.record), bytesOf(outcomes[1]?.record))
  assert.equal([second?.attempts, second?.firstFailedAt], [0, 0])
  assert.is(third?.record.timestamp, Number.MAX_SAFE_INTEGER, 'a time that PostgreSQL cannot hold')
  assert.equal(rows[0]?.at, at())
  await empty()
})

test('an outcome takes its row with it, also in the commit that parks the record', async () => {
  const before = stage.done()
  assert.is((await stage.run(lane, [parked(before)])).kind, 'committed')
  assert.is((await stage.run(lane, [{ ...before, row: at() }])).kind, 'committed')
  const now = stage.done()
  assert.is((await stage.run(lane, [parked(now), { ...now, row: at() }])).kind, 'committed')
  assert.equal(await read(['acme']), [])
})

test('a commit of a parked record that has gone is fenced, and names all such partitions', async () => {
  const good = stage.done({ partition: 2 })
  assert.is((await stage.run(lane, [parked(good)])).kind, 'committed')
  const gone = [stage.done({ partition: 1 }), stage.done({ partition: 3, tenant: 'other' })]
  const result = await stage.run(lane, [
    { ...good, row: at(2) },
    ...gone.map((outcome) => ({ ...outcome, row: at(outcome.partition) })),
  ])
  assert.equal(result, { kind: 'fenced', partitions: [1, 2] })
  assert.is((await stage.run(lane, [{ ...good, row: at(2) }])).kind, 'committed', 'which is there still')
})

test('attempts at a parked record are counted in its row', async () => {
  const outcome = stage.done()
  const failure = { reason: 'handler', errorClass: '', message: '', stack: '', kind: 'transient' } as const
  const result = { kind: 'retried', attempts: 1, failure, type: 'go', traceId: '', messageId: '', retryAt: 0 } as const
  const failed = { ...outcome, result, row: at(), firstFailedAt: 1_600_000_000_000 }
  assert.is(
    (await stage.run(lane, [parked(outcome), failed, { ...failed, attempts: 1, result: { ...result, attempts: 2 } }]))
      .kind,
    'committed',
  )
  const [row] = await read(['acme'])
  assert.equal([row?.attempts, row?.firstFailedAt], [2, 1_600_000_000_000])
  assert.equal([...(await stage.sql`select * from sys.retries`)], [], 'and nowhere else')
  await empty()
})

test('a record that is parked while it is retried takes its attempts along', async () => {
  const outcome = stage.done()
  const failure = { reason: 'handler', errorClass: '', message: '', stack: '', kind: 'transient' } as const
  const result = { kind: 'retried', attempts: 1, failure, type: 'go', traceId: '', messageId: '', retryAt: 0 } as const
  const firstFailedAt = 1_600_000_000_000
  await stage.run(lane, [{ ...outcome, result, firstFailedAt }])
  await stage.run(lane, [{ ...parked(outcome), attempts: 1, firstFailedAt, retried: true }])
  assert.equal([...(await stage.sql`select * from sys.retries`)], [])
  assert.is((await read(['acme']))[0]?.attempts, 1)
  await empty()
})

test('each tenant is read in order, from where it is asked for, until there are enough bytes', async () => {
  const tenants = ['b', 'a']
  const outcomes = Array.from({ length: 20 }, (_, i) => stage.done({ tenant: tenants[i % 2] ?? '' }))
  await stage.run(
    lane,
    outcomes.map((outcome) => parked(outcome, { value: Buffer.alloc(1_000) })),
  )
  const offsets = (rows: readonly ParkedRow[]) => rows.map(({ tenant, record }) => `${tenant}${record.offset}`)
  const first = outcomes[0]?.record.offset ?? 0
  assert.equal(offsets(await read(['b', 'a', 'nobody'], 2)), [
    `b${first}`,
    `b${first + 2}`,
    `a${first + 1}`,
    `a${first + 3}`,
  ])
  const { ref } = stage.partition(0)
  const after = { generation: 0, offset: first + 16 }
  const page = await stage.ledger.readParked(ref, [{ tenant: 'b', after, rows: 5 }], 1 << 20)
  assert.equal(offsets(page.rows), [`b${first + 18}`])
  assert.is(page.cut, false)
  const cut = await stage.ledger.readParked(
    ref,
    [
      { tenant: 'b', after: null, rows: 5 },
      { tenant: 'a', after: null, rows: 5 },
    ],
    3_000,
  )
  assert.equal(offsets(cut.rows), [`b${first}`, `b${first + 2}`, `b${first + 4}`])
  assert.is(cut.cut, true)
  const one = await stage.ledger.readParked(ref, [{ tenant: 'a', after: null, rows: 5 }], 1)
  assert.equal([one.rows.length, one.cut], [1, true], 'one, however long')
  const owner = await stage.ledger.takeOver(ref)
  Object.assign(stage.partition(0), owner)
  assert.equal(
    [...owner.parked].sort((x, y) => (x.tenant < y.tenant ? -1 : 1)),
    [
      { tenant: 'a', rows: 10, replayed: false, since },
      { tenant: 'b', rows: 10, replayed: false, since },
    ],
  )
  await empty()
})

test('what an earlier topic left parked comes before all that its heir has', async () => {
  const topicIds: string[] = [randomUUID(), randomUUID(), randomUUID()]
  for (const topicId of topicIds) {
    const ref = { group: 'heirs', topic: 'again', topicId, partition: 0 }
    await stage.ledger.begin('heirs', 'again', topicId, 'cluster', 1, [{ ref, position: 0 }])
    const { epoch, seq, commitId, parked: found } = await stage.ledger.takeOver(ref)
    assert.equal(
      found.map(({ rows }) => rows),
      topicId === topicIds[0] ? [] : [topicIds.indexOf(topicId)],
    )
    const outcome = {
      ...parked(stage.done({ tenant: 't' })),
      record: { offset: 7, timestamp: 0, key: null, value: null, headers: [] },
    }
    const commit = {
      id: randomUUID(),
      partitions: [
        { ref, epoch, seq, follows: commitId, watermark: 8, ahead: [], kafkaOffset: -1, published: null, breakers: [] },
      ],
      outcomes: [outcome],
    }
    assert.is((await lane.commit(commit, { kind: 'optimistic' })).kind, 'committed')
  }
  const ref = { group: 'heirs', topic: 'again', topicId: topicIds[2] ?? '', partition: 0 }
  const { rows } = await stage.ledger.readParked(ref, [{ tenant: 't', after: null, rows: 10 }], 1 << 20)
  assert.equal(
    rows.map(({ at: { topicId } }) => topicIds.indexOf(topicId)),
    [0, 1, 2],
  )
})

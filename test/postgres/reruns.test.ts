import { randomUUID } from 'node:crypto'
import * as assert from 'uvu/assert'
import type { PostgresLane } from '../../core/postgres/lane.ts'
import { type Commit, everWritten, type Outcome } from '../../core/postgres/transactions.ts'
import { after, before, test } from '../harness.ts'
import { LaneStage, row, throughFrame } from './lane-stage.ts'

// What runs again is no copy of itself: its old key goes and a new one comes, once, with its effects.

let stage: LaneStage
let lane: PostgresLane

before(async () => {
  stage = await LaneStage.create((sql) => sql`create table effects (tenant_id text, what text)`)
  lane = await stage.lane()
})

after(() => stage.end())

type Through = (outcomes: readonly Outcome[]) => readonly Outcome[]

/** An outcome as it is decided, and as it comes in a worker's frame. */
const ways: readonly (readonly [string, Through])[] = [
  ['decided here', (outcomes) => outcomes],
  ['from a frame', throughFrame],
]

function does(id: string, knownSince: string | null = null, partition = 0): Outcome {
  const outcome = stage.done({ id, partition, effects: [row('effects', { tenant_id: 'acme', what: id })] })
  return { ...outcome, knownSince }
}

async function effects(id: string): Promise<number> {
  return (await stage.sql`select from effects where what = ${id}`).length
}

async function keys(id: string): Promise<number> {
  return (await stage.sql`select from sys.request_keys where message_id = ${id}`).length
}

/** PostgreSQL's time. */
async function now(): Promise<string> {
  const [row] = await stage.sql<{ now: string }[]>`select clock_timestamp()::text as now`
  return row?.now ?? ''
}

/** Commits by asking first; returns what was a duplicate. */
async function checked(outcomes: readonly Outcome[], by = lane): Promise<readonly number[]> {
  const commit = stage.commit(outcomes)
  let found: readonly number[] = []
  const settle = (duplicates: readonly number[]): Commit => {
    found = duplicates
    const kept = commit.outcomes.map(
      (outcome, place): Outcome =>
        duplicates.includes(place)
          ? { ...outcome, result: { kind: 'duplicate', messageId: '', type: '', traceId: '' } }
          : outcome,
    )
    return { ...commit, outcomes: kept }
  }
  const result = await by.commit(commit, { kind: 'checked', settle })
  assert.is(result.kind, 'committed', JSON.stringify(result))
  stage.moved(commit)
  return found
}

const v7 = () => `0198c2f4-7a3b-7c1d-8e2f-${randomUUID().slice(24)}`

for (const [way, through] of ways) {
  for (const [kind, id] of [
    ['an id with a time', v7],
    ['one without', randomUUID],
  ] as const) {
    test(`a message that runs again, ${way} and with ${kind}, has its effects once more, and one key`, async () => {
      const known = id()
      assert.is((await stage.run(lane, through([does(known)]))).kind, 'committed')
      const since = await now()
      assert.is((await stage.run(lane, through([does(known, since)]))).kind, 'committed', 'by a bet')
      assert.equal(await checked(through([does(known, await now())])), [], 'and where it is asked')
      assert.equal([await effects(known), await keys(known)], [3, 1])
      assert.is((await stage.run(lane, through([does(known)]))).kind, 'duplicates', 'a copy is one still')
    })
  }

  test(`of two copies that run again, ${way}, one does: in one commit and in two`, async () => {
    const [known, other] = [v7(), v7()]
    assert.is((await stage.run(lane, through([does(known), does(other)]))).kind, 'committed')
    const since = await now()
    assert.is((await stage.run(lane, through([does(known, since), does(known, since)]))).kind, 'duplicates')
    assert.equal(await checked(through([does(known, since), does(known, since)])), [1])
    assert.is((await stage.run(lane, through([does(known, since)]))).kind, 'duplicates')
    assert.equal(await checked(through([does(known, since), does(other, since)])), [0])
    assert.equal([await effects(known), await effects(other)], [2, 2])
  })

  test(`what its own key never makes a copy, ${way}, runs, and a copy beside it does not`, async () => {
    const id = randomUUID()
    const failure = { reason: 'handler', errorClass: '', message: '', stack: '', kind: 'permanent' } as const
    assert.is((await stage.run(lane, through([stage.failed({ id }, failure)]))).kind, 'committed')
    assert.is((await stage.run(lane, through([does(id)]))).kind, 'duplicates')
    const back = () => [does(id, everWritten), does(id)]
    assert.is((await stage.run(lane, through(back()))).kind, 'duplicates')
    assert.equal(await checked(through(back())), [1])
    assert.equal([await effects(id), await keys(id)], [1, 1])
  })
}

test('what ran again elsewhere meanwhile is a copy, whichever lane comes second', async () => {
  const second = await stage.lane()
  for (let round = 0; round < 10; round++) {
    const ids = [v7(), v7(), v7()]
    assert.is(
      (
        await stage.run(
          lane,
          ids.map((id) => does(id)),
        )
      ).kind,
      'committed',
    )
    const since = await now()
    const results = await Promise.all(
      [lane, second].map(async (each, partition) => {
        const order = partition === 0 ? ids : ids.toReversed()
        const commit = stage.commit(order.map((id) => does(id, since, partition)))
        const result = await each.commit(commit, { kind: 'optimistic' })
        if (result.kind === 'committed') stage.moved(commit)
        return result.kind
      }),
    )
    assert.equal(results.sort(), ['committed', 'duplicates'])
    assert.equal(
      await checked(
        ids.map((id) => does(id, since, 2)),
        second,
      ),
      [0, 1, 2],
    )
    for (const id of ids) assert.is(await effects(id), 2)
  }
})

test('a record that is parked runs again when it comes back', async () => {
  const since = await now()
  const parked = (knownSince: string | null): Outcome => ({
    ...stage.done(),
    result: { kind: 'parked', since: 1_600_000_000_000 },
    knownSince,
  })
  assert.is((await stage.run(lane, [parked(since), parked(null)])).kind, 'committed')
  const wanted = [{ tenant: 'acme', after: null, rows: 10 }]
  const { rows } = await stage.ledger.readParked(stage.partition(0).ref, wanted, 1 << 20)
  assert.equal(
    rows.map(({ knownSince }) => knownSince),
    [since, null],
  )
})

test('a dead letter that was brought back runs once beside a copy that runs again', async () => {
  const id = randomUUID()
  const failure = { reason: 'handler', errorClass: '', message: '', stack: '', kind: 'permanent' } as const
  assert.is((await stage.run(lane, [stage.failed({ id }, failure)])).kind, 'committed')
  const since = await now()
  const held: Outcome = { ...stage.done({ id, effects: [row('effects', { tenant_id: 'acme', what: id })] }) }
  const at = { generation: 0, topicId: stage.partition(0).ref.topicId, partition: 0, replays: 1, holdsKey: true }
  assert.is(
    (await stage.run(lane, [{ ...held, result: { kind: 'parked', since: 1_600_000_000_000 } }])).kind,
    'committed',
  )
  assert.is((await stage.run(lane, [{ ...held, row: at }])).kind, 'committed')
  assert.equal(await checked([does(id, since)]), [0])
  assert.is(await effects(id), 1)
})

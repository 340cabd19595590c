import { randomUUID } from 'node:crypto'
import * as assert from 'uvu/assert'
import type { PostgresLane } from '../../core/postgres/lane.ts'
import type { Commit, CommitResult, Outcome } from '../../core/postgres/transactions.ts'
import { after, before, test } from '../harness.ts'
import { LaneStage, row, throughFrame } from './lane-stage.ts'

// A message's effects land once: its key is (group, tenant, id), and whoever comes second is told.

let stage: LaneStage
let lane: PostgresLane

before(async () => {
  stage = await LaneStage.create((sql) => sql`create table effects (tenant_id text, what text)`)
  lane = await stage.lane()
})

after(() => stage.end())

function does(what: string, id: string, tenant = 'acme', partition = 0): Outcome {
  return stage.done({ tenant, partition, id, effects: [row('effects', { tenant_id: tenant, what })] })
}

async function effects(what: string): Promise<number> {
  return (await stage.sql`select from effects where what = ${what}`).length
}

/** Commits by asking first; returns what was a duplicate. What comes `after` one is left out, as the engine does. */
async function checked(outcomes: readonly Outcome[], left: readonly number[] = []): Promise<readonly number[]> {
  const commit = stage.commit(outcomes)
  let found: readonly number[] = []
  const settle = (duplicates: readonly number[]): Commit => {
    found = duplicates
    const kept = commit.outcomes.flatMap((outcome, place): Outcome[] => {
      if (left.includes(place)) return []
      if (!duplicates.includes(place)) return [outcome]
      return [{ ...outcome, result: { kind: 'duplicate', messageId: '', type: '', traceId: '' } }]
    })
    return { ...commit, outcomes: kept }
  }
  const result = await lane.commit(commit, { kind: 'checked', settle })
  assert.is(result.kind, 'committed')
  stage.moved(commit)
  return found
}

const v4 = () => randomUUID()
/** An id that carries a time. */
const at = (ms: number) => {
  const time = ms.toString(16).padStart(12, '0')
  return `${time.slice(0, 8)}-${time.slice(8)}-7${randomUUID().slice(15)}`
}
const day = 86_400_000
const midnight = Math.floor(Date.now() / day) * day

for (const [what, first, second] of [
  ['a random id', v4, (id: string) => id],
  ['another spelling of its UUID', v4, (id: string) => `{${id.toUpperCase()}}`],
  ['an id of the last millisecond of a day', () => at(midnight - 1), (id: string) => id],
  ['an id of the first millisecond of a day', () => at(midnight), (id: string) => id],
  ['an id of a day for which there is no partition', () => at(midnight - 400 * day), (id: string) => id],
  ['an id of the far future', () => at(midnight + 4_000 * day), (id: string) => id],
  ['an id that is no UUID', () => `order ${randomUUID()}`, (id: string) => id],
] as const) {
  test(`a message is recognised by ${what}, whether the lane bets or asks, and whether it came in a frame`, async () => {
    const id = first()
    for (const through of [(outcomes: readonly Outcome[]) => outcomes, throughFrame]) {
      const own = `${id}`
      assert.is((await stage.run(lane, through([does(own, own, `${through === throughFrame}`)]))).kind, 'committed')
      const copy = () => through([does(own, second(own), `${through === throughFrame}`)])
      assert.is((await stage.run(lane, copy())).kind, 'duplicates')
      assert.equal(await checked(copy()), [0])
      assert.equal(await checked([...copy(), does(`new ${own}`, v4())]), [0])
    }
    assert.equal([await effects(id), await effects(`new ${id}`)], [2, 2])
  })
}

test('a key stays known when its day gets a partition of its own', async () => {
  const time = midnight - 300 * day
  const id = at(time)
  assert.is((await stage.run(lane, [does(id, id)])).kind, 'committed')
  await stage.sql`select sys.fn_create_key_day(${time / day})`
  assert.is((await stage.run(lane, [does(id, id)])).kind, 'duplicates')
  assert.equal(await checked([does(id, id)]), [0])
  assert.is(await effects(id), 1)
})

test('one id of two tenants is two messages, of one tenant in one commit the first and a copy', async () => {
  const id = v4()
  assert.is((await stage.run(lane, [does(id, id, 'one'), does(id, id, 'two')])).kind, 'committed')
  const other = v4()
  const twice = [does(other, other, 'one'), does(other, other, 'one', 1), does(other, other, 'two')]
  assert.is((await stage.run(lane, twice)).kind, 'duplicates')
  assert.equal(await checked(twice), [1])
  assert.equal([await effects(id), await effects(other)], [2, 2])
})

test('two lanes that commit one message at the same time: one of them does it', async () => {
  const second = await stage.lane()
  for (let round = 0; round < 20; round++) {
    const ids = [v4(), v4(), v4()]
    const commits = [0, 1].map((partition) =>
      stage.commit((partition === 0 ? ids : ids.toReversed()).map((id) => does(ids[0] ?? '', id, 'acme', partition))),
    )
    const results = await Promise.all(
      [lane, second].map(async (each, i): Promise<CommitResult> => {
        const commit = commits[i]
        if (commit === undefined) throw new RangeError('two lanes, two commits')
        const result = await each.commit(commit, { kind: 'optimistic' })
        if (result.kind === 'committed') stage.moved(commit)
        return result
      }),
    )
    assert.equal(results.map(({ kind }) => kind).sort(), ['committed', 'duplicates'], JSON.stringify(results))
    assert.is(await effects(ids[0] ?? ''), 3)
  }
})

test('a message that is left out of its commit leaves no key behind', async () => {
  const [known, later] = [v4(), v4()]
  assert.is((await stage.run(lane, [does(known, known)])).kind, 'committed')
  // What the instance did after the duplicate rests on a state that never was: it is left out, and runs again.
  assert.equal(await checked([does(known, known), does(later, later)], [1]), [0])
  assert.is(await effects(later), 0)
  assert.is((await stage.run(lane, [does(later, later)])).kind, 'committed', 'it is no duplicate of itself')
  assert.is(await effects(later), 1)
})

test('messages of offset mode have no keys, and are never a duplicate', async () => {
  const before = (await stage.sql`select from sys.request_keys`).length
  for (const through of [(outcomes: readonly Outcome[]) => outcomes, throughFrame]) {
    const outcome = stage.done({ id: null, effects: [row('effects', { tenant_id: 'acme', what: 'offset' })] })
    for (let times = 0; times < 2; times++) assert.is((await stage.run(lane, through([outcome]))).kind, 'committed')
  }
  assert.is(await effects('offset'), 4)
  assert.is((await stage.sql`select from sys.request_keys`).length, before)
})

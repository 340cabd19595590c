import * as assert from 'uvu/assert'
import { after, before, test } from '../harness.ts'
import { commitsWaiting, eventually } from '../services.ts'
import { LaneStage, row } from './lane-stage.ts'

// A commit is of those partitions only that nobody has moved on since: all of it, or nothing.

let stage: LaneStage

before(async () => {
  stage = await LaneStage.create((sql) => sql`create table effects (tenant_id text, what text)`)
})

after(() => stage.end())

function does(what: string, partition: number) {
  return stage.done({ partition, effects: [row('effects', { tenant_id: 'acme', what })] })
}

async function effects(what: string): Promise<number> {
  return (await stage.sql`select from effects where what = ${what}`).length
}

test('a fence names every partition that another owner has taken, and nothing of the commit happens', async () => {
  const lane = await stage.lane()
  const before = stage.owned.map((owned) => ({ ...owned }))
  const commit = stage.commit([0, 1, 2, 3].map((partition) => does('fenced', partition)))
  for (const partition of [1, 3]) await stage.takeOver({ ...stage.partition(partition) })
  assert.equal(await lane.commit(commit, { kind: 'optimistic' }), { kind: 'fenced', partitions: [1, 3] })
  assert.is(await effects('fenced'), 0)
  const [last] = await stage.sql`
    select max(seq)::int as seq from sys.partition_progress where partition = 0`
  assert.is(last?.['seq'], before[0]?.seq)
  // The same without them goes through at once, on the same connection.
  assert.is((await stage.run(lane, [does('rest', 0), does('rest', 2)])).kind, 'committed')
  assert.is(await effects('rest'), 2)
  await stage.takeAllOver()
})

test('a commit that was asked first, and finds itself fenced, changes nothing either', async () => {
  const lane = await stage.lane()
  const commit = stage.commit([does('asked', 0), does('asked', 1)])
  await stage.takeOver({ ...stage.partition(1) })
  let settled = false
  const result = await lane.commit(commit, {
    kind: 'checked',
    settle: () => {
      settled = true
      return commit
    },
  })
  assert.equal(result, { kind: 'fenced', partitions: [1] })
  assert.is(settled, false)
  assert.is(await effects('asked'), 0)
  await stage.takeAllOver()
})

test('two commits that follow the same one: one of them is fenced, whoever comes first', async () => {
  const lanes = [await stage.lane(), await stage.lane()]
  const results = await Promise.all(
    lanes.map((lane) => lane.commit(stage.commit([does('twins', 0)]), { kind: 'optimistic' })),
  )
  assert.equal(results.map(({ kind }) => kind).sort(), ['committed', 'fenced'])
  assert.is(await effects('twins'), 1)
  await stage.takeAllOver()
})

test('an owner that comes back after a takeover changes nothing, however often it tries', async () => {
  const lane = await stage.lane()
  const zombie = stage.owned.map((owned) => ({ ...owned }))
  await stage.takeAllOver()
  for (let tries = 0; tries < 3; tries++) {
    const result = await lane.commit(stage.commit([does('zombie', 2)], zombie), { kind: 'optimistic' })
    assert.equal(result, { kind: 'fenced', partitions: [0] })
  }
  assert.is((await stage.run(lane, [does('successor', 2)])).kind, 'committed')
  assert.equal([await effects('zombie'), await effects('successor')], [0, 1])
})

test('a takeover waits for the commit that is under way, and then knows of it', async () => {
  const lane = await stage.lane({ limits: { lockTimeoutMs: 5_000 } })
  const owned = stage.partition(0)
  const blocker = await stage.sql.reserve()
  await blocker`begin`
  await blocker`lock table effects in access exclusive mode`
  const commit = stage.commit([does('under way', 0)])
  const committing = lane.commit(commit, { kind: 'optimistic' })
  await eventually(async () => (await commitsWaiting(stage.sql)) > 0, {
    what: 'a commit that has its fence and waits for the table',
  })
  const taking = stage.ledger.takeOver(owned.ref)
  await blocker`rollback`
  blocker.release()
  assert.is((await committing).kind, 'committed')
  const taken = await taking
  assert.equal(
    [taken.epoch, taken.seq, taken.watermark],
    [owned.epoch + 1, owned.seq + 2, owned.watermark + 1],
    'it comes after the commit, and has its watermark',
  )
  await stage.takeOver(owned)
})

test('a failover that gives the same epoch and seq out again lets nobody commit whom it had lost', async () => {
  const lane = await stage.lane()
  const { ref } = stage.partition(0)
  const [first = 0] = (
    await stage.sql<{ seq: number }[]>`select max(seq)::int as seq from sys.partition_progress where partition = 0`
  ).map(({ seq }) => seq)
  assert.is((await stage.run(lane, [does('before', 0)])).kind, 'committed')
  const lost = { ...(await stage.takeOver({ ...stage.partition(0) })) }
  // A standby is promoted that has neither the commit nor the raise. Who owns the partition now has committed something else.
  await stage.sql`delete from sys.partition_progress where partition = 0 and seq > ${first}`
  await stage.sql`delete from effects where what = 'before'`
  await stage.takeOver(stage.partition(0))
  assert.is((await stage.run(lane, [does('after', 0)])).kind, 'committed')
  const now = stage.partition(0)
  assert.equal([now.epoch, now.seq], [lost.epoch, lost.seq])
  const commit = stage.commit([does('lost', 0)], [lost])
  assert.equal(await lane.commit(commit, { kind: 'optimistic' }), { kind: 'fenced', partitions: [0] })
  assert.equal(await lane.resolve(commit), { kind: 'not-committed', moved: [0] })
  assert.equal([await effects('lost'), await effects('after')], [0, 1])
  await stage.ledger.acceptOffset(ref, lost, 0)
  assert.is((await stage.run(lane, [does('still', 0)])).kind, 'committed')
})

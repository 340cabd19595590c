import { randomUUID } from 'node:crypto'
import * as assert from 'uvu/assert'
import type { Failure } from '../../core/effects.ts'
import type { PostgresLane } from '../../core/postgres/lane.ts'
import type { Outcome } from '../../core/postgres/transactions.ts'
import { after, before, test } from '../harness.ts'
import { LaneStage } from './lane-stage.ts'

// Failed attempts are kept in the commits of the partition's owner, found by the next one, and go with the outcome.

let stage: LaneStage
let lane: PostgresLane

before(async () => {
  stage = await LaneStage.create(async () => {})
  lane = await stage.lane()
  // What is to be tried again is above the watermark, which the stage raises by one with each commit.
  for (let i = 0; i < 20; i++) stage.done()
})

after(() => stage.end())

const failure: Failure = { reason: 'handler', errorClass: 'E\0', message: 'no\0 "{', stack: '', kind: 'transient' }
const firstFailedAt = 1_700_000_000_123

/** The attempt after `attempts` others at what `outcome` is about has failed. */
function retried(outcome: Outcome, attempts: number): Outcome {
  const result = {
    kind: 'retried',
    attempts: attempts + 1,
    failure,
    type: 'go',
    traceId: '',
    messageId: 'm',
    retryAt: firstFailedAt + 5,
  } as const
  return { ...outcome, result, attempts, firstFailedAt, retried: attempts > 0 }
}

test('attempts are counted, found by the next owner, and gone with the outcome', async () => {
  const outcome = stage.done()
  assert.is((await stage.run(lane, [retried(outcome, 0)])).kind, 'committed')
  // PostgreSQL was away meanwhile: two attempts in one commit.
  assert.is((await stage.run(lane, [retried(outcome, 1), retried(outcome, 2)])).kind, 'committed')
  const { offset } = outcome.record
  const found = await stage.ledger.takeOver(stage.partition(0).ref)
  assert.equal(found.retries, [{ offset, attempts: 3, firstFailedAt }])
  Object.assign(stage.partition(0), found)
  const other = await stage.ledger.takeOver(stage.partition(1).ref)
  assert.equal(other.retries, [], "another partition's are not found")
  Object.assign(stage.partition(1), other)
  assert.is((await stage.run(lane, [{ ...outcome, attempts: 3, firstFailedAt, retried: true }])).kind, 'committed')
  assert.equal((await stage.ledger.takeOver(stage.partition(0).ref)).retries, [])
  await stage.takeAllOver()
})

test('attempts at a record that was passed over are forgotten by the next owner', async () => {
  const outcome = stage.done()
  assert.is((await stage.run(lane, [retried(outcome, 0)])).kind, 'committed')
  stage.partition(0).watermark = outcome.record.offset + 1
  assert.is((await stage.run(lane, [stage.done()])).kind, 'committed')
  assert.equal((await stage.takeOver(stage.partition(0))).watermark > outcome.record.offset, true)
  assert.equal([...(await stage.sql`select * from sys.retries`)], [])
})

test('attempts at records of a topic that was made anew are forgotten by who takes over what it left', async () => {
  const [old, heir] = [randomUUID(), randomUUID()]
  for (const [topicId, count] of [
    [old, 2],
    [heir, 1],
  ] as const) {
    const starts = Array.from({ length: count }, (_, partition) => ({ group: 'g', topic: 'anew', topicId, partition }))
    const from = starts.map((ref) => ({ ref, position: 0 }))
    await stage.ledger.begin('g', 'anew', topicId, 'cluster', count, from)
  }
  await stage.sql`
    insert into sys.retries
    select 'g', topic_id, partition, 7, 'acme', 'a', '', '', 1, now(), now(), now(), '', '', ''
    from unnest(${[old, old, heir]}::uuid[], array[0, 1, 0]) as given (topic_id, partition)`
  const { retries } = await stage.ledger.takeOver({ group: 'g', topic: 'anew', topicId: heir, partition: 0 })
  assert.is(retries.length, 1)
  assert.equal([...(await stage.sql`select topic_id from sys.retries`)], [{ topic_id: heir }])
  await stage.sql`delete from sys.retries`
})

test('an attempt and the outcome in one commit leave nothing', async () => {
  const outcome = stage.done()
  assert.is(
    (await stage.run(lane, [retried(outcome, 0), { ...outcome, attempts: 1, retried: true }])).kind,
    'committed',
  )
  assert.equal([...(await stage.sql`select * from sys.retries`)], [])
})

test('a dead letter says when it failed first, and how often', async () => {
  const letter = { ...stage.failed({}, failure), attempts: 3, firstFailedAt, retried: true }
  assert.is((await stage.run(lane, [letter])).kind, 'committed')
  const [row] = await stage.sql`
    select attempts, (extract(epoch from first_failed_at) * 1000)::bigint::text as first_failed_at,
      failed_at > first_failed_at as later
    from sys.dead_letters`
  assert.equal({ ...row }, { attempts: 4, first_failed_at: String(firstFailedAt), later: true })
})

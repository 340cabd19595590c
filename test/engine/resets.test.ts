import * as assert from 'uvu/assert'
import { test } from '../harness.ts'
import { EngineStage } from './engine-stage.ts'

// What an operator decides about a partition, as its owner meets it.

const since = '2026-11-26 01:50:46.123456+00'

test('records below the end of what had run run again, and those after it do not', async () => {
  const stage = new EngineStage()
  stage.rerun = { to: 2, since }
  await stage.assign()
  await stage.send(['a', 'b', 'a', 'b'])
  assert.equal(
    [...stage.again],
    [
      [0, since],
      [1, since],
    ],
  )
  const known = new Map(stage.outcomes.map(({ record, knownSince }) => [record.offset, knownSince]))
  assert.equal(
    [0, 1, 2, 3].map((offset) => known.get(offset)),
    [since, since, null, null],
  )
})

test('a record that is parked when it is to run again does so when it is fed back', async () => {
  const stage = new EngineStage({ settings: { mailboxMaxRecords: 1 } })
  stage.rerun = { to: 4, since }
  await stage.assign()
  stage.failures.set(0, 1)
  await stage.send(['a', 'a', 'a', 'a', 'a'], 0, 0)
  assert.ok(stage.parked.length > 0)
  await stage.clock.pass(10_000)
  assert.is(stage.parked.length, 0)
  const done = stage.outcomes.filter(({ result }) => result.kind === 'done')
  assert.equal(
    done.map(({ record, knownSince }) => [record.offset, knownSince]),
    [0, 1, 2, 3].map((offset): (string | number | null)[] => [offset, since]).concat([[4, null]]),
  )
})

test("a partition that has stopped goes on where an operator says, once the group's coordinator has confirmed its owner", async () => {
  const stage = new EngineStage()
  await stage.assign()
  await stage.send(['a'])
  stage.outOfRange(1, 50, 60)
  assert.match(
    stage.reasons.join(),
    /tenantry offsets reset --group g --topic t --partition 0 --reason WHY --to earliest --skip/,
  )
  await stage.clock.pass(60_000)
  assert.match(stage.reasons.join(), /outside the log/, 'nobody has decided')

  let confirmed = 0
  stage.commitOffsets = async () => {
    confirmed++
    return 'committed'
  }
  stage.movedOn()
  await stage.clock.pass(4_000)
  assert.equal(stage.reasons, [])
  assert.ok(confirmed > 0)
  await stage.send(['a'])
  assert.equal(stage.committed, ['a/0:done', 'a/0:done'])
})

test('a log that was cut off is gone on with at its end', async () => {
  const stage = new EngineStage()
  await stage.assign()
  stage.outOfRange(70, 50, 60)
  assert.match(stage.reasons.join(), /--to latest --skip/)
})

for (const [kafka, why] of [
  [1, 'set back with another tool'],
  [9, 'set on with another tool'],
  [undefined, 'deleted, or expired'],
] as const) {
  test(`Kafka's offset is the watermark again where it was ${why}, and nothing more comes`, async () => {
    const stage = new EngineStage()
    stage.watermark = 2
    stage.writtenOffset = 2
    stage.groupOffset = kafka
    let commits = 0
    stage.commitOffsets = async (offsets) => {
      commits++
      stage.groupOffset = offsets[0]?.offset
      return 'committed'
    }
    await stage.assign()
    await stage.clock.pass(10_000)
    assert.equal([stage.groupOffset, commits], [2, 1])
  })
}

test("what was written to Kafka for a commit that a failover of PostgreSQL lost is not left as the group's offset", async () => {
  const stage = new EngineStage({ onForeignOffset: 'stop' })
  stage.commitOffsets = async (offsets) => {
    stage.groupOffset = offsets[0]?.offset
    return 'committed'
  }
  await stage.assign()
  await stage.send(['a', 'a'])
  await stage.clock.pass(1_000)
  assert.is(stage.groupOffset, 2)
  stage.watermark = 1
  stage.writtenOffset = 1
  stage.answer = () => ({ kind: 'fenced', partitions: [0] })
  await stage.send(['a'])
  stage.answer = (commit) => ({ kind: 'committed', commit })
  await stage.clock.pass(10_000)
  assert.equal([stage.reasons, stage.groupOffset], [[], 1])
})

test("a proof of membership where Kafka has no offset is not taken for somebody else's", async () => {
  const stage = new EngineStage({ onForeignOffset: 'stop' })
  stage.watermark = 2
  stage.writtenOffset = 2
  stage.commitOffsets = async (offsets) => {
    stage.groupOffset = offsets[0]?.offset
    return 'committed'
  }
  stage.raising = () => Promise.reject(new Error('PostgreSQL is away'))
  await stage.assign()
  await stage.clock.pass(10_000)
  assert.is(stage.groupOffset, 2, 'it was proved')
  stage.raising = async () => {}
  await stage.clock.pass(10_000)
  assert.equal([stage.reasons, stage.groupOffset], [[], 2])
})

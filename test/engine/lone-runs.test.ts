import * as assert from 'uvu/assert'
import type { LostOwners } from '../../core/postgres/ownership.ts'
import { test } from '../harness.ts'
import { EngineStage } from './engine-stage.ts'

// A record that ends the whole process each time is found by owners to come, and given up on; nobody else pays for it.

const lost = (count: number, ...suspects: readonly (readonly [offset: number, owners: number])[]): LostOwners => ({
  count,
  givenUp: 0,
  suspects: suspects.map(([offset, owners]) => ({
    topicId: '00000000-0000-4000-8000-000000000001',
    partition: 0,
    offset,
    replays: 0,
    owners,
  })),
})

/** A stage whose partition was found so. */
async function staged(lostOwners: LostOwners, options: ConstructorParameters<typeof EngineStage>[0] = {}) {
  const stage = new EngineStage(options)
  stage.lostOwners = lostOwners
  await stage.assign()
  return stage
}

test('after two lost owners all runs as ever', async () => {
  const stage = await staged(lost(2))
  await stage.send(['a', 'b', 'c'])
  assert.equal([stage.sentTo, stage.lone], [['0:0', '0:1', '0:2'], []])
})

for (const stateful of [false, true]) {
  test(`after three, each record runs alone and is written down before it does${stateful ? ', with state' : ''}`, async () => {
    const stage = await staged(lost(3), { stateful })
    const order: string[] = []
    stage.runAlone = async (offset) => {
      order.push(`noted ${offset}`, `ran ${stage.sentTo.join(' ')}`)
      return true
    }
    await stage.send(['a', 'b', 'a'])
    await stage.clock.pass(0)
    assert.equal([...stage.sentTo].sort(), ['1:0', '1:1', '1:2'])
    assert.is(stage.committed.length, 3)
    const [first, second, third] = stage.sentTo
    const noted = (sent: string | undefined) => `noted ${sent?.slice(2)}`
    assert.equal(order, [noted(first), 'ran ', noted(second), `ran ${first}`, noted(third), `ran ${first} ${second}`])
  })
}

test('nothing is written down as running when all have ended', async () => {
  const stage = await staged(lost(3))
  await stage.send(['a'])
  await stage.clock.pass(2_000)
  assert.equal(stage.lone, [0, -1])
  await stage.clock.pass(5_000)
  assert.equal(stage.lone, [0, -1])
})

test('a record that has cost two owners is a dead letter, has not run, and its tenant goes on', async () => {
  for (const stateful of [false, true]) {
    const stage = await staged(lost(3, [1, 2], [2, 1]), { stateful })
    await stage.send(['a', 'a', 'a', 'b'])
    await stage.clock.pass(0)
    assert.equal([...stage.sentTo].sort(), ['1:0', '1:2', '1:3'])
    assert.equal(stage.deadLetters, ['1: process_lost, attempt 2'])
    assert.is(stage.committed.length, 4)
  }
})

test('after a thousand that have ended, the rest runs together', async () => {
  const stage = await staged(lost(3))
  await stage.send(Array.from({ length: 1_000 }, (_, i) => `t${i % 7}`))
  await stage.clock.pass(0)
  assert.equal([stage.committed.length, stage.trusted], [1_000, [0]])
  stage.sentTo.length = 0
  await stage.send(['t1', 'new'])
  assert.equal(stage.sentTo, ['0:1000', '0:1001'])
  await stage.clock.pass(2_000)
  assert.is(stage.lone.at(-1), -1)
})

test('until it is written down that all may run together, and nothing as running alone, nothing does', async () => {
  const stage = await staged(lost(3), { settings: { trustAfterRecords: 2 } })
  const away = Promise.withResolvers<void>()
  stage.trusting = () => away.promise
  await stage.send(['a', 'b', 'c', 'd'])
  await stage.clock.pass(0)
  assert.equal([stage.sentTo.length, stage.lone.length], [2, 2])
  away.reject(new Error('away'))
  await stage.clock.pass(0)
  assert.equal([stage.sentTo.length, stage.engine.reasons], [2, ['postgres.lone: away']])
  stage.trusting = async () => {}
  await stage.clock.pass(1_000)
  assert.equal([stage.trusted, stage.lone.at(-1), stage.engine.reasons], [[0], -1, []])
  assert.equal([stage.sentTo.slice(2).sort(), stage.committed.length], [['0:2', '0:3'], 4])
})

test('when the rest runs together again, a tenant that waits after a failure goes on waiting', async () => {
  const stage = await staged(lost(3), { settings: { trustAfterRecords: 3 } })
  stage.failures.set(0, 1)
  await stage.send(['a', 'b', 'c', 'd'])
  await stage.clock.pass(500)
  assert.equal([stage.trusted, stage.sentTo], [[0], ['1:0', '1:1', '1:2', '0:3']])
  await stage.clock.pass(500)
  assert.is(stage.sentTo.at(-1), '0:0')
  assert.is(stage.committed.length, 5)
})

test('PostgreSQL away: the record waits until it is written down, and the daemon says why', async () => {
  const stage = await staged(lost(3))
  const away = Promise.withResolvers<boolean>()
  stage.runAlone = () => away.promise
  await stage.send(['a'])
  away.reject(new Error('away'))
  await stage.clock.pass(0)
  assert.equal(stage.engine.reasons, ['postgres.lone: away'])
  assert.equal(stage.sentTo, [])
  stage.runAlone = async () => true
  await stage.clock.pass(1_000)
  assert.equal([stage.sentTo, stage.engine.reasons], [['1:0'], []])
})

test('a record whose partition goes while it is written down does not run', async () => {
  const stage = await staged(lost(3))
  const noted = Promise.withResolvers<boolean>()
  stage.runAlone = () => noted.promise
  await stage.send(['a'])
  void stage.lose()
  noted.resolve(true)
  await stage.clock.pass(0)
  assert.equal(stage.sentTo, [])
})

test('a record that is another owner’s by now does not keep the extra thread from others', async () => {
  const stage = new EngineStage({ partitions: 2 })
  stage.lostOwners = lost(3)
  await stage.assign()
  stage.answer = (commit) =>
    commit.partitions[0]?.ref.partition === 0 ? { kind: 'fenced', partitions: [0] } : { kind: 'committed', commit }
  stage.runAlone = async () => false
  await stage.send(['a'])
  stage.runAlone = async () => true
  await stage.send(['b'], 1)
  assert.equal(stage.sentTo, ['1:0'])
})

test('while another partition is in doubt and runs together, nothing is blamed', async () => {
  const stage = new EngineStage({ partitions: 2 })
  stage.lostOwners = lost(3)
  await stage.assign(0)
  stage.lostOwners = lost(1)
  await stage.assign(1)
  await stage.send(['a'])
  await stage.clock.pass(0)
  assert.equal([stage.sentTo, stage.lone], [['1:0'], []])
  await stage.lose(1)
  await stage.send(['a'])
  await stage.clock.pass(0)
  assert.equal([stage.sentTo, stage.lone], [['1:0', '1:1'], [1]])
})

test('when a partition in doubt comes, what was written down as running is not blamed any more', async () => {
  const stage = new EngineStage({ partitions: 2 })
  stage.lostOwners = lost(3)
  await stage.assign(0)
  stage.mute = true
  await stage.send(['a'])
  assert.equal([stage.sentTo, stage.lone], [['1:0'], [0]])
  stage.lostOwners = lost(1)
  await stage.assign(1)
  assert.equal(stage.lone, [0, -1])
})

test('one that comes while a record is written down keeps that from being blamed, too', async () => {
  const stage = new EngineStage({ partitions: 2 })
  stage.lostOwners = lost(3)
  await stage.assign(0)
  const noted = Promise.withResolvers<boolean>()
  stage.runAlone = () => noted.promise
  await stage.send(['a'])
  stage.lostOwners = lost(1)
  await stage.assign(1)
  noted.resolve(true)
  await stage.clock.pass(0)
  assert.equal([stage.sentTo, stage.lone], [['1:0'], [-1]])
})

test('a record that ends the extra thread three times is a dead letter, too', async () => {
  const stage = await staged(lost(3))
  stage.killers.add(1)
  await stage.send(['a', 'b', 'c'])
  await stage.clock.pass(0)
  assert.is(stage.committed.length, 3)
  assert.equal(
    stage.committed.filter((one) => one.endsWith('failed')),
    ['b/1:failed'],
  )
  assert.equal(stage.losses, [1, 1, 1, 1], 'the first time after another’s record')
})

test('what ended with the extra thread is not written down as running', async () => {
  const stage = await staged(lost(3))
  stage.killers.add(0)
  await stage.send(['a'])
  await stage.clock.pass(2_000)
  assert.equal(stage.committed, ['a/0:failed'])
  assert.is(stage.lone.at(-1), -1)
})

test('whoever gives a partition back says so: revoked, lost or drained', async () => {
  const revoked = await staged(lost(0))
  void revoked.revoke()
  await revoked.clock.pass(0)
  const away = await staged(lost(0))
  await away.lose()
  const drained = await staged(lost(0))
  const draining = drained.engine.drain(1_000)
  await drained.clock.pass(2_000)
  await draining
  assert.equal([revoked.givenBack, away.givenBack, drained.givenBack], [[0], [0], [0]])
})

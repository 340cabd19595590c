import * as assert from 'uvu/assert'
import { test } from '../harness.ts'
import { EngineStage } from './engine-stage.ts'

// A handler that fails is tried again after 1, 2 and 5 seconds; only its own tenant waits, and its order holds.

test('a record that fails four times becomes a dead letter after 8 seconds, before its successors', async () => {
  const stage = new EngineStage()
  await stage.assign()
  stage.failures.set(0, 4)
  await stage.send(['sick', 'well', 'sick'])
  assert.equal(stage.committed, ['sick/0:retried', 'well/1:done'])
  await stage.clock.pass(999)
  assert.is(stage.dispatched.filter(({ offset }) => offset === 0).length, 1, 'not before its time')
  await stage.clock.pass(1)
  assert.is(stage.dispatched.filter(({ offset }) => offset === 0).length, 2)
  await stage.clock.pass(2_000 + 4_999)
  assert.is(stage.dispatched.filter(({ offset }) => offset === 0).length, 3)
  assert.not.ok(stage.committed.includes('sick/2:done'), 'its successor waits')
  await stage.clock.pass(1)
  assert.equal(stage.committed.slice(2), ['sick/0:retried', 'sick/0:retried', 'sick/0:failed', 'sick/2:done'])
  const letter = stage.outcomes.find(({ result }) => result.kind === 'failed')
  assert.is(letter?.attempts, 3, 'failed before the last')
  assert.is(letter?.retried, true, 'so its kept attempts go')
  assert.is(letter?.firstFailedAt, 1_700_000_000_000 + 86_400_000)
  assert.is(letter?.failedAt, 1_700_000_000_000 + 86_400_000 + 8_000, 'by the same clock')
})

test('a record that comes to itself is processed, in order', async () => {
  const stage = new EngineStage({ stateful: true })
  await stage.assign()
  stage.failures.set(1, 2)
  await stage.send(['a', 'a', 'a'])
  await stage.clock.pass(10_000)
  assert.equal(stage.committed, ['a/0:done', 'a/1:retried', 'a/1:retried', 'a/1:done', 'a/2:done'])
})

test('a new owner counts on', async () => {
  const stage = new EngineStage()
  stage.retries = [{ offset: 0, attempts: 3, firstFailedAt: 1_600_000_000_000 }]
  await stage.assign()
  stage.failures.set(0, 1)
  await stage.send(['a', 'a'])
  assert.equal(stage.committed, ['a/0:failed', 'a/1:done'], 'the fourth attempt was its last')
  const [letter] = stage.outcomes
  assert.equal([letter?.attempts, letter?.firstFailedAt, letter?.retried], [3, 1_600_000_000_000, true])
})

test('what is never to be tried again is not', async () => {
  const stage = new EngineStage()
  await stage.assign()
  stage.failsAt = 0
  await stage.send(['a'])
  assert.equal(stage.committed, ['a/0:failed'])
})

test('a message type has pauses of its own', async () => {
  const stage = new EngineStage({ retry: { delaysMs: [1_000], byType: new Map([['go', [100, 100]]]), jitter: 0 } })
  await stage.assign()
  stage.failures.set(0, 9)
  await stage.send(['a'])
  await stage.clock.pass(200)
  assert.equal(stage.committed, ['a/0:retried', 'a/0:retried', 'a/0:failed'])
})

test('a drain waits for nobody that waits, and keeps the count', async () => {
  const stage = new EngineStage()
  await stage.assign()
  stage.failures.set(0, 9)
  await stage.send(['a', 'a'])
  const drained = stage.engine.drain(60_000)
  await stage.clock.pass(0)
  assert.equal(await drained, { abandoned: 0 })
  assert.equal(stage.committed, ['a/0:retried'])
})

test('a revoke gives a partition back although a record of it waits', async () => {
  const stage = new EngineStage()
  await stage.assign()
  stage.failures.set(0, 9)
  await stage.send(['a', 'a'])
  await stage.revoke()
  assert.equal(stage.released, [0])
  await stage.clock.pass(5_000)
  assert.is(stage.dispatched.length, 2, 'and nothing of it runs again')
})

import * as assert from 'uvu/assert'
import { test } from '../harness.ts'
import { EngineStage } from './engine-stage.ts'

// Giving partitions up, and stopping, end in time whatever is away.

test('a drain ends at its deadline although Kafka does not answer', async () => {
  const stage = new EngineStage()
  await stage.assign()
  await stage.send(['a', 'b'])
  stage.commitOffsets = () => new Promise(() => {})
  let drained: { abandoned: number } | undefined
  void stage.engine.drain(5_000).then((result) => (drained = result))
  await stage.clock.pass(6_000)
  assert.equal(drained, { abandoned: 0 })
})

test('a drain ends at its deadline although PostgreSQL does not answer, and says what it left', async () => {
  const stage = new EngineStage()
  await stage.assign()
  stage.answer = () => new Promise(() => {})
  await stage.send(['a', 'b'])
  let drained: { abandoned: number } | undefined
  void stage.engine.drain(5_000).then((result) => (drained = result))
  await stage.clock.pass(4_000)
  assert.is(drained, undefined)
  await stage.clock.pass(2_000)
  assert.equal(drained, { abandoned: 2 })
})

test('a partition that is being given up is not taken over anew when its topic is recreated', async () => {
  const stage = new EngineStage()
  await stage.assign()
  stage.answer = () => new Promise(() => {})
  await stage.send(['a'])
  await stage.revoke()
  assert.equal(stage.released, [], 'its commit is under way')
  await stage.topicChanged({ ...stage.description, id: '00000000-0000-4000-8000-000000000002' })
  assert.equal(stage.released, [0])
  await stage.clock.pass(1_000)
  assert.equal(stage.engine.status().partitions, [])
})

test('a partition that cannot commit is released in time all the same', async () => {
  const stage = new EngineStage({ settings: { releaseMs: 3_000 } })
  await stage.assign()
  stage.answer = () => new Promise(() => {})
  await stage.send(['a'])
  await stage.revoke()
  await stage.clock.pass(2_000)
  assert.equal(stage.released, [])
  await stage.clock.pass(2_000)
  assert.equal(stage.released, [0])
})

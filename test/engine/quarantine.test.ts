import * as assert from 'uvu/assert'
import type { CommitResult } from '../../core/postgres/transactions.ts'
import { test } from '../harness.ts'
import { EngineStage, refusal } from './engine-stage.ts'

// A record that ends its thread each time is found, alone, and given up on; nobody else pays for it.

async function staged(options: { stateful?: boolean } = {}): Promise<EngineStage> {
  const stage = new EngineStage(options)
  await stage.assign()
  return stage
}

for (const stateful of [false, true]) {
  test(`of many that executed when threads were lost, only the one that did it each time is given up on${stateful ? ', with state' : ''}`, async () => {
    const stage = await staged({ stateful })
    stage.killers.add(5)
    await stage.send(Array.from({ length: 10 }, (_, i) => `t${i}`))
    await stage.clock.pass(0)
    assert.is(stage.committed.length, 10)
    assert.equal(stage.deadLetters, ['5: worker_crash, attempt 3'])
    assert.equal(stage.losses, [0, 1, 1, 1])
  })
}

test('what had not begun goes on elsewhere at once, while suspects run one at a time on the extra thread', async () => {
  const stage = await staged()
  stage.mute = true
  await stage.send(['a', 'b', 'c', 'a', 'b', 'c'])
  stage.sentTo.length = 0
  const suspects = [
    { mailbox: 1, offset: 0 },
    { mailbox: 2, offset: 1 },
  ]
  stage.engine.workersListener.lost(0, new Error('gone'), suspects)
  stage.engine.workersListener.ready(0)
  await stage.clock.pass(0)
  assert.equal(stage.sentTo, ['0:2', '0:5', '1:0'])
})

test('what waits for its turn on a thread that is lost goes to another that is there', async () => {
  const stage = new EngineStage({ threads: 2, settings: { workerCreditRecords: 2 } })
  await stage.assign()
  stage.mute = true
  await stage.send(['a', 'a', 'a'])
  stage.engine.workersListener.lost(0, new Error('gone'), [])
  await stage.clock.pass(0)
  assert.equal(stage.sentTo, ['0:0', '0:1', '1:0', '1:1'])
})

test('a tenant with a dead letter of that kind stays on the extra thread until a record of its has ended well', async () => {
  const stage = await staged()
  stage.killers.add(0)
  await stage.send(['a'])
  assert.equal(stage.committed, ['a/0:failed'])
  stage.sentTo.length = 0
  stage.failsAt = 1
  await stage.send(['a'])
  await stage.send(['a'])
  assert.equal(stage.sentTo, ['1:1', '1:2'])
  stage.sentTo.length = 0
  await stage.send(['b'])
  await stage.send(['a'])
  assert.equal(stage.sentTo, ['0:3', '0:4'])
  assert.equal(stage.committed, ['a/0:failed', 'a/1:failed', 'a/2:done', 'b/3:done', 'a/4:done'])
  assert.equal(stage.losses, [0, 1, 1, 1])
})

test('while it stays there, its next record has all its chances', async () => {
  const stage = await staged()
  stage.killers.add(0)
  stage.killers.add(1)
  await stage.send(['a', 'a', 'a'])
  await stage.clock.pass(0)
  assert.equal(stage.committed, ['a/0:failed', 'a/1:failed', 'a/2:done'])
  assert.equal(stage.losses, [0, 1, 1, 1, 1, 1, 1])
})

test('a record that ends on the extra thread is no suspect any more, and its tenant goes on elsewhere', async () => {
  const stage = await staged()
  stage.mute = true
  await stage.send(['a', 'a', 'a'])
  stage.engine.workersListener.lost(0, new Error('gone'), [{ mailbox: 1, offset: 1 }])
  stage.engine.workersListener.ready(0)
  stage.sentTo.length = 0
  stage.mute = false
  await stage.clock.pass(0)
  assert.equal(stage.sentTo, ['1:0', '1:1', '0:2'])
  assert.equal(stage.committed, ['a/0:done', 'a/1:done', 'a/2:done'])
})

test('a record whose run was taken back while it held its thread is a suspect all the same', async () => {
  const stage = await staged()
  const { promise, resolve } = Promise.withResolvers<CommitResult>()
  stage.answer = (commit) => (commit.outcomes.length > 0 ? promise : { kind: 'committed', commit })
  await stage.send(['a'])
  stage.mute = true
  await stage.send(['a'])
  stage.answer = (commit) => ({ kind: 'committed', commit })
  resolve({ kind: 'refused', step: 'effect', blame: 'held', failure: refusal('55P03') })
  await stage.clock.pass(0)
  stage.sentTo.length = 0
  stage.engine.workersListener.lost(0, new Error('gone'), [{ mailbox: 1, offset: 1 }])
  stage.engine.workersListener.ready(0)
  await stage.clock.pass(60_000)
  assert.equal(stage.sentTo, ['1:0'])
})

test('the extra thread is ended when it has had nothing to do for a while, and started when it is needed again', async () => {
  const stage = await staged()
  stage.killers.add(0)
  await stage.send(['a', 'a'])
  await stage.clock.pass(1_000)
  stage.extra.length = 0
  await stage.clock.pass(60_000)
  assert.equal(stage.extra, ['closed'])
  stage.killers.add(2)
  await stage.send(['a'])
  assert.is(stage.committed.at(-1), 'a/2:failed')
})

test('a loss that nobody is to blame for costs nobody a chance', async () => {
  const stage = await staged()
  stage.mute = true
  await stage.send(['a'])
  for (let i = 0; i < 5; i++) {
    stage.engine.workersListener.lost(0, new Error('gone'), [])
    stage.engine.workersListener.ready(0)
    await stage.clock.pass(0)
  }
  stage.mute = false
  stage.engine.workersListener.lost(0, new Error('gone'), [])
  stage.engine.workersListener.ready(0)
  await stage.clock.pass(0)
  assert.equal(stage.committed, ['a/0:done'])
})

import * as assert from 'uvu/assert'
import { test } from '../harness.ts'
import { EngineStage } from './engine-stage.ts'

// What an actor calls happens outside of every commit: a copy must not be handled while its original is not committed.

/** Offsets as workers were sent them, when record 1 of four failed and nothing is committed yet, and after the commit. */
async function afterFailure(calls: boolean): Promise<readonly (readonly number[])[]> {
  const stage = new EngineStage({ calls })
  await stage.assign()
  const { promise, resolve } = Promise.withResolvers<void>()
  stage.answer = async (commit) => {
    await promise
    return { kind: 'committed', commit }
  }
  stage.failsAt = 1
  await stage.send(['a', 'a', 'a', 'a'])
  const before = stage.dispatched.map(({ offset }) => offset)
  resolve()
  await stage.clock.pass(0)
  await stage.clock.pass(0)
  assert.equal(stage.committed, ['a/0:done', 'a/1:failed', 'a/2:done', 'a/3:done'])
  return [before, stage.dispatched.map(({ offset }) => offset)]
}

test('the next run of an actor with dependencies begins when what the last one decided is committed', async () => {
  assert.equal(await afterFailure(true), [
    [0, 1, 2, 3],
    [0, 1, 2, 3, 2, 3],
  ])
})

test('an actor without dependencies goes on at once', async () => {
  assert.equal(await afterFailure(false), [
    [0, 1, 2, 3, 2, 3],
    [0, 1, 2, 3, 2, 3],
  ])
})

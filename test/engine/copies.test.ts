import * as assert from 'uvu/assert'
import { test } from '../harness.ts'
import { EngineStage } from './engine-stage.ts'

// A copy is a duplicate of what is committed, or is committed with it.

test('a copy of what a commit takes back is not its duplicate', async () => {
  const stage = new EngineStage({ stateful: true, partitions: 2 })
  await stage.assign()
  // Records 1 and 2 have one message.
  stage.keyOf = (offset) => ({ uuid: offset === 0 ? 'known' : 'twice', day: 0 })
  const { promise, resolve } = Promise.withResolvers<void>()
  let commits = 0
  stage.answer = async (commit) => {
    if (commits++ === 0) return { kind: 'duplicates' }
    await promise
    return { kind: 'committed', commit }
  }
  // The next commits ask for the keys first; while the first of them is under way, the rest is decided.
  await stage.send(['other', 'other'], 1)
  await stage.send(['a', 'a'], 0)
  await stage.send(['a'], 1)
  let asked = 0
  stage.copies = ({ outcomes }) => {
    if (asked++ > 0) return []
    assert.equal(
      outcomes.map(({ tenant, record }) => `${tenant}/${record.offset}`),
      ['a/0', 'a/1', 'a/2'],
    )
    return [0, 2]
  }
  resolve()
  await stage.clock.pass(1_000)
  assert.equal(
    stage.committed.filter((one) => one.startsWith('a/')).toSorted(),
    ['a/0:duplicate', 'a/1:done', 'a/2:done'],
    'both run again, and PostgreSQL is asked again which comes first',
  )
})

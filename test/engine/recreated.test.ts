import * as assert from 'uvu/assert'
import { test } from '../harness.ts'
import { EngineStage } from './engine-stage.ts'

// A topic that was made anew, by its id alone.

test('a partition that is assigned because its topic was made anew is taken over under the new id', async () => {
  const stage = new EngineStage()
  const begun: string[] = []
  const { answer } = stage
  stage.answer = (commit) => {
    begun.push(...commit.partitions.map(({ ref }) => ref.topicId))
    return answer(commit)
  }
  await stage.assign()
  await stage.send(['a'])
  const before = stage.description
  await stage.lose()
  stage.description = { ...before, id: '00000000-0000-4000-8000-000000000002' }
  await stage.assign()
  await stage.send(['a'])
  assert.equal([...new Set(begun)], [before.id, stage.description.id])
})

import * as assert from 'uvu/assert'
import fc from 'fast-check'
import { test } from '../harness.ts'
import { Progress } from '../../supervisors/progress.ts'

test('a contiguous run of records moves the watermark and leaves nothing ahead', () => {
  const progress = new Progress(10)
  progress.add(10, 11)
  progress.add(11, 12)
  assert.is(progress.watermark, 12)
  assert.equal(progress.ahead, [])
})

test('what is done above a hole stays ahead until the hole is filled', () => {
  const progress = new Progress(0)
  progress.add(3, 4)
  progress.add(1, 2)
  assert.is(progress.watermark, 0)
  assert.equal(progress.ahead, [
    [1, 2],
    [3, 4],
  ])
  progress.add(0, 1)
  assert.is(progress.watermark, 2)
  progress.add(2, 3)
  assert.is(progress.watermark, 4)
  assert.equal(progress.ahead, [])
})

test('a copy does not see what is added to the original', () => {
  const progress = new Progress(0, [[5, 9]])
  const copy = progress.copy()
  progress.add(0, 5)
  assert.is(progress.watermark, 9)
  assert.is(copy.watermark, 0)
  assert.equal(copy.ahead, [[5, 9]])
})

test('for any order of additions it equals a set of positions', () => {
  const range = fc.tuple(fc.nat(60), fc.integer({ min: 1, max: 8 }))
  fc.assert(
    fc.property(fc.array(range, { maxLength: 40 }), (ranges) => {
      const progress = new Progress(0)
      const done = new Set<number>()
      for (const [from, length] of ranges) {
        progress.add(from, from + length)
        for (let position = from; position < from + length; position++) done.add(position)
      }
      let watermark = 0
      while (done.has(watermark)) watermark++
      assert.is(progress.watermark, watermark)
      for (let position = 0; position < 80; position++) assert.is(progress.has(position), done.has(position))
      let end = watermark
      for (const [from, to] of progress.ahead) {
        assert.ok(from > end && to > from, 'ranges are ascending, apart and not empty')
        end = to
      }
      assert.is(progress.end, end)
    }),
  )
})

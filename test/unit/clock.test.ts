import * as assert from 'uvu/assert'
import { backOffMs } from '../../core/clock.ts'
import { test } from '../harness.ts'

test('a wait doubles with each failure in a row, and never passes its longest', () => {
  const limits = { first: 200, most: 5_000 }
  const waits = [0, 1, 2, 3, 5, 6, 7, 10_000].map((failures) => backOffMs(failures, limits))
  assert.equal(waits, [200, 200, 400, 800, 3_200, 5_000, 5_000, 5_000])
})

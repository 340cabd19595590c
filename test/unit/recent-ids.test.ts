import fc from 'fast-check'
import * as assert from 'uvu/assert'
import { RecentIds } from '../../actors/recent-ids.ts'
import { test } from '../harness.ts'

test('the last ones are known, and none that is twice as long ago', () => {
  const ids = fc.array(fc.nat(30).map(String), { maxLength: 200 })
  fc.assert(
    fc.property(ids, fc.integer({ min: 1, max: 20 }), (all, limit) => {
      const recent = new RecentIds(limit)
      for (const id of all) recent.add(id)
      for (const id of all.slice(-limit)) assert.ok(recent.has(id))
      const different = [...new Set(all.toReversed())]
      for (const id of different.slice(2 * limit)) assert.not(recent.has(id))
    }),
  )
})

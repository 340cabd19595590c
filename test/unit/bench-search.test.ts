import * as assert from 'uvu/assert'
import { missed } from '../../bench/objectives.ts'
import { highestThatHolds } from '../../bench/search.ts'
import { test } from '../harness.ts'

const bounds = { first: 1_000, least: 100, most: 200_000, within: 0.05 }

/** Rates that were tried, and the result, where all up to `limit` hold. */
async function searched(limit: number, options = bounds) {
  const tried: number[] = []
  const found = await highestThatHolds(options, (rate) => {
    tried.push(rate)
    return Promise.resolve(rate <= limit)
  })
  return { found, tried }
}

test('a search ends just below the rate that does not hold any more, wherever that is', async () => {
  for (const limit of [100, 150, 999, 1_000, 1_001, 16_000, 37_123, 199_999]) {
    const { found, tried } = await searched(limit)
    assert.ok(found !== undefined && found <= limit && limit <= found * 1.05 + 1, `${found} for ${limit}`)
    assert.ok(tried.length <= 16, `${tried.length} tries for ${limit}`)
    assert.is(new Set(tried).size, tried.length)
  }
})

test('a search never goes above a rate that did not hold', async () => {
  const { tried } = await searched(37_123)
  let bad = Number.POSITIVE_INFINITY
  for (const rate of tried) {
    assert.ok(rate < bad)
    if (rate > 37_123) bad = rate
  }
})

test('a search stops at its limits', async () => {
  assert.is((await searched(1e9)).found, 200_000)
  const { found, tried } = await searched(0)
  assert.is(found, undefined)
  assert.is(tried.at(-1), 100)
})

test('objectives are missed at their values, and by figures that are not there', () => {
  assert.equal(missed({ p50: 49.9, p99: 199.9, lag_seconds: 299.9 }), [])
  assert.equal(missed({ p50: 50, p99: 200, lag_seconds: 300 }), ['p50', 'p99', 'lag_seconds'])
  assert.equal(missed({ p50: Number.NaN, p99: 1, lag_seconds: 1 }), ['p50'])
})

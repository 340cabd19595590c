import * as assert from 'uvu/assert'
import { type Change, compare } from '../../bench/compare.ts'
import { rankTest } from '../../bench/rank-test.ts'
import type { RawRun } from '../../bench/raw-run.ts'
import { test } from '../harness.ts'
import { rawRun } from '../fixtures/raw-runs.ts'

const withRates = (rates: readonly number[]) => rates.map((rate_per_second) => rawRun({ rate_per_second }))
const changed = (changes: readonly Change[]) =>
  changes.filter(({ verdict }) => verdict !== 'same').map(({ metric, by, verdict }) => `${metric} ${verdict} by ${by}`)
const rateChanges = (before: readonly number[], after: readonly number[]) =>
  changed(compare(withRates(before), withRates(after)).changes)

test('the rank test gives the probabilities of the tables', () => {
  // All of five above all of five: 2 of the 252 ways to choose five of ten.
  assert.ok(Math.abs(rankTest([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) - 2 / 252) < 1e-12)
  assert.ok(Math.abs(rankTest([1, 2, 3], [4, 5, 6]) - 2 / 20) < 1e-12)
  // 1 and 4 of 1 to 4: rank sums of 5 are the mean, so that all are as far off.
  assert.is(rankTest([1, 4], [2, 3]), 1)
  assert.is(rankTest([7, 7, 7], [7, 7, 7]), 1)
  assert.is(rankTest([], [1]), 1)
  // Equal ones share the mean of their ranks, or it would be 20 of 20.
  assert.ok(Math.abs(rankTest([1, 1, 3], [2, 2, 2]) - 8 / 20) < 1e-12)
})

test('a planted change is found among noise, in its direction, from five runs on by rank', () => {
  const before = [50_000, 51_000, 49_500, 50_300, 50_900]
  assert.equal(
    rateChanges(
      before,
      before.map((rate) => rate * 0.95),
    ),
    ['rate/s worse by rank test'],
  )
  assert.equal(
    rateChanges(
      before,
      before.map((rate) => rate * 1.05),
    ),
    ['rate/s better by rank test'],
  )
})

test('noise is no change, whatever decides', () => {
  assert.equal(rateChanges([50_000, 51_000, 49_500, 50_300, 50_900], [50_100, 49_700, 51_200, 50_500, 49_900]), [])
  // Medians far apart, of values that lie among each other.
  assert.equal(rateChanges([50_000, 60_000, 45_000, 55_000, 52_000], [48_000, 58_000, 57_000, 44_000, 47_000]), [])
  // Sure, and too small to matter.
  assert.equal(rateChanges([50_000, 50_001, 50_002, 50_003, 50_004], [50_100, 50_101, 50_102, 50_103, 50_104]), [])
  assert.equal(rateChanges([50_000, 60_000], [59_000, 70_000]), [])
  assert.equal(rateChanges([50_000], [45_500]), [])
})

test('two runs a side are judged by their ranges, and one by a tolerance', () => {
  assert.equal(rateChanges([50_000, 51_000], [44_000, 45_000]), ['rate/s worse by ranges'])
  assert.equal(rateChanges([50_000, 51_000], [49_500, 49_900]), [])
  assert.equal(rateChanges([50_000], [44_000]), ['rate/s worse by tolerance'])
  assert.equal(rateChanges([50_000], [56_000]), ['rate/s better by tolerance'])
})

test('one lost message is worse, however many runs there are', () => {
  assert.equal(changed(compare([rawRun()], [rawRun({ lost: 1 })]).changes), ['messages gone wrong worse by count'])
})

test('more of what should be less is worse', () => {
  const { changes } = compare([rawRun()], [rawRun({ cpu_seconds_per_million: 30, rss_peak_bytes: 100_000_000 })])
  assert.equal(changed(changes), ['CPU s/M worse by tolerance', 'RSS bytes better by tolerance'])
})

test('runs are set beside runs of their kind only', () => {
  const kinds = [
    rawRun({ driver: 'confluent' }),
    rawRun({ subject: 'kafkajs' }),
    rawRun({ mode: 'offset' }),
    rawRun({ runtime: 'bun' }),
    rawRun({ tenants: 7 }),
    rawRun({ scenario: 'growth', grown: { of: 'keys', at: 10 } }),
    rawRun({ scenario: 'latency', offered_per_second: 1_000 }),
    rawRun({ offered_per_second: 1_000, backlog: { messages: 7 } }),
  ]
  for (const kind of kinds) {
    const { changes, onlyBefore, onlyAfter } = compare([rawRun()], [kind])
    assert.equal([changes.length, onlyBefore.length, onlyAfter.length], [0, 1, 1])
  }
  // Where the warm-up ended, and so how many were measured, is chance.
  assert.is(compare([rawRun()], [rawRun({ messages: 990, warm_up: 110 })]).onlyBefore.length, 0)
})

test('searches are judged by the rate that held, wherever each of them ended, and not by the latency there', () => {
  const search = (offered_per_second: number, objectives_held = true) =>
    rawRun({ offered_per_second, objectives_held, search: [], latency_ms: { p50: offered_per_second / 100, p99: 100 } })
  const of = (before: ReturnType<typeof search>, after: ReturnType<typeof search>) =>
    changed(compare([before], [after]).changes)
  assert.equal(of(search(50_000), search(30_000)), ['highest rate/s worse by tolerance'])
  assert.equal(of(search(50_000), search(47_500)), [])
  assert.equal(of(search(50_000), search(50_000, false)), ['highest rate/s worse by tolerance'])
})

test('what did not come back is worse than what took long, and no worse than what did not either', () => {
  const recovery = (recovered_seconds: number | null) =>
    rawRun({ recovery: [{ kind: 'kill', at_second: 5, over_second: 8, recovered_seconds }] })
  const backlog = (drain_seconds: number | null) => rawRun({ backlog: { messages: 1_000, drain_seconds } })
  const of = (before: RawRun, after: RawRun) => changed(compare([before], [after]).changes)
  assert.equal(of(recovery(10), recovery(null)), ['recovered after s worse by tolerance'])
  assert.equal(of(recovery(null), recovery(100)), ['recovered after s better by tolerance'])
  assert.equal(of(recovery(null), recovery(null)), [])
  assert.equal(of(backlog(10), backlog(null)), ['worked off after s worse by tolerance'])
})

test('what a peer loses is no change of ours', () => {
  const peer = (duplicated: number) => rawRun({ subject: 'kafkajs', duplicated })
  assert.equal(changed(compare([peer(0)], [peer(9)]).changes), [])
})

test('runs that each subject has as many messages for as it does in a while are of one kind, however many those were', () => {
  const paced = (messages: number, rate_per_second: number) => rawRun({ paced: true, messages, rate_per_second })
  assert.equal(changed(compare([paced(1_000_000, 60_000)], [paced(500_000, 40_000)]).changes), [
    'rate/s worse by tolerance',
  ])
})

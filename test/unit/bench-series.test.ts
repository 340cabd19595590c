import * as assert from 'uvu/assert'
import { Messages } from '../../bench/content.ts'
import { boundsOf, recoveryOf } from '../../bench/recovery.ts'
import { lagSeriesOf } from '../../bench/series.ts'
import { trendOf } from '../../bench/trend.ts'
import { test } from '../harness.ts'

test('lag counts what is due and not committed, and how old the oldest of it is', () => {
  // 10 a second; second 1 commits nothing, second 2 all but message 12, which comes in second 3.
  const committed = [
    { second: 0, rows: 10, least: 0 },
    { second: 2, rows: 19, least: 10 },
    { second: 3, rows: 11, least: 12 },
  ]
  assert.equal(lagSeriesOf(committed, { first: 0, ratePerSecond: 10, records: 40 }), [
    [0, 0, 0],
    [1, 10, 1],
    [2, 1, 1.8],
    [3, 0, 0],
  ])
})

test('a message that newer ones overtake is the oldest until it is committed', () => {
  const committed = [
    { second: 0, rows: 10, least: 0 },
    { second: 2, rows: 10, least: 20 },
    { second: 3, rows: 10, least: 10 },
  ]
  assert.equal(
    lagSeriesOf(committed, { first: 0, ratePerSecond: 10, records: 30 }).map(([, , age]) => age),
    [0, 1, 2, 0],
  )
})

test('a backlog is as old as if it had come at the same rate', () => {
  const committed = [
    { second: 0, rows: 60, least: 0 },
    { second: 1, rows: 60, least: 60 },
  ]
  assert.equal(lagSeriesOf(committed, { first: 100, ratePerSecond: 10, records: 120 }), [
    [0, 50, 5],
    [1, 0, 0],
  ])
})

test('lag goes on after the last message was due, until it is committed', () => {
  const lag = lagSeriesOf([{ second: 3, rows: 10, least: 0 }], { first: 0, ratePerSecond: 10, records: 10 })
  assert.equal(lag, [
    [0, 10, 1],
    [1, 10, 2],
    [2, 10, 3],
    [3, 0, 0],
  ])
})

/** 20 calm seconds, and from 20 on what is given. */
function seconds(p99s: readonly number[], lags: readonly number[] = []) {
  const calm = Array.from({ length: 20 }, (_, n) => 20 + (n % 3))
  return {
    series: [...calm, ...p99s].map((p99, second) => [second, p99 / 4, p99] as const),
    lag: [...calm, ...p99s].map((_, second) => [second, 0, second < 20 ? 0.1 : (lags[second - 20] ?? 0.1)] as const),
  }
}

const recovered = (planted: ReturnType<typeof seconds>, at = 20, over = at) =>
  recoveryOf(planted, boundsOf(planted, 5, 20), at, over)

test('recovery ends with the first second from which on lag and p99 are as before', () => {
  assert.is(recovered(seconds([900, 800, 300, 25, 20, 22, 21])), 3)
  assert.is(recovered(seconds([900, 20, 20, 20, 20, 20, 20], [1, 2, 2, 1, 0.1, 0.1, 0.1])), 4)
  assert.is(recovered(seconds([900, 800, 20, 20, 20]), 20.5), 1.5)
})

test('two good seconds between bad ones are no recovery', () => {
  assert.is(recovered(seconds([900, 20, 20, 900, 20, 20, 20])), 4)
})

test('what nobody notices takes no time, and what does not end has no recovery', () => {
  assert.is(recovered(seconds([20, 22, 30, 20, 20])), 0)
  assert.is(recovered(seconds([20, 22, 900, 800, 20, 20])), undefined)
  assert.is(recovered(seconds([900])), undefined)
})

test('what is on its way for no longer than in the calm seconds is no lag', () => {
  const { series, lag } = seconds([900, 20, 20, 20, 20], [0.9, 0.02, 0.02, 0.02, 0.02])
  const quiet = { series, lag: lag.map(([second, records, age]) => [second, records, second < 20 ? 0 : age] as const) }
  assert.is(recovered(quiet), 1)
})

test('a good spell before it was over does not count', () => {
  assert.is(recovered(seconds([900, 20, 20, 20, 20, 900, 20, 20, 20]), 20, 25), 6)
})

test('a second without any message is not a good one', () => {
  const { series, lag } = seconds([900, 20, 20, 20, 20, 20])
  const gap = { series: series.filter(([second]) => second !== 22), lag }
  assert.is(recoveryOf(gap, { p99: 33, lag_seconds: 1 }, 20, 20), 3)
})

/** As random as it needs to be, the same each time. */
const noise = (n: number) => ((n * 7_919) % 101) / 101 - 0.5

test('growth is told from noise, from a level that was reached, and from a sawtooth', () => {
  const values = (of: (n: number) => number, length = 60) => Array.from({ length }, (_, n) => of(n))
  const leak = trendOf(
    values((n) => 400 + n * 2 + 10 * noise(n)),
    60,
  )
  assert.is(leak.grows, true)
  assert.ok(Math.abs(leak.per_hour - 120) < 10, String(leak.per_hour))
  for (const bounded of [
    (n: number) => 400 + 60 * noise(n),
    (n: number) => 500 - 300 * Math.exp(-n / 3) + 5 * noise(n),
    (n: number) => 400 + 20 * (n % 9),
    (n: number) => 400 - n,
    (n: number) => 400 + n + 300 * noise(n),
    (n: number) => (n < 20 ? 100 + 15 * n : 400 + n / 20),
    () => 0,
  ])
    assert.is(trendOf(values(bounded), 60).grows, false, String(bounded))
  assert.is(trendOf([1, 2, 3, 4, 5, 6, 7], 60).grows, false) // too few to say
  assert.equal(trendOf([], 60), { per_hour: 0, grows: false })
})

test('by the law of Zipf the first tenant gets about k times as much as the k-th', () => {
  const records = 200_000
  const messages = new Messages({
    kind: 'order',
    records,
    tenants: 1_000,
    spread: 'zipf',
    ids: 'v7',
    copyEvery: 0,
    day: 20_000,
  })
  const counts = new Map<string, number>()
  for (let n = 0; n < records; n++) counts.set(messages.tenant(n), (counts.get(messages.tenant(n)) ?? 0) + 1)
  const share = (k: number) => (counts.get(`tenant-${k}`) ?? 0) / records
  // Between two whole ranks: ln((k + 2) / (k + 1)) / ln(1001).
  for (const k of [0, 1, 9, 99]) {
    const expected = Math.log((k + 2) / (k + 1)) / Math.log(1_001)
    assert.ok(Math.abs(share(k) - expected) < expected / 8, `tenant ${k}: ${share(k)}, not ${expected}`)
  }
  assert.is(counts.size <= 1_000, true)
  assert.is(counts.has('tenant-1000'), false)
})

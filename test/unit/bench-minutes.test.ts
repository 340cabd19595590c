import * as assert from 'uvu/assert'
import { growthOf, lagSecondsOf, minuteOf, missedIn } from '../../bench/minutes.ts'
import { test } from '../harness.ts'

const good = { committed: { messages: 100, p50: 10, p99: 60 }, lag_seconds: 0.1, rss_bytes: 4e8, table_bytes: {} }

test('a minute holds when each objective does', () => {
  assert.is(minuteOf(1, good).held, true)
  assert.is(minuteOf(1, { ...good, committed: { messages: 1, p50: 51, p99: 60 } }).held, false)
  assert.is(minuteOf(1, { ...good, committed: { messages: 1, p50: 10, p99: 201 } }).held, false)
  assert.is(minuteOf(1, { ...good, lag_seconds: 301 }).held, false)
})

test('a minute with a fault is judged by lag alone', () => {
  const slow = { ...good, committed: { messages: 1, p50: 900, p99: 9_000 }, fault: 'daemon killed' }
  assert.is(minuteOf(2, slow).held, true)
  assert.is(minuteOf(2, { ...slow, lag_seconds: 301 }).held, false)
})

test('a minute in which nothing was committed misses, and JSON can hold it', () => {
  const none = minuteOf(3, { ...good, committed: { messages: 0, p50: Number.NaN, p99: Number.NaN } })
  assert.is(none.held, false)
  assert.equal([none.p50, none.p99], [null, null])
})

test('lag is that of the partition which is furthest behind, and one that nobody has begun is all of it', () => {
  const positions = [
    { partition: 0, watermark: 100 },
    { partition: 1, watermark: 150 },
  ]
  assert.is(lagSecondsOf([100n, 200n], positions, 40), 10)
  assert.is(lagSecondsOf([100n, 200n, 5n], positions, 40), 40)
  assert.is(lagSecondsOf([100n, 150n, 0n], positions, 40), 0)
})

test('memory and tables that grow are missed, those that hold what was processed are not', () => {
  const minutes = Array.from({ length: 60 }, (_, n) =>
    minuteOf(n + 1, {
      ...good,
      rss_bytes: 4e8 + n * 4e6,
      table_bytes: {
        effects: n * 1e6,
        request_keys: n * 1e6,
        partition_progress: 1e6 + (n % 3) * 1e5,
        retries: n * 1e5,
      },
    }),
  )
  const growth = growthOf(minutes, 60)
  assert.equal(Object.keys(growth).sort(), ['partition_progress', 'retries', 'rss'])
  assert.equal(missedIn({ minutes, growth }), [
    'rss grows without bound: 240 MB an hour',
    'retries grows without bound: 6 MB an hour',
  ])
  const early = minutes.slice(0, 30)
  assert.equal(
    missedIn({ minutes: early, growth: growthOf(early, 60) }),
    ['rss grows without bound: 240 MB an hour'],
    'the bounds of tables do not show yet',
  )
})

test('each minute that missed is named', () => {
  const minutes = [minuteOf(1, good), minuteOf(2, { ...good, lag_seconds: 400 })]
  assert.equal(missedIn({ minutes }), ['minute 2: p50 10 ms, p99 60 ms, lag 400 s'])
})

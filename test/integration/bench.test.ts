// timeout: 600 s
import * as assert from 'uvu/assert'
import { z } from 'zod'
import { bench } from '../bench.ts'
import { test } from '../harness.ts'

const run = z.object({
  scenario: z.string(),
  mode: z.enum(['message-id', 'offset']),
  runtime: z.enum(['node', 'bun']),
  driver: z.enum(['confluent', 'platformatic']),
  messages: z.number().positive(),
  rate_per_second: z.number().positive(),
  cpu_seconds_per_million: z.number().positive(),
  rss_peak_bytes: z.number().positive(),
  lost: z.literal(0),
  duplicated: z.literal(0),
  reordered: z.literal(0),
})
const latencyRun = run.extend({
  offered_per_second: z.number().positive(),
  latency_ms: z.object({ p50: z.number().positive(), p99: z.number().positive(), p999: z.number().positive() }),
})

test(
  'the bench works off backlogs in both modes and finds nothing lost, doubled or reordered',
  async () => {
    const runs = z.array(run).parse(await bench(['throughput', '--scenario', 'rows', '--on', 'platformatic']))
    assert.equal(
      runs.map(({ mode }) => mode),
      ['message-id', 'offset'],
    )
  },
  { timeoutMs: 180_000 },
)

test(
  'the bench checks states and events, with copies among the messages',
  async () => {
    const args = ['throughput', '--scenario', 'duplicates-state', '--on', 'platformatic']
    assert.is(z.array(run).parse(await bench(args)).length, 1)
  },
  { timeoutMs: 180_000 },
)

test(
  'the bench counts latency from when each message should be sent',
  async () => {
    const runs = z.array(latencyRun).parse(await bench(['latency', '--rate', '500', '--on', 'platformatic']))
    assert.equal(
      runs.map(({ messages }) => messages),
      [2_500],
    )
  },
  { timeoutMs: 180_000 },
)

const seconds = z.array(z.tuple([z.number(), z.number(), z.number()])).min(3)

test(
  'the bench searches for the highest rate at which the objectives hold',
  async () => {
    const tried = z.object({ rate_per_second: z.number(), held: z.boolean() })
    const found = run.extend({
      search: z.array(tried).min(1),
      objectives_held: z.boolean(),
      series: seconds,
      lag_series: seconds,
    })
    const args = ['latency', '--search', '--rate', '200', '--most', '200', '--seconds', '3', '--warm-up-seconds', '1']
    const [first] = z.array(found).parse(await bench(args))
    assert.is(first?.search[0]?.rate_per_second, 200)
    // The run is the highest rate that held, where there was one.
    assert.is(
      first?.objectives_held,
      first?.search.some(({ held }) => held),
    )
  },
  { timeoutMs: 180_000 },
)

test(
  'the bench works off a backlog while as much goes on coming',
  async () => {
    const backlog = z.object({ messages: z.literal(5_000), drain_seconds: z.number().positive() })
    const lagRun = run.extend({ backlog, lag_series: seconds })
    const [first] = z.array(lagRun).parse(await bench(['lag', '--rate', '250']))
    assert.ok((first?.messages ?? 0) > 5_000)
  },
  { timeoutMs: 180_000 },
)

test(
  'the bench says how long a restarted daemon takes to be as before',
  async () => {
    const recovery = z.object({
      kind: z.literal('restart'),
      at_second: z.number(),
      ended_second: z.number(),
      worst_p99: z.number(),
    })
    const recoveryRun = run.extend({ recovery: z.array(recovery).length(1), lag_series: seconds })
    const [first] = z.array(recoveryRun).parse(await bench(['recovery', '--rate', '250']))
    // Not in the lag: that is of the seconds' ends, and all may be over between two of them.
    const worst = first?.recovery[0]?.worst_p99 ?? 0
    assert.ok(worst > 200, `the restart is seen in the latency, which was ${worst} ms at worst`)
  },
  { timeoutMs: 180_000 },
)

test(
  'the bench judges a long run each minute, with faults in it',
  async () => {
    const minute = z.object({
      minute: z.number(),
      messages: z.number(),
      lag_seconds: z.number(),
      rss_bytes: z.number().positive(),
      table_bytes: z.record(z.string(), z.number()),
      held: z.boolean(),
      fault: z.string().optional(),
    })
    const stressRun = run.extend({ minutes: z.array(minute).length(3), growth: z.record(z.string(), z.unknown()) })
    const [first] = z.array(stressRun).parse(await bench(['stress', '--rate', '250', '--faults']))
    assert.equal(
      first?.minutes.map(({ fault }) => fault),
      [undefined, 'worker ended', undefined],
    )
    const counted = first?.minutes.reduce((sum, { messages }) => sum + messages, 0) ?? 0
    assert.ok(counted > 0 && counted <= 3_000, `${counted} were counted while it went on`)
    assert.ok((first?.minutes[0]?.table_bytes['partition_progress'] ?? 0) > 0)
    assert.ok(first?.growth['rss'] !== undefined)
  },
  { timeoutMs: 180_000 },
)

test(
  'the bench shows how cost grows with one size, and counts what was done also where there are no rows',
  async () => {
    const grown = z.object({ of: z.literal('effects'), at: z.number() })
    const runs = z
      .array(run.extend({ grown, checked: z.enum(['rows', 'count']) }))
      .parse(await bench(['growth', '--of', 'effects']))
    assert.equal(
      runs.map(({ grown: { at }, checked }) => [at, checked]),
      [
        [0, 'count'],
        [1, 'rows'],
        [2, 'rows'],
        [5, 'rows'],
      ],
    )
  },
  { timeoutMs: 180_000 },
)

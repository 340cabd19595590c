// timeout: 600 s
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import * as assert from 'uvu/assert'
import { z } from 'zod'
import { test } from '../harness.ts'
import { kafkaAddress, postgresAddress } from '../services.ts'

const main = fileURLToPath(new URL('../../bench/main.ts', import.meta.url))

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

/** Runs the bench's quick form and returns the runs that the last line of its standard output holds. */
async function bench(args: readonly string[]): Promise<unknown> {
  const servers = ['--kafka', kafkaAddress(), '--postgres', postgresAddress()]
  const child = spawn(process.execPath, [main, ...args, '--quick', '--json', ...servers], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let [output, talk] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (talk += text))
  const code = await new Promise((resolve) => child.once('close', resolve))
  assert.is(code, 0, talk)
  return JSON.parse(output.trimEnd().split('\n').at(-1) ?? '')
}

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

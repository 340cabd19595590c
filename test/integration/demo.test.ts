// timeout: 600 s
import { spawn, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import * as assert from 'uvu/assert'
import { z } from 'zod'
import { test } from '../harness.ts'

const main = fileURLToPath(new URL('../../examples/flights/demo.ts', import.meta.url))
const flights = 50_000

const result = z.object({
  messages: z.literal(flights),
  processed: z.literal(flights),
  duplicates: z.number().positive(),
  lost: z.literal(0),
  duplicated: z.literal(0),
  reordered: z.literal(0),
  rate_per_second: z.number().positive(),
  latency_ms: z.object({ p50: z.number().positive(), p99: z.number().positive() }),
  came_again: z.object({ recognised: z.number().positive() }),
  right: z.literal(true),
})

/** What a terminal has after `eval "$(tenantry dev env)"`, or a user's own shell: none of it is the demo's affair. */
const othersSettings = {
  DATABASE_URL: 'postgres://nobody@127.0.0.1:1/others',
  KAFKA_BROKERS: '127.0.0.1:1',
  LOG_LEVEL: 'error',
  TENANTRY_DEAD_LETTERS__TOPIC: 'others',
}

for (const on of [
  ['--driver', 'platformatic'],
  ['--driver', 'confluent'],
  ['--runtime', 'bun'],
] as const) {
  test(
    `the demo (${on.join(' ')}) is killed on the way, and each flight lands once and in order`,
    async () => {
      const child = spawn(process.execPath, [main, '--messages', String(flights), '--json', ...on], {
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { ...process.env, ...othersSettings },
      })
      let [output, talk] = ['', '']
      child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
      child.stderr.setEncoding('utf8').on('data', (text: string) => (talk += text))
      const code = await new Promise((resolve) => child.once('close', resolve))
      assert.is(code, 0, `${talk}\n${output}`)
      result.parse(JSON.parse(output.trimEnd().split('\n').at(-1) ?? ''))
    },
    { timeoutMs: 180_000 },
  )
}

test('a driver that cannot run on Bun is refused before any server starts', () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, '--runtime', 'bun', '--driver', 'confluent'], {
    encoding: 'utf8',
    timeout: 60_000,
  })
  assert.is(status, 2)
  assert.is(stdout, '')
  assert.match(stderr, /^The confluent driver .* leave out .*\n$/)
})

// timeout: 900 s
import { type ChildProcess, spawn } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import * as assert from 'uvu/assert'
import { z } from 'zod'
import { after, test } from '../harness.ts'
import { within } from './patience.ts'

// The command itself, in short: what it finds in a minute, and that nothing of it stays.

const main = fileURLToPath(new URL('./main.ts', import.meta.url))
const running = new Set<ChildProcess>()

after(() => {
  for (const child of running) child.kill('SIGTERM')
})

type Run = {
  readonly child: ChildProcess
  readonly said: string[]
  /** Resolves with a line that it has said; rejects when it ends without. */
  until(pattern: RegExp): Promise<string>
  readonly ended: Promise<{ readonly code: number | null; readonly stdout: string }>
}

function chaos(...args: readonly string[]): Run {
  const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  running.add(child)
  const said: string[] = []
  const heard = new EventEmitter()
  createInterface({ input: child.stderr }).on('line', (line) => {
    said.push(line)
    heard.emit('line')
  })
  const ended = new Promise<{ code: number | null; stdout: string }>((resolve) => {
    child.once('close', (code) => {
      running.delete(child)
      resolve({ code, stdout })
    })
  })
  let stdout = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  return {
    child,
    said,
    async until(pattern) {
      for (let over = false; ; ) {
        const line = said.find((one) => pattern.test(one))
        if (line !== undefined) return line
        if (!over) over = await Promise.race([once(heard, 'line').then(() => false), ended.then(() => true)])
        else throw new Error(`it ended, and never said ${pattern}:\n${said.join('\n')}`)
      }
    },
    ended,
  }
}

const result = z.object({
  messages: z.number(),
  faults: z.number(),
  lost: z.number(),
  duplicated: z.number(),
  reordered: z.number(),
  slowest_recovery_ms: z.number(),
  findings: z.array(z.string()),
})

test(
  'faults of every kind for half a minute lose, double and reorder nothing, and the last line says so',
  async () => {
    const { ended, said } = chaos('--minutes', '0.5', '--seed', 'short', '--rate', '400', '--json')
    const { code, stdout } = await ended
    process.stdout.write(`${said.join('\n')}\n`)
    const found = result.parse(JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? ''))
    const { lost, duplicated, reordered, findings } = found
    assert.equal({ lost, duplicated, reordered, findings }, { lost: 0, duplicated: 0, reordered: 0, findings: [] })
    assert.ok(found.messages > 1_000 && found.faults > 0 && found.slowest_recovery_ms > 0)
    assert.is(code, 0)
  },
  { timeoutMs: 600_000 },
)

test(
  'Ctrl-C in the middle of it ends it soon, and leaves no file behind',
  async () => {
    const { child, until, ended } = chaos('--minutes', '5', '--scenario', 'daemon-killed', '--rate', '400')
    const started = await until(/starting three brokers/)
    await until(/the load is on/)
    child.kill('SIGINT')
    // However long the machine took to come here.
    assert.is((await within(120_000, ended)).code, 130)
    const folder = / in (\S+)$/.exec(started)?.[1] ?? ''
    assert.ok(folder.includes('tenantry-chaos') && !existsSync(folder), folder)
  },
  { timeoutMs: 600_000 },
)

test('a fault that there is none of is refused, and all are named', async () => {
  const { ended, said } = chaos('--scenario', 'nothing')
  assert.is((await ended).code, 2)
  assert.ok(said.some((line) => line.includes('postgres-restarted')))
})

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as assert from 'uvu/assert'
import { after, before, test } from '../harness.ts'
import { eventually } from '../services.ts'

const script = fileURLToPath(new URL('../fixtures/process.ts', import.meta.url))

const folder = mkdtempSync(join(tmpdir(), 'tenantry-process-'))
/** Nobody writes to it: reading it does not return. */
const pipe = join(folder, 'pipe')

before(() => execFileSync('mkfifo', [pipe]))
after(() => rmSync(folder, { recursive: true }))

type Running = {
  readonly child: ChildProcess
  readonly said: (event: string) => Promise<unknown>
  readonly code: Promise<number | null>
}

function started(mode: string): Running {
  const child = spawn(process.execPath, [script, mode, pipe], { stdio: ['ignore', 'pipe', 'inherit'] })
  let stdout = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  return {
    child,
    said: (event) => eventually(() => stdout.includes(`"event":"${event}"`), { deadlineMs: 30_000, what: event }),
    code: new Promise((resolve) => child.on('close', resolve)),
  }
}

test('a drained daemon ends with 0, at SIGTERM, Ctrl-C and a closed terminal', async () => {
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    const { child, said, code } = started('works')
    await said('ready')
    child.kill(signal)
    await said('stopping')
    assert.is(await code, 0, signal)
  }
})

test('SIGUSR2 has a daemon say what its threads do, and does not end it', async () => {
  const { child, said, code } = started('works')
  await said('ready')
  child.kill('SIGUSR2')
  await said('dumped')
  child.kill('SIGTERM')
  assert.is(await code, 0)
})

test('a daemon whose reader has gone goes on, also when something prints past the log', async () => {
  const { child, said, code } = started('prints')
  await said('ready')
  child.stdout?.destroy()
  child.kill('SIGUSR2')
  child.kill('SIGTERM')
  assert.is(await code, 0)
})

test('a daemon that still waits for its servers ends with 0', async () => {
  const { child, said, code } = started('waits')
  await said('ready')
  child.kill('SIGTERM')
  assert.is(await code, 0)
})

test('a second signal ends a drain that hangs at once', async () => {
  for (const [signal, expected] of [
    ['SIGTERM', 143],
    ['SIGINT', 130],
  ] as const) {
    const { child, said, code } = started('hangs')
    await said('ready')
    child.kill('SIGTERM')
    await said('stopping')
    child.kill(signal)
    assert.is(await code, expected)
  }
})

test('records that the drain did not wait for make it 6', async () => {
  const { child, said, code } = started('abandons')
  await said('ready')
  child.kill('SIGTERM')
  assert.is(await code, 6)
})

test('a thread that does not end does not keep a process that has drained, nor one that is told to go at once', async () => {
  const drained = started('lingers')
  await drained.said('ready')
  drained.child.kill('SIGTERM')
  assert.is(await drained.code, 0)
})

test("a daemon that cannot start, or cannot go on, drains and ends with its error's code", async () => {
  const unable = started('unable')
  await unable.said('stopping')
  assert.is(await unable.code, 7)
  const broken = started('broken')
  await broken.said('daemon.failed')
  assert.is(await broken.code, 1)
})

test('an error that nobody caught ends it with 70 and is in the log', async () => {
  const { said, code } = started('uncaught')
  await said('daemon.bug')
  assert.is(await code, 70)
})

test('code that ends the process does not make it look like one that has drained', async () => {
  const { said, code } = started('exits')
  await said('daemon.exited')
  assert.is(await code, 1)
})

import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { test } from '../harness.ts'
import { runFile } from '../runner/run-file.ts'
import type { Runtime } from '../../tools/run/runtime.ts'
import { checkout } from '../runner/runtimes.ts'

// The canary: files that a test runner is tempted to take as good.
const RED: Readonly<Record<string, RegExp>> = {
  'before-hook-throws': /a before hook failed: the hook throws/,
  'after-hook-throws': /an after hook: the hook throws/,
  'throws-non-errors': /no Error was thrown: text/,
  'registers-no-test': /no test was registered/,
  'is-empty': /without a report/,
  'waits-for-ever': /not done within 0.2 s/,
  'exits-in-a-test': /without a report/,
  'rejects-unseen': /lost/,
  'fails-to-load': /without a report/,
  'one-of-two-fails': /one of two fails/,
  'leaves-a-process': /left 1 process/,
}

const runtime: Runtime = process.versions['bun'] === undefined ? 'node' : 'bun'
const run = (name: string, timeoutMs = 20_000) => runFile({ path: `test/canary/${name}.ts`, runtime, timeoutMs })

for (const [name, reason] of Object.entries(RED)) {
  test(`a file that ${name.replaceAll('-', ' ')} is red`, async () => {
    const result = await run(name)
    assert.not(result.ok, result.output)
    assert.ok(result.failed > 0)
    assert.match(result.failures.join('\n'), reason)
  })
}

test('a file that blocks its thread is ended at its limit, and is red', async () => {
  const result = await run('blocks-for-ever', 1_500)
  assert.not(result.ok)
  assert.match(result.failures.join('\n'), /not done within 1.5 s/)
})

test('a failing test fails alone: the other one of its file still counts as passed', async () => {
  const { passed, failed } = await run('one-of-two-fails')
  assert.equal({ passed, failed }, { passed: 1, failed: 1 })
})

test('a file that leaves a server and a timer open ends, and is green', async () => {
  const result = await run('leaves-handles-open')
  assert.ok(result.ok, result.output)
  assert.is(result.passed, 1)
})

test('a command line that names no runtime or no option that there is runs nothing, and says so', () => {
  const runner = join(checkout, 'test/run.ts')
  for (const [args, said] of [
    [['--runtime', 'nod'], /^--runtime is node or bun, not nod\n/],
    [['--runtme', 'node'], /^Unknown option '--runtme'/],
    [['no-such-file', '--runtime', 'bun'], /^no test file for bun matches: no-such-file\n/],
  ] as const) {
    const { status, stdout, stderr } = spawnSync(process.execPath, [runner, ...args], { encoding: 'utf8' })
    assert.match(stdout, said)
    assert.ok(status === 1 || status === 2, String(status))
    assert.is(stderr.includes('    at '), false, stderr)
  }
})

import { spawn } from 'node:child_process'
import * as assert from 'uvu/assert'
import { environmentOf, withEnvironment } from '../../tools/setup/process.mjs'
import { test } from '../harness.ts'

const TRIES = 50

test('a process is known by its mark from the moment it was started', () => {
  const met = Array.from({ length: TRIES }, (_, i) => {
    const child = spawn('sleep', ['60'], { stdio: 'ignore', env: { ...process.env, TENANTRY_MET: `try-${i}` } })
    const environment = environmentOf(child.pid ?? 0)
    child.kill('SIGKILL')
    return environment.includes(`TENANTRY_MET=try-${i}`)
  })
  assert.is(met.filter((found) => found).length, TRIES)
})

test('the kernel, and a process without an environment, have no mark and hold nobody up', () => {
  const bare = spawn('sleep', ['60'], { stdio: 'ignore', env: {} })
  const started = performance.now()
  assert.equal(withEnvironment('TENANTRY_MET', 'nobody'), [])
  assert.equal(environmentOf(bare.pid ?? 0), [''])
  bare.kill('SIGKILL')
  assert.ok(performance.now() - started < 5_000)
})

test('a process that has gone has no environment', () => {
  assert.equal(environmentOf(2 ** 22 + 1), [])
})

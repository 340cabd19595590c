// runtimes: node, bun
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { runtimeProblem } from '../../tools/setup/versions.mjs'
import { test } from '../harness.ts'
import { checkout } from '../runner/runtimes.ts'

const program = join(checkout, 'cli/tenantry.mjs')

test('runtimes that are too old are named with their version, and others pass', () => {
  for (const node of ['18.20.8', '20.19.0', '22.21.1', '23.11.0', '24.5.0'])
    assert.match(runtimeProblem({ node }) ?? '', `Node 22.22 or later, or 24.6 or later, and this is ${node}:`)
  for (const node of ['22.22.0', '24.6.0', '25.0.0']) assert.is(runtimeProblem({ node }), undefined)
  // Bun says that it is a Node, too.
  for (const bun of ['0.8.1', '1.3.14'])
    assert.match(runtimeProblem({ node: '24.3.0', bun }) ?? '', `Bun 1.4 or later, and this is ${bun}:`)
  for (const bun of ['1.4.0', '1.10.0', '2.0.0']) assert.is(runtimeProblem({ node: '24.3.0', bun }), undefined)
})

test('the installed program runs here', () => {
  const { status, stdout } = spawnSync(process.execPath, [program, '--version'], { encoding: 'utf8' })
  assert.is(status, 0)
  assert.match(stdout, /^\d+\.\d+\.\d+\n$/)
})

test('the installed program ends with one sentence where the runtime is too old', () => {
  if (process.versions['bun'] !== undefined) return
  const old = `data:text/javascript,Object.defineProperty(process, 'versions', { value: { node: '20.19.0' } })`
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--import', old, program], { encoding: 'utf8' })
  assert.is(status, 7)
  assert.is(stdout, '')
  assert.match(stderr, /^tenantry needs Node .* this is 20\.19\.0: .* \(TENANTRY_RUNTIME_VERSION\)\n$/)
})

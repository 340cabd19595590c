// runtimes: node
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { benchProgram } from '../../bench/program.ts'
import { TenantryError } from '../../core/errors.ts'
import { rawRun } from '../fixtures/raw-runs.ts'
import { test } from '../harness.ts'

/** Gives a folder with these files to `work`, which is told their paths. */
async function inFolder(
  files: Readonly<Record<string, string>>,
  work: (path: (name: string) => string) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'tenantry-bench-test-'))
  try {
    for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content)
    await work((name) => join(folder, name))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** How a command ends: with the code of its error, or well. */
async function ending(...args: readonly string[]): Promise<string> {
  try {
    await benchProgram().parseAsync(args, { from: 'user' })
    return 'well'
  } catch (error) {
    return error instanceof TenantryError ? error.code : String(error)
  }
}

const step = (runs: unknown) => `${JSON.stringify({ step: { args: ['throughput'], round: 1 }, runs })}\n`

test('a report is written from runs, also after what npm says, from a journal, and from a report', () => {
  const files = {
    'runs.json': `\n> tenantry@0.1.0 bench\n> node tools/up.mjs\n\n${JSON.stringify([rawRun()])}\n`,
    'all.jsonl': step([rawRun({ scenario: 'state' })]),
  }
  return inFolder(files, async (path) => {
    assert.is(await ending('report', path('runs.json'), path('all.jsonl'), '--out', path('both')), 'well')
    const written = readFileSync(path('both/README.md'), 'utf8')
    assert.match(written, '### rows')
    assert.match(written, '### state')
    assert.ok(existsSync(path('both/rate-state.svg')))
    assert.is(await ending('report', path('both/runs.json'), '--out', path('again')), 'well')
    assert.is(readFileSync(path('again/README.md'), 'utf8'), written)
  })
})

test('a comparison fails when something is worse, and refuses what cannot be compared', () => {
  const files = {
    'before.json': JSON.stringify([rawRun()]),
    'slower.json': JSON.stringify([rawRun({ rate_per_second: 40_000 })]),
    'other.json': JSON.stringify([rawRun({ scenario: 'state' })]),
    'none.json': '{}',
  }
  return inFolder(files, async (path) => {
    assert.is(await ending('compare', path('before.json'), path('slower.json')), 'TENANTRY_BENCH_WORSE')
    assert.is(await ending('compare', path('slower.json'), path('before.json')), 'well')
    assert.is(await ending('compare', path('before.json'), path('other.json')), 'TENANTRY_USAGE')
    assert.is(await ending('compare', path('before.json'), path('none.json')), 'TENANTRY_BENCH_NO_RUNS')
    const main = join(import.meta.dirname, '../../bench/main.ts')
    const args = [main, 'compare', path('before.json'), path('slower.json')]
    const { status, stdout } = spawnSync(process.execPath, args, { encoding: 'utf8' })
    assert.is(status, 1)
    assert.match(stdout, /rate\/s +50,000 +40,000 +-20\.0 % +1\/1 +tolerance +worse/)
  })
})

test('what leaves no rows to count by is not run disturbed', async () => {
  assert.is(await ending('peers', '--disturbed', '--works', 'row,wait'), 'TENANTRY_USAGE')
})

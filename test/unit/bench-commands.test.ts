// runtimes: node
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { rawRun } from '../fixtures/raw-runs.ts'
import { test } from '../harness.ts'

const main = join(import.meta.dirname, '../../bench/main.ts')

/** The bench as it is called in a folder of its own, which has these files. */
function inFolder(files: Readonly<Record<string, string>>, work: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), 'tenantry-bench-test-'))
  try {
    for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content)
    work(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function bench(folder: string, ...args: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], { cwd: folder, encoding: 'utf8' })
  return { status, stdout, stderr }
}

const step = (runs: unknown) => `${JSON.stringify({ step: { args: ['throughput'], round: 1 }, runs })}\n`

test('a report is written from runs, from a journal, and from a report', () => {
  inFolder(
    { 'runs.json': JSON.stringify([rawRun()]), 'all.jsonl': step([rawRun({ scenario: 'state' })]) },
    (folder) => {
      assert.is(bench(folder, 'report', 'runs.json', 'all.jsonl', '--out', 'both').status, 0)
      const written = readFileSync(join(folder, 'both/README.md'), 'utf8')
      assert.match(written, '### rows')
      assert.match(written, '### state')
      assert.ok(existsSync(join(folder, 'both/rate-state.svg')))
      assert.is(bench(folder, 'report', 'both/runs.json', '--out', 'again').status, 0)
      assert.is(readFileSync(join(folder, 'again/README.md'), 'utf8'), written)
    },
  )
})

test('a comparison says by its exit code whether something is worse, and refuses what cannot be compared', () => {
  const files = {
    'before.json': JSON.stringify([rawRun()]),
    'slower.json': JSON.stringify([rawRun({ rate_per_second: 40_000 })]),
    'other.json': JSON.stringify([rawRun({ scenario: 'state' })]),
    'none.json': '{}',
  }
  inFolder(files, (folder) => {
    const worse = bench(folder, 'compare', 'before.json', 'slower.json')
    assert.is(worse.status, 1)
    assert.match(worse.stdout, /rate\/s +50,000 +40,000 +-20\.0 % +1\/1 +tolerance +worse/)
    assert.match(worse.stderr, 'TENANTRY_BENCH_WORSE')
    assert.is(bench(folder, 'compare', 'slower.json', 'before.json').status, 0)
    assert.is(bench(folder, 'compare', 'before.json', 'other.json').status, 2)
    const none = bench(folder, 'compare', 'before.json', 'none.json')
    assert.is(none.status, 1)
    assert.match(none.stderr, 'TENANTRY_BENCH_NO_RUNS')
  })
})

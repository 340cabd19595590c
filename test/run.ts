import { parseArgs } from 'node:util'
import { messageOf } from '../core/errors.ts'
import { findTestFiles, needServices, type TestFile } from './runner/files.ts'
import { type FileResult, runFile } from './runner/run-file.ts'
import type { Runtime } from '../tools/run/runtime.ts'
import { environmentOf, startTestCluster } from './runner/test-cluster.ts'

// npm test [-- PATH…] [--runtime node|bun]: runs the test files whose path contains one of PATH, unit tests two at a
// time and the others one by one against one cluster, and ends with the line `N passed, N failed`.

interface Job {
  readonly file: TestFile
  readonly runtime: Runtime
}

const UNIT_JOBS = 2

const { filters, runtimes } = asked()
const abort = new AbortController()
const results: FileResult[] = []

let abortedAt = 0
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(name, () => {
    // One Ctrl-C or hang-up may arrive twice, by the terminal and by npm: only a later Ctrl-C is a second one.
    if (abort.signal.aborted) {
      if (name === 'SIGINT' && performance.now() - abortedAt > 500) process.exit(130)
      return
    }
    abortedAt = performance.now()
    print(`${name}: ending the tests that run; Ctrl-C again to leave at once`)
    abort.abort()
  })
}

// A terminal that has gone must not keep the runner from stopping what it started.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})

process.exitCode = await main().catch((error: unknown) => {
  print(`the tests could not be run: ${messageOf(error)}`)
  return 1
})

/** What the command line asks for. Ends the process where it is wrong. */
function asked(): { readonly filters: readonly string[]; readonly runtimes: readonly Runtime[] } {
  try {
    const { values, positionals } = parseArgs({ allowPositionals: true, options: { runtime: { type: 'string' } } })
    const { runtime } = values
    if (runtime === undefined) return { filters: positionals, runtimes: ['node', 'bun'] }
    if (runtime === 'node' || runtime === 'bun') return { filters: positionals, runtimes: [runtime] }
    throw new Error(`--runtime is node or bun, not ${runtime}`)
  } catch (error) {
    print(`${messageOf(error)}\nnpm test [-- PATH…] [--runtime node|bun]`)
    process.exit(2)
  }
}

async function main(): Promise<number> {
  const files = findTestFiles(filters)
  const jobs = files.flatMap((file) =>
    file.runtimes.filter((runtime) => runtimes.includes(runtime)).map((runtime) => ({ file, runtime })),
  )
  if (jobs.length === 0) {
    print(`no test file for ${runtimes.join(' or ')} matches: ${filters.join(' ')}`)
    return 1
  }
  const needed = needServices(jobs.map((job) => job.file))
  // Started beside the unit tests, which do not need it.
  const cluster = needed ? startTestCluster() : undefined
  cluster?.catch(() => {})
  try {
    await runJobs(
      jobs.filter((job) => job.file.kind === 'unit'),
      UNIT_JOBS,
      {},
    )
    const env = cluster === undefined ? {} : environmentOf(await cluster)
    await runJobs(
      jobs.filter((job) => job.file.kind !== 'unit'),
      1,
      env,
    )
  } finally {
    const services = await cluster?.catch(() => undefined)
    await services?.wipe()
  }
  return summary(jobs.length)
}

async function runJobs(jobs: readonly Job[], atOnce: number, env: Readonly<Record<string, string>>): Promise<void> {
  const waiting = [...jobs]
  const runner = async () => {
    for (let job = waiting.shift(); job !== undefined && !abort.signal.aborted; job = waiting.shift()) {
      const result = await runFile({
        path: job.file.path,
        runtime: job.runtime,
        timeoutMs: job.file.timeoutMs,
        env,
        signal: abort.signal,
      })
      results.push(refuseOnly(result))
      show(results.at(-1) ?? result)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, runner))
}

/** `test.only` is for one file at a time: in a whole run it would leave tests out unseen. */
function refuseOnly(result: FileResult): FileResult {
  if (!result.only || filters.length > 0) return result
  return {
    ...result,
    ok: false,
    failed: result.failed + 1,
    failures: [...result.failures, 'the file: it says test.only, which leaves its other tests out'],
  }
}

function show(result: FileResult): void {
  const where = `${result.path}${result.runtime === 'bun' ? ' (bun)' : ''}`
  const took = `${(result.durationMs / 1000).toFixed(1)} s`
  if (result.ok) print(`ok    ${where}  ${result.passed} passed  ${took}`)
  else print(`FAIL  ${where}  ${result.passed} passed, ${result.failed} failed  ${took}\n${indent(result.output)}`)
}

function summary(jobs: number): number {
  const sum = (pick: (result: FileResult) => number) => results.reduce((total, result) => total + pick(result), 0)
  const bad = results.filter((result) => !result.ok)
  if (bad.length > 0)
    print(
      `\nFailures:\n${bad.flatMap((result) => result.failures.map((failure) => `  ${result.path} (${result.runtime}): ${failure}`)).join('\n')}\n`,
    )
  const notRun = jobs - results.length
  if (notRun > 0) print(`${notRun} file(s) were not run`)
  const skipped = sum((result) => result.skipped)
  if (skipped > 0) print(`${skipped} left out, as they are of Node alone`)
  print(`${sum((result) => result.passed)} passed, ${sum((result) => result.failed) + notRun} failed`)
  if (abort.signal.aborted) return 130
  return bad.length === 0 && notRun === 0 ? 0 : 1
}

function indent(text: string): string {
  return text.trimEnd().replace(/^/gm, '      ')
}

function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

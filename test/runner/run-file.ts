import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { endAll, identify, newMark, withEnvironment } from '../../tools/setup/process.mjs'
import { REPORT_FILE, type Report, reportSchema } from './report.ts'
import type { Runtime } from '../../tools/run/runtime.ts'
import { checkout, programOf } from './runtimes.ts'

/** The environment variable that marks every process that a test file starts. */
const TEST_MARK = 'TENANTRY_TEST_MARK'

export interface FileRun {
  /** Relative to the checkout, or absolute. */
  readonly path: string
  readonly runtime: Runtime
  readonly timeoutMs: number
  readonly env?: Readonly<Record<string, string>>
  /** Ends the run early. */
  readonly signal?: AbortSignal
}

export interface FileResult {
  readonly path: string
  readonly runtime: Runtime
  readonly ok: boolean
  readonly passed: number
  readonly failed: number
  readonly skipped: number
  readonly only: boolean
  /** A line each. */
  readonly failures: readonly string[]
  /** All that it printed, both streams. */
  readonly output: string
  readonly durationMs: number
}

/** Runs one test file in a process of its own. It is good only when it says that all its tests, at least one, passed. */
export async function runFile(run: FileRun): Promise<FileResult> {
  const folder = mkdtempSync(join(tmpdir(), 'tenantry-test-'))
  const reportFile = join(folder, 'report.json')
  const mark = newMark(TEST_MARK)
  const started = performance.now()
  const problems: string[] = []
  let output = ''

  const program = programOf(run.runtime)
  if (program === undefined) problems.push(`there is no ${run.runtime} for this machine`)
  else {
    const child = spawn(program.command, [...program.flags, run.path], {
      cwd: checkout,
      detached: true, // a group of its own: Ctrl-C is the runner's to handle
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...run.env, [TEST_MARK]: mark, [REPORT_FILE]: reportFile },
    })
    const identity = child.pid === undefined ? undefined : identify(child.pid)
    const collect = (chunk: Buffer) => {
      output += chunk.toString('utf8')
      if (output.length > 4_000_000) output = `…${output.slice(-2_000_000)}`
    }
    child.stdout.on('data', collect)
    child.stderr.on('data', collect)
    const finish = (why: string) => {
      problems.push(why)
      void endAll(identity === undefined ? [] : [identity], 'SIGTERM', 2_000)
    }
    const timer = setTimeout(() => finish(`the file was not done within ${run.timeoutMs / 1000} s`), run.timeoutMs)
    const onAbort = () => finish('interrupted')
    run.signal?.addEventListener('abort', onAbort, { once: true })
    if (run.signal?.aborted === true) onAbort()
    const status = await new Promise<string>((resolve) => {
      child.once('error', (error) => resolve(error.message))
      child.once('exit', (code, name) => resolve(name ?? String(code)))
    })
    clearTimeout(timer)
    run.signal?.removeEventListener('abort', onAbort)
    if (status !== '0') problems.push(`its process ended with ${status}`)
    const left = withEnvironment(TEST_MARK, mark)
    if (left.length > 0) {
      problems.push(`it left ${left.length} process(es) behind`)
      await endAll(left, 'SIGTERM', 3_000)
    }
  }
  const report = read(reportFile)
  rmSync(folder, { recursive: true, force: true })
  return resultOf(run, report, problems, output, performance.now() - started)
}

function resultOf(
  run: FileRun,
  report: Report | undefined,
  problems: string[],
  output: string,
  durationMs: number,
): FileResult {
  const failures = report?.failures.map((failure) => `${failure.name}: ${failure.message.split('\n')[0]}`) ?? []
  if (report === undefined) problems.push('it ended without a report of its tests')
  else if (report.total === 0) problems.push('it ran no test')
  else if (report.passed !== report.total && failures.length === 0) problems.push('not all of its tests passed')
  // The exit status and the report say the same thing twice when a test has failed: count it once.
  const extra =
    failures.length > 0 ? problems.filter((problem) => !problem.startsWith('its process ended with 1')) : problems
  return {
    path: run.path,
    runtime: run.runtime,
    ok: failures.length === 0 && problems.length === 0,
    passed: report?.passed ?? 0,
    failed: failures.length + (extra.length > 0 ? 1 : 0),
    skipped: report?.skipped ?? 0,
    only: report?.only ?? false,
    failures: extra.length > 0 ? [...failures, `the file: ${extra.join('; ')}`] : failures,
    output,
    durationMs,
  }
}

function read(file: string): Report | undefined {
  try {
    return reportSchema.parse(JSON.parse(readFileSync(file, 'utf8')))
  } catch {
    return undefined
  }
}

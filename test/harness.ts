import './runner/uvu-deferred.ts'
import { realpathSync, renameSync, writeFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { exec, suite } from 'uvu'
import { messageOf } from '../core/errors.ts'
import { REPORT_FILE, type Report } from './runner/report.ts'

/**
 * uvu, with what it lacks: hooks that throw, thrown non-Errors and errors outside any test are failures, every test has
 * a time limit, a file runs itself, ends when its tests have ended, and says what it ran: the runner takes a file that
 * did not get that far, or that ran no test, as failed. One file is one process.
 */

type Body = () => unknown

export interface TestOptions {
  /** How long the test may take, in milliseconds. 60 s when left out. */
  readonly timeoutMs?: number
}

interface Registered {
  readonly name: string
  readonly body: Body
  readonly timeoutMs: number
  readonly only: boolean
}

const DEFAULT_TIMEOUT_MS = 60_000
const tests: Registered[] = []
const hooks = { before: [] as Body[], after: [] as Body[], beforeEach: [] as Body[], afterEach: [] as Body[] }
const failures: { name: string; message: string }[] = []
let skipped = 0
let finished = false
let begun = false
/** Ends the running test when something fails outside its own promise. */
let interrupt: ((error: Error) => void) | undefined

/** Registers a test; its name is a sentence about behaviour. */
export function test(name: string, body: Body, options: TestOptions = {}): void {
  register(name, body, options, false)
}

/** Registers a test and leaves it out. */
test.skip = (_name: string, _body?: Body, _options?: TestOptions): void => {
  skipped += 1
}

/** Registers a test, and leaves out all that are not `only`. While working on it: the whole run refuses it. */
test.only = (name: string, body: Body, options: TestOptions = {}): void => {
  register(name, body, options, true)
}

/** Runs once, before the first test. When it throws, every test of the file has failed. */
export function before(hook: Body): void {
  hooks.before.push(hook)
}

/** Runs once, after the last test, also after a `before` that threw. */
export function after(hook: Body): void {
  hooks.after.push(hook)
}

/**
 * Runs before each test.
 * @public
 */
export function beforeEach(hook: Body): void {
  hooks.beforeEach.push(hook)
}

/** Runs after each test, also after one that failed. */
export function afterEach(hook: Body): void {
  hooks.afterEach.push(hook)
}

function register(name: string, body: Body, options: TestOptions, only: boolean): void {
  if (begun)
    throw new Error(`"${name}" was registered while tests were running: register all tests when the file loads`)
  tests.push({ name, body, only, timeoutMs: options.timeoutMs ?? DEFAULT_TIMEOUT_MS })
}

/** Runs a body to its end, its time limit or an error from outside, whichever comes first; fails with an Error. */
async function guarded(body: Body, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  try {
    await Promise.race([
      (async () => body())(),
      new Promise<never>((_, reject) => {
        interrupt = reject
        timer = setTimeout(() => reject(new Error(`not done within ${timeoutMs / 1000} s`)), timeoutMs)
      }),
    ])
  } catch (thrown) {
    throw thrown instanceof Error ? thrown : new Error(`a value that is no Error was thrown: ${messageOf(thrown)}`)
  } finally {
    clearTimeout(timer)
    interrupt = undefined
  }
}

async function runAll(): Promise<void> {
  begun = true
  const only = tests.filter((one) => one.only)
  const chosen = only.length > 0 ? only : tests
  let passed = 0
  let broken: Error | undefined

  const own = suite('')
  const add = (name: string, body: () => Promise<void>) =>
    own(name, async () => {
      try {
        await body()
      } catch (error) {
        failures.push({ name, message: messageOf(error) })
        throw error
      }
    })

  try {
    for (const hook of hooks.before) await guarded(hook, DEFAULT_TIMEOUT_MS)
  } catch (error) {
    broken = new Error(`a before hook failed: ${messageOf(error)}`, { cause: error })
    if (error instanceof Error && error.stack !== undefined) broken.stack = `${broken.message}\n${error.stack}`
  }
  for (const one of chosen) {
    add(one.name, async () => {
      if (broken !== undefined) throw broken
      try {
        for (const hook of hooks.beforeEach) await guarded(hook, DEFAULT_TIMEOUT_MS)
        await guarded(one.body, one.timeoutMs)
      } finally {
        for (const hook of hooks.afterEach) await guarded(hook, DEFAULT_TIMEOUT_MS)
      }
      passed += 1
    })
  }
  own.run()
  await exec()

  for (const hook of hooks.after)
    await guarded(hook, DEFAULT_TIMEOUT_MS).catch((error: unknown) => outside('an after hook', error))
  if (chosen.length === 0) outside('the file', new Error('no test was registered'))
  finish({
    total: chosen.length,
    passed,
    failed: failures.length,
    skipped: skipped + tests.length - chosen.length,
    only: only.length > 0,
    failures,
  })
}

/** A failure that belongs to no test. */
function outside(where: string, thrown: unknown): void {
  failures.push({ name: where, message: messageOf(thrown) })
  process.stderr.write(
    `FAIL ${where}: ${thrown instanceof Error ? (thrown.stack ?? thrown.message) : messageOf(thrown)}\n`,
  )
}

function finish(report: Report): void {
  finished = true
  const file = process.env[REPORT_FILE]
  if (file !== undefined) {
    writeFileSync(`${file}.tmp`, JSON.stringify(report))
    renameSync(`${file}.tmp`, file)
  }
  const code = report.failed === 0 && report.passed === report.total ? 0 : 1
  // Whatever a test has left open must not keep the process; what it printed must still get out.
  process.stdout.write('', () => process.stderr.write('', () => process.exit(code)))
}

for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(event, (thrown: unknown) => {
    const error =
      thrown instanceof Error ? thrown : new Error(`a value that is no Error was thrown: ${messageOf(thrown)}`)
    if (!begun) {
      process.stderr.write(`${error.stack ?? error.message}\n`)
      process.exit(1)
    }
    if (interrupt !== undefined) interrupt(error)
    else outside('outside any test', error)
  })
}

process.on('exit', () => {
  if (finished) return
  process.stderr.write('FAIL the process ended before its tests had\n')
  process.exitCode = 1
})

// The main module's own evaluation, top-level awaits included, is what this import waits for: all tests are known then.
const main = process.argv[1]
if (main === undefined) throw new Error('test/harness.ts must be imported by a test file that is run as a program')
import(pathToFileURL(realpathSync(main)).href).then(runAll).catch((error: unknown) => {
  outside('the file', error)
  process.exit(1)
})

// runtimes: node, bun
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import * as assert from 'uvu/assert'
import { TenantryError } from '../../core/errors.ts'
import { childrenOf, endAll } from '../../tools/setup/process.mjs'
import { afterEach, test } from '../harness.ts'
import { ManualClock } from '../manual-clock.ts'
import { eventually } from '../services.ts'
import { actors, chaos, does, Observed, type ObservedOptions, opening } from './pool-stage.ts'

// Whatever an actor does to its thread, the pool goes on, and says who may have done it.

/** Longer than any test may take: nothing that a test sees was waited for until it was over. */
const longSleepSeconds = 600
/** The daemon's own: less is missed by threads that do nothing wrong, on a machine with much more to do. */
const blockLimitMs = 1_000

let current: Observed | undefined

async function started(count: number, settings: ObservedOptions['settings'] = {}): Promise<Observed> {
  current = new Observed(count, { settings })
  await current.start()
  return current
}

/** Ends the programs that threads wait for, which would outlast any test. */
function wakeSleepers(): Promise<void> {
  return endAll(childrenOf(process.pid), 'SIGKILL')
}

afterEach(async () => {
  await wakeSleepers()
  await current?.pool.stop()
  current = undefined
})

/** Sends mailbox `mailbox` one record that does `what`. */
function send({ pool }: Observed, mailbox: number, what: string, n = 0, worker = 0): void {
  pool.dispatch(worker, [{ mailbox, run: 1, opening: opening(chaos, 'acme'), records: [does(what, n)(mailbox)] }])
}

const codeOf = (error: Error | undefined) => (error !== undefined && 'code' in error ? error.code : error?.name)

for (const what of ['loop', 'atomics', 'microtasks', 'sleep']) {
  test(`a thread that does not answer (${what}) counts as lost at the limit, and another goes on`, async () => {
    const observed = await started(1, { blockLimitMs })
    send(observed, 1, 'wait', 60_000)
    send(observed, 2, what, longSleepSeconds)
    await observed.until(() => observed.lost.length === 1)
    assert.is(codeOf(observed.losses[0]?.error), 'TENANTRY_THREAD_BLOCKED')
    // What goes on after an await cannot be told.
    const suspects = what === 'microtasks' ? [1, 2] : [2]
    assert.equal(
      observed.losses[0]?.executing.map(({ mailbox }) => mailbox),
      suspects,
    )
    await observed.until(() => observed.ready.length === 1)
    send(observed, 3, 'nothing')
    await observed.until(() => observed.decisions.length === 1)
    assert.is(observed.decisions[0]?.mailbox, 3)
  })
}

test('what a lost thread says when it comes to itself again is not heard', async () => {
  const observed = await started(1, { blockLimitMs })
  send(observed, 1, 'sleep', longSleepSeconds)
  await observed.until(() => observed.ready.length === 1)
  const { pool } = observed
  assert.is(pool.lingering, 1)
  await wakeSleepers()
  send(observed, 2, 'nothing')
  await observed.until(() => observed.decisions.length > 0)
  await eventually(() => pool.lingering === 0)
  assert.equal(
    observed.decisions.map(({ mailbox }) => mailbox),
    [2],
  )
})

test('a replacement that cannot load the actors is tried again, and counts', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tenantry-actors-'))
  const broken = join(folder, 'broken')
  writeFileSync(
    join(folder, 'actor.mjs'),
    `import { existsSync } from 'node:fs'
     import actor from ${JSON.stringify(pathToFileURL(join(actors, 'chaos.ts')))}
     if (existsSync(${JSON.stringify(broken)})) throw new Error('it does not load')
     export default actor`,
  )
  try {
    current = new Observed(1, { actors: folder, settings: { maxRestarts: 3 } })
    await current.start()
    const observed = current
    writeFileSync(broken, '')
    send(observed, 1, 'exit')
    await observed.until(() => observed.lost.length === 1)
    rmSync(broken)
    await observed.until(() => observed.ready.length === 1)
    writeFileSync(broken, '')
    send(observed, 2, 'exit')
    await observed.until(() => observed.failures.length === 1)
    assert.equal([observed.lost.length, observed.ready.length], [2, 1])
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('a thread that does not get through loading the actors fails the start', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tenantry-pool-'))
  writeFileSync(join(folder, 'endless.mjs'), 'while (true);\n')
  const clock = new ManualClock()
  current = new Observed(1, { actors: folder, clock })
  const start = current.start().catch((error: unknown) => error)
  await clock.pass(61_000)
  const error = await start
  rmSync(folder, { recursive: true })
  assert.ok(error instanceof TenantryError && error.code === 'TENANTRY_THREAD_START')
})

test('threads that were ended in vain are given up on, too', async () => {
  const observed = await started(1, { maxRestarts: 1, blockLimitMs })
  const { pool } = observed
  for (let i = 1; i <= 3; i++) {
    pool.openExtra()
    await observed.until(() => observed.ready.length === i)
    send(observed, i, 'sleep', longSleepSeconds, 1)
    await observed.until(() => observed.lost.length === i)
  }
  assert.equal(
    observed.failures.map(({ code }) => code),
    ['TENANTRY_WORKERS_FAIL'],
  )
  await pool.stop()
  assert.is(pool.lingering, 3, 'stop does not wait for them')
})

test('records that follow each other without a pause are no block', async () => {
  const observed = await started(1, { blockLimitMs })
  const records = Array.from({ length: 40 }, (_, i) => does('busy', 50)(i))
  observed.pool.dispatch(0, [{ mailbox: 1, run: 1, opening: opening(chaos, 'acme'), records }])
  await observed.until(() => observed.decisions.length === 40 || observed.lost.length > 0)
  assert.equal(observed.lost, [])
})

test('the one whose code had the thread is named; where it cannot be told, all that had begun', async () => {
  const observed = await started(1)
  for (let mailbox = 1; mailbox <= 5; mailbox++) send(observed, mailbox, 'wait', 60_000)
  send(observed, 6, 'nothing')
  send(observed, 7, 'exit')
  await observed.until(() => observed.ready.length === 1)
  assert.equal(observed.losses[0]?.executing, [{ mailbox: 7, offset: 7 }])
  for (let mailbox = 11; mailbox <= 13; mailbox++) send(observed, mailbox, 'wait', 60_000)
  send(observed, 14, 'throw-later')
  await observed.until(() => observed.ready.length === 2)
  assert.equal(
    observed.losses[1]?.executing.map(({ mailbox }) => mailbox),
    [11, 12, 13],
  )
})

for (const what of ['late-publish', 'throw-undefined-later', 'break-prototypes']) {
  test(`after ${what} a thread serves the next message, or another does`, async () => {
    const observed = await started(1, { blockLimitMs })
    send(observed, 1, what)
    const served = () => observed.decisions.some(({ mailbox }) => mailbox === 2)
    for (let losses = 0; !served(); losses = observed.lost.length) {
      await observed.until(() => observed.ready.length === observed.lost.length)
      send(observed, 2, 'nothing')
      await observed.until(() => served() || observed.lost.length > losses)
    }
    assert.ok(observed.lost.length <= 1)
  })
}

test('a handler that throws undefined has failed', async () => {
  const observed = await started(1)
  send(observed, 1, 'throw-undefined')
  await observed.until(() => observed.decisions.length === 1)
  const outcome = observed.decisions[0]?.outcome
  assert.is(outcome?.kind === 'failed' && outcome.failure.reason, 'handler')
})

for (const what of ['never', 'obey']) {
  test(`a handler that does not end by itself (${what}) has failed when its time is over, and holds nobody up`, async () => {
    const observed = await started(1, { handlerTimeoutMs: 200, blockLimitMs })
    send(observed, 1, what)
    send(observed, 2, 'nothing')
    await observed.until(() => observed.decisions.length === 2)
    const [other, late] = observed.decisions
    assert.equal([other?.mailbox, late?.mailbox], [2, 1])
    const failure = late?.outcome.kind === 'failed' ? late.outcome.failure : undefined
    assert.equal([failure?.reason, failure?.kind], ['timeout', 'transient'])
    assert.equal(observed.lost, [])
  })
}

test('the extra thread is there when it is asked for, names messages, and is replaced with a handler that it gave up', async () => {
  const observed = await started(1, { handlerTimeoutMs: 100, blockLimitMs: 10_000, maxRestarts: 0 })
  const { pool } = observed
  pool.openExtra()
  pool.openExtra()
  await observed.until(() => observed.ready.length === 1)
  send(observed, 1, 'exit', 0, 1)
  await observed.until(() => observed.lost.length === 1)
  const [one] = observed.losses[0]?.executing ?? []
  assert.equal([one?.mailbox, one?.offset, one?.identity?.messageId, one?.identity?.type], [1, 1, 'm-1', 'do'])
  pool.openExtra()
  await observed.until(() => observed.ready.length === 2)
  send(observed, 2, 'never', 0, 1)
  await observed.until(() => observed.lost.length === 2)
  assert.is(observed.decisions[0]?.mailbox, 2)
  assert.equal(observed.losses[1]?.executing, [])
  assert.equal(observed.lost, [1, 1])
  pool.openExtra()
  await observed.until(() => observed.ready.length === 3)
  pool.closeExtra()
  assert.equal([observed.lost.length, observed.failures], [2, []])
})

test('threads that end again and again are given up on, once', async () => {
  const observed = await started(1, { maxRestarts: 2 })
  for (let i = 1; i <= 2; i++) {
    send(observed, i, 'exit')
    await observed.until(() => observed.ready.length === i)
  }
  assert.equal(observed.failures, [])
  send(observed, 3, 'exit')
  await observed.until(() => observed.lost.length === 3)
  assert.equal(
    observed.failures.map(({ code }) => code),
    ['TENANTRY_WORKERS_FAIL'],
  )
})

test('a thread whose buffers take more memory than the process may hold is ended', async () => {
  const maxResidentBytes = process.memoryUsage.rss() + 300 * 2 ** 20
  const observed = await started(2, { maxResidentBytes, blockLimitMs })
  send(observed, 1, 'wait', 60_000, 1)
  send(observed, 2, 'buffers')
  // On a machine that is short of cores the other may be silent just then, and be taken for the one at first.
  const hoards = () => observed.losses.find(({ executing }) => executing.some(({ mailbox }) => mailbox === 2))
  await observed.until(() => hoards() !== undefined)
  assert.is(codeOf(hoards()?.error), 'TENANTRY_THREAD_MEMORY')
  assert.equal(hoards()?.executing, [{ mailbox: 2, offset: 2 }])
})

test('what actors print becomes lines of log, with the bound that those have', async () => {
  const observed = await started(1)
  send(observed, 1, 'print', 10)
  await observed.until(() => observed.lines.filter((event) => event === 'actor.output').length === 20)
  send(observed, 2, 'print', 10_000)
  await observed.until(() => observed.lines.includes('worker.log_dropped'))
  assert.ok(observed.lines.filter((event) => event === 'actor.output').length <= 1_000)
})

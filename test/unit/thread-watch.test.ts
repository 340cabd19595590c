import * as assert from 'uvu/assert'
import { usableMemory } from '../../core/config/memory.ts'
import { silentLog } from '../../core/log.ts'
import { RestartLimit } from '../../supervisors/restart-limit.ts'
import { ThreadWatch, type Watched } from '../../supervisors/thread-watch.ts'
import { test } from '../harness.ts'
import { ManualClock } from '../manual-clock.ts'

const lookMs = 100
const mebibyte = 2 ** 20

/** A thread that beats as long as it is told to. */
class FakeThread implements Watched {
  ready = true
  beating = true
  heldBytes = 50 * mebibyte
  abandoned = 0
  readonly extra: boolean
  readonly lost: string[] = []
  #silentMs = 0

  constructor(extra = false) {
    this.extra = extra
  }

  silentFor(passedMs: number): number {
    this.#silentMs = this.beating ? 0 : this.#silentMs + passedMs
    return this.#silentMs
  }

  lose(error: { readonly code: string }, options?: { readonly blameless: boolean }): void {
    this.lost.push(options?.blameless === true ? `${error.code}, nobody's fault` : error.code)
    this.beating = true
    this.abandoned = 0
  }
}

/** The watch over some threads, in a process that holds what it is told. */
function watched(threads: readonly FakeThread[], process = { residentBytes: 0, lingering: 0 }) {
  const clock = new ManualClock()
  const events: string[] = []
  const watch = new ThreadWatch({
    clock,
    log: { ...silentLog, warn: (event) => void events.push(event) },
    settings: { blockLimitMs: 10 * lookMs, maxResidentBytes: 1_000 * mebibyte },
    threads: () => threads,
    lingering: () => process.lingering,
    residentBytes: () => process.residentBytes,
  })
  watch.start()
  const pass = async (ms: number) => {
    for (let passed = 0; passed < ms; passed += lookMs) await clock.pass(lookMs)
  }
  return { clock, watch, events, pass }
}

test('a thread that shows no sign of life is lost at the limit, and not before', async () => {
  const [quiet, well] = [new FakeThread(), new FakeThread()]
  const { pass } = watched([quiet, well])
  await pass(500)
  quiet.beating = false
  await pass(900)
  assert.equal(quiet.lost, [])
  await pass(100)
  assert.equal([quiet.lost, well.lost], [['TENANTRY_THREAD_BLOCKED'], []])
})

test('a watch that was itself held up, by a freeze or a lack of cores, does not hold it against the threads', async () => {
  const thread = new FakeThread()
  const { clock, pass } = watched([thread])
  thread.beating = false
  for (let i = 0; i < 4; i++) await clock.freeze(3_600_000)
  assert.equal(thread.lost, [])
  await pass(200)
  assert.equal(thread.lost, ['TENANTRY_THREAD_BLOCKED'])
})

test('a thread may take its time to start, but not for ever', async () => {
  const thread = new FakeThread()
  thread.ready = false
  thread.beating = false
  const { pass } = watched([thread])
  await pass(59_000)
  assert.equal(thread.lost, [])
  await pass(1_000)
  assert.equal(thread.lost, ['TENANTRY_THREAD_START'])
})

test('a thread with too many handlers that never ended is replaced, and nobody is to blame; the extra one with any', async () => {
  const [thread, extra] = [new FakeThread(), new FakeThread(true)]
  const { pass } = watched([thread, extra])
  thread.abandoned = 250
  await pass(lookMs)
  assert.equal([thread.lost, extra.lost], [[], []])
  thread.abandoned = 251
  extra.abandoned = 1
  await pass(lookMs)
  const lost = ["TENANTRY_THREAD_ABANDONED, nobody's fault"]
  assert.equal([thread.lost, extra.lost], [lost, lost])
})

test('too much memory ends the thread that holds most, one at a time', async () => {
  const process = { residentBytes: 1_100 * mebibyte, lingering: 0 }
  const threads = [new FakeThread(), new FakeThread(), new FakeThread()]
  const [, large, larger] = threads
  if (large !== undefined) large.heldBytes = 300 * mebibyte
  if (larger !== undefined) larger.heldBytes = 400 * mebibyte
  const { pass } = watched(threads, process)
  await pass(lookMs)
  const lost = () => threads.map((thread) => thread.lost)
  assert.equal(lost(), [[], [], ['TENANTRY_THREAD_MEMORY']])
  await pass(4_500)
  assert.is(lost().flat().length, 1, 'memory comes back with time')
})

test('a thread that does not answer while memory grows is the one, as its own count is old', async () => {
  const process = { residentBytes: 1_100 * mebibyte, lingering: 0 }
  const threads = [new FakeThread(), new FakeThread()]
  const [large, quiet] = threads
  if (large !== undefined) large.heldBytes = 800 * mebibyte
  if (quiet !== undefined) quiet.beating = false
  await watched(threads, process).pass(lookMs)
  assert.equal(
    threads.map(({ lost }) => lost),
    [[], ['TENANTRY_THREAD_MEMORY']],
  )
})

test('memory that no thread holds, or one that was ended already, costs no thread its life, and is said', async () => {
  for (const process of [
    { residentBytes: 1_500 * mebibyte, lingering: 0 },
    { residentBytes: 1_020 * mebibyte, lingering: 1 },
  ]) {
    const thread = new FakeThread()
    const { pass, events } = watched([thread], process)
    await pass(10_000)
    assert.equal(thread.lost, [])
    assert.equal(events, ['memory.high', 'memory.high'])
  }
})

test('a thread that is merely busy is not ended again and again for memory that others hold', async () => {
  const process = { residentBytes: 1_200 * mebibyte, lingering: 0 }
  const thread = new FakeThread(true)
  const { pass, events } = watched([thread], process)
  const busyFor = async (seconds: number) => {
    for (let looks = 0; looks < seconds * 10; looks++) {
      thread.beating = looks % 2 === 1
      await pass(lookMs)
    }
  }
  await busyFor(30)
  assert.equal(thread.lost, ['TENANTRY_THREAD_MEMORY'], 'its own count was old')
  assert.ok(events.length >= 4, 'and then it is said that no end of a thread would help')
  process.residentBytes = 1_400 * mebibyte
  await busyFor(10)
  assert.is(thread.lost.length, 2, 'more than that may be its doing')
  process.residentBytes = 900 * mebibyte
  await busyFor(10)
  process.residentBytes = 1_100 * mebibyte
  await busyFor(10)
  assert.is(thread.lost.length, 3, 'and so may it be after all was well')
})

test('so many restarts within the window are one too many, and old ones are forgotten', () => {
  const limit = new RestartLimit(2, 1_000)
  assert.equal([limit.note(0), limit.note(500), limit.note(1_200), limit.note(1_300)], [false, false, false, true])
})

test('the memory that may be used is the container’s limit where there is one', () => {
  assert.equal(
    [usableMemory(512, 1_000), usableMemory(0, 1_000), usableMemory(undefined, 1_000), usableMemory(2 ** 64, 1_000)],
    [512, 1_000, 1_000, 1_000],
  )
})

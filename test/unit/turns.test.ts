import fc from 'fast-check'
import * as assert from 'uvu/assert'
import { Account, type Taker, Turns } from '../../actors/turns.ts'
import type { Clock } from '../../core/clock.ts'
import { test } from '../harness.ts'

const sliceMs = 1

/** A thread in virtual time: pieces of work move its clock, and nothing else does. */
class Thread {
  ms = 0
  turned = 0
  /** What follows a promise that has settled. */
  readonly microtasks: (() => void)[] = []
  readonly #later: (() => void)[] = []
  readonly clock: Clock = {
    now: () => this.ms,
    monotonic: () => this.ms,
    after: () => ({ cancel: () => {} }),
  }
  readonly turns = new Turns(this.clock, (work) => this.#later.push(work))

  /** Until `when`, or until there is nothing to do. */
  runUntil(when: () => boolean): void {
    while (!when()) {
      const next = this.microtasks.shift() ?? this.#later.shift()
      if (next === undefined) return
      if (this.microtasks.length === 0) this.turned++
      next()
    }
  }
}

class Tenant implements Taker {
  readonly weight: number
  readonly account = new Account()
  readonly pieces: number[]
  readonly ends: number[] = []
  readonly longestMs: number
  usedMs = 0
  readonly #thread: Thread
  /** Each piece waits for a promise that settles at once, as an async function's does. */
  readonly #waits: boolean
  /** Called when a piece has ended. */
  readonly #ended: () => void

  constructor(
    thread: Thread,
    { weight = 1, pieces, waits = false }: { weight?: number; pieces: readonly number[]; waits?: boolean },
    ended = () => {},
  ) {
    this.#thread = thread
    this.weight = weight
    this.pieces = [...pieces]
    this.longestMs = Math.max(...pieces)
    this.#waits = waits
    this.#ended = ended
  }

  step(): boolean {
    const ms = this.pieces.shift()
    if (ms === undefined) return false
    this.#thread.ms += ms
    this.usedMs += ms
    this.ends.push(this.#thread.ms)
    this.#ended()
    if (this.pieces.length === 0) return false
    if (this.#waits) this.#thread.microtasks.push(() => this.#thread.turns.resume(this))
    return !this.#waits
  }

  rest(): void {}
}

const equal = (n: number, ms: number) => Array.from({ length: n }, () => ms)

const tenant = fc.record({
  weight: fc.constantFrom(0.1, 0.5, 1, 2, 10),
  // Powers of two, so that sums are exact.
  pieces: fc.array(fc.constantFrom(1 / 128, 1 / 16, 1 / 4, 1, 4, 32), { minLength: 1, maxLength: 60 }),
})

test('while all have work, their times by weight differ by a slice and a piece of each at most', () => {
  fc.assert(
    fc.property(fc.array(tenant, { minLength: 2, maxLength: 8 }), (drawn) => {
      const thread = new Thread()
      const shares = () => tenants.map(({ usedMs, weight }) => usedMs / weight)
      const check = () => {
        if (tenants.some(({ pieces }) => pieces.length === 0)) return
        const now = shares()
        for (const [i, a] of tenants.entries())
          for (const [j, b] of tenants.entries()) {
            const most = sliceMs + a.longestMs / a.weight + b.longestMs / b.weight + 1e-9
            const apart = Math.abs((now[i] ?? 0) - (now[j] ?? 0))
            assert.ok(apart <= most, `${apart} ms apart, and ${most} may be`)
          }
      }
      const tenants: readonly Tenant[] = drawn.map((each) => new Tenant(thread, each, check))
      for (const each of tenants) thread.turns.ready(each)
      thread.turns.run()
      thread.runUntil(() => false)
      assert.equal(
        tenants.map(({ ends }) => ends.length),
        drawn.map(({ pieces }) => pieces.length),
        'all is done',
      )
    }),
    { numRuns: 500 },
  )
})

for (const waits of [false, true]) {
  const how = waits ? 'that wait for promises' : 'that do not wait'
  test(`pieces of 1 ms do not slow pieces of 10 µs to their pace (handlers ${how})`, () => {
    const thread = new Thread()
    const slow = new Tenant(thread, { pieces: equal(1_000, 1) })
    const quick = new Tenant(thread, { pieces: equal(1_000, 0.01), waits })
    for (const each of [slow, quick]) thread.turns.ready(each)
    thread.turns.run()
    thread.runUntil(() => quick.pieces.length === 0)
    assert.ok(thread.ms < 25, `1,000 pieces of 10 µs took ${thread.ms} ms`)
  })

  test(`one that is alone has everything, and the event loop turns (handlers ${how})`, () => {
    const thread = new Thread()
    const flood = new Tenant(thread, { pieces: equal(10_000, 0.01), waits })
    thread.turns.ready(flood)
    thread.turns.run()
    thread.runUntil(() => flood.pieces.length === 0)
    assert.ok(Math.abs(thread.ms - 100) < 1e-6)
    assert.ok(thread.turned >= 10, `the event loop turned ${thread.turned} times in 100 ms`)
  })
}

test('a weight is a share of the time', () => {
  const thread = new Thread()
  const heavy = new Tenant(thread, { weight: 3, pieces: equal(10_000, 0.25) })
  const light = new Tenant(thread, { pieces: equal(10_000, 0.5) })
  for (const each of [light, heavy]) thread.turns.ready(each)
  thread.turns.run()
  thread.runUntil(() => thread.ms > 400)
  assert.ok(Math.abs(heavy.usedMs / light.usedMs - 3) < 0.1, `${heavy.usedMs} ms and ${light.usedMs} ms`)
})

test('what a piece took too long is paid off by the rounds of others', () => {
  const thread = new Thread()
  const long = new Tenant(thread, { pieces: [20, 1] })
  const others = new Tenant(thread, { pieces: equal(100, 1) })
  for (const each of [long, others]) thread.turns.ready(each)
  thread.turns.run()
  thread.runUntil(() => long.pieces.length === 0)
  assert.ok(others.usedMs >= 19 && others.usedMs <= 21, `${others.usedMs} ms`)
})

test('and so it is while it is away', () => {
  const thread = new Thread()
  const long = new Tenant(thread, { pieces: [20] })
  const others = new Tenant(thread, { pieces: equal(100, 1) })
  for (const each of [long, others]) thread.turns.ready(each)
  thread.turns.run()
  thread.runUntil(() => others.usedMs >= 30)
  long.pieces.push(1)
  thread.turns.ready(long)
  thread.runUntil(() => long.pieces.length === 0)
  assert.ok(others.usedMs <= 32, `${others.usedMs} ms`)
})

test('the event loop turns within a round of many', () => {
  const thread = new Thread()
  const many = Array.from({ length: 100 }, () => new Tenant(thread, { pieces: equal(4, 0.5) }))
  for (const each of many) thread.turns.ready(each)
  thread.turns.run()
  assert.ok(thread.ms <= 11, `it worked ${thread.ms} ms`)
  thread.runUntil(() => false)
  assert.ok(Math.abs(thread.ms - 200) < 1e-6)
})

/** Its handlers do what they do after they have awaited what was there already. */
class Awaiting implements Taker {
  readonly weight = 1
  readonly account = new Account()
  usedMs = 0
  readonly #thread: Thread
  readonly #ms: number

  constructor(thread: Thread, ms: number) {
    this.#thread = thread
    this.#ms = ms
  }

  step(): boolean {
    this.#thread.microtasks.push(() => {
      this.#thread.ms += this.#ms
      this.usedMs += this.#ms
      this.#thread.turns.resume(this)
    })
    return false
  }

  rest(): void {}
}

for (const ms of [0.1, 5])
  test(`${ms} ms of work that follow an await each time do not keep the event loop, nor the others`, () => {
    const thread = new Thread()
    const awaiting = new Awaiting(thread, ms)
    const others = new Tenant(thread, { pieces: equal(2_000, 0.1) })
    for (const each of [awaiting, others]) thread.turns.ready(each)
    thread.turns.run()
    thread.runUntil(() => others.pieces.length === 0)
    assert.ok(awaiting.usedMs < 1.5 * others.usedMs, `${awaiting.usedMs} ms, and the others ${others.usedMs} ms`)
    assert.ok(thread.turned >= thread.ms / 21, `the event loop turned ${thread.turned} times in ${thread.ms} ms`)
  })

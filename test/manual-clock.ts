import type { Clock } from '../core/clock.ts'

/** Time that passes when a test says so. */
export class ManualClock implements Clock {
  #now = 0
  #wall: number
  #timers: { at: number; fn: () => void }[] = []

  constructor(wall = 1_700_000_000_000) {
    this.#wall = wall
  }

  now(): number {
    return this.#wall + this.#now
  }

  monotonic(): number {
    return this.#now
  }

  after(ms: number, fn: () => void) {
    const timer = { at: this.#now + ms, fn }
    this.#timers.push(timer)
    return { cancel: () => void (this.#timers = this.#timers.filter((one) => one !== timer)) }
  }

  /** Somebody sets the wall clock, by `ms`. */
  step(ms: number): void {
    this.#wall += ms
  }

  /** Timers that are yet to ring. */
  get timers(): number {
    return this.#timers.length
  }

  /** Lets `ms` pass: each timer at its time, and after each all promises that it settled. */
  async pass(ms: number): Promise<void> {
    const end = this.#now + ms
    await turn()
    for (;;) {
      const next = this.#timers.reduce((a, b) => (b.at < a.at ? b : a), { at: Number.POSITIVE_INFINITY, fn() {} })
      if (next.at > end) break
      this.#timers = this.#timers.filter((one) => one !== next)
      this.#now = Math.max(this.#now, next.at)
      next.fn()
      await turn()
    }
    this.#now = end
  }

  /** The process stands still for `ms`: what was due meanwhile rings late, once. */
  async freeze(ms: number): Promise<void> {
    this.#now += ms
    await this.pass(0)
  }
}

/** All promises that can settle have. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

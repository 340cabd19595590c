import type { Clock, Timer } from '../core/clock.ts'

/** How many go at first; twice as many with each step after. */
const first = 10
/** Between steps. */
const stepMs = 1_000

/**
 * Lets those go that have waited for one thing: a few at first and more with each step, up to a rate, as what they all
 * waited for has only just come back. Whoever waits is kept in the order in which they came.
 */
export class SteppedRelease<T> {
  readonly #clock: Clock
  readonly #mostPerSecond: number
  readonly #go: (waiting: T) => void
  readonly #settled: () => void
  readonly #waiting = new Set<T>()
  #timer: Timer | null = null

  /** `go` is called for each in its turn, and `settled` after each step that a timer began. */
  constructor(clock: Clock, mostPerSecond: number, go: (waiting: T) => void, settled: () => void) {
    this.#clock = clock
    this.#mostPerSecond = mostPerSecond
    this.#go = go
    this.#settled = settled
  }

  get size(): number {
    return this.#waiting.size
  }

  get running(): boolean {
    return this.#timer !== null
  }

  has(one: T): boolean {
    return this.#waiting.has(one)
  }

  /** In order. */
  values(): Iterable<T> {
    return this.#waiting
  }

  /** Puts it last, wherever it stood. */
  add(one: T): void {
    this.#waiting.delete(one)
    this.#waiting.add(one)
  }

  delete(one: T): void {
    this.#waiting.delete(one)
  }

  /** Nobody goes any more. */
  halt(): void {
    this.#timer?.cancel()
    this.#timer = null
  }

  /** The first go now, the rest in steps. */
  start(): void {
    if (this.#timer === null) this.#step(Math.min(first, this.#mostPerSecond))
  }

  #step(count: number): void {
    this.#timer = null
    if (this.#waiting.size > count)
      this.#timer = this.#clock.after(stepMs, () => {
        this.#step(Math.min(count * 2, this.#mostPerSecond))
        this.#settled()
      })
    let left = count
    for (const one of this.#waiting) {
      if (left-- === 0) break
      this.#waiting.delete(one)
      this.#go(one)
    }
  }
}

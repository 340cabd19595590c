import type { Clock } from '../core/clock.ts'
import { Fifo } from '../core/fifo.ts'

/** The thread's time that a weight of 1 may use in a round. Milliseconds. */
const sliceMs = 1

/** After so much work the thread's event loop turns. Milliseconds. */
const stintMs = 10

/** One that shares the thread with others. */
export interface Taker {
  /** Its share, compared with others'. 10 at most: the event loop does not turn within a slice. */
  readonly weight: number
  readonly account: Account
  /** Works one piece off, without waiting. Returns whether there is another one that could be done now. */
  step(): boolean
  /** It has more to do, and others come first. */
  rest(): void
}

/** What a taker has of a round. Only `Turns` writes it. */
export class Account {
  waiting = false
  /** The round in which it was last granted a slice. */
  round = 0
  /** What is left of that; below zero once a piece took longer. Milliseconds. */
  leftMs = 0
}

/**
 * Shares a thread's time by deficit round robin. How long a piece takes is known only afterwards, so the last one of a
 * slice may exceed it, and what it took too long is missing from the next slices. What a taker does not use it does not
 * keep, and while it is away each round pays off a slice of its debt. So while two have work, their times by weight
 * differ by one slice and one piece of each at most; and one that is alone has everything.
 *
 * Each round ends with a turn of the event loop. Until then one that waited for a promise goes on with its slice, so it
 * is not slowed to the pace of those that never wait.
 */
export class Turns {
  readonly #clock: Clock
  readonly #later: (work: () => void) => void
  readonly #ring = new Fifo<Taker>()
  #round = 1
  /** Those of the ring that are still to come in this round. */
  #toCome = 0
  /** Worked since the event loop turned. Milliseconds. */
  #spentMs = 0
  /** It is noticed when the event loop turns next. */
  #watching = false
  /** While it is: where what was done since the last piece begins, be it by code that follows a promise. */
  #servedAt = 0
  #working = false
  #putOff = false

  /** `later` calls back when the event loop has turned. */
  constructor(clock: Clock, later: (work: () => void) => void = setImmediate) {
    this.#clock = clock
    this.#later = later
  }

  /** It has work, which `run` begins. */
  ready(taker: Taker): void {
    if (taker.account.waiting) return
    taker.account.waiting = true
    this.#ring.push(taker)
  }

  /** It has work again after a promise: at once, while something is left of its slice. */
  resume(taker: Taker): void {
    const now = this.#clock.monotonic()
    if (!this.#working) this.#charge(taker.account, now)
    if (!taker.account.waiting && !this.#working && this.#spentMs < stintMs) {
      this.#working = true
      try {
        this.#serve(taker, now)
      } finally {
        this.#working = false
      }
    } else {
      taker.rest()
      this.ready(taker)
    }
    this.#goOnLater()
  }

  /** Does what there is to do, up to the end of the round; the rest follows by itself. */
  run(): void {
    if (this.#working || this.#putOff) return
    this.#working = true
    try {
      this.#goRound()
    } finally {
      this.#working = false
    }
    this.#goOnLater()
  }

  #goRound(): void {
    if (this.#ring.length === 0) return
    if (this.#toCome === 0) {
      this.#round++
      this.#toCome = this.#ring.length
    }
    let now = this.#clock.monotonic()
    this.#watch(now)
    while (this.#toCome > 0 && this.#spentMs < stintMs) {
      this.#toCome--
      const taker = this.#ring.shift()
      if (taker === undefined) continue
      taker.account.waiting = false
      now = this.#serve(taker, now)
    }
  }

  /**
   * Until the event loop turns, what runs between two pieces follows promises: it is the taker's own code, after an `await`
   * of what was there. Where the loop has turned in between, nobody knows how long that took.
   */
  #charge(account: Account, now: number): void {
    if (this.#watching) {
      account.leftMs -= now - this.#servedAt
      this.#spentMs += now - this.#servedAt
    }
    this.#watch(now)
  }

  #watch(now: number): void {
    this.#servedAt = now
    if (this.#watching) return
    this.#watching = true
    this.#spentMs = 0
    this.#later(() => {
      this.#watching = false
    })
  }

  /** One look at the clock a piece: it costs half a percent of the cheapest. */
  #serve(taker: Taker, from: number): number {
    const { account } = taker
    const rounds = this.#round - account.round
    if (rounds > 0) {
      const slice = sliceMs * taker.weight
      account.leftMs = Math.min(0, account.leftMs + (rounds - 1) * slice) + slice
      account.round = this.#round
    }
    let before = from
    while (account.leftMs > 0) {
      const more = taker.step()
      const now = this.#clock.monotonic()
      account.leftMs -= now - before
      this.#spentMs += now - before
      before = now
      this.#servedAt = now
      if (!more) return now
    }
    taker.rest()
    this.ready(taker)
    return before
  }

  #goOnLater(): void {
    if (this.#putOff || this.#ring.length === 0) return
    this.#putOff = true
    this.#later(() => {
      this.#putOff = false
      this.#spentMs = 0
      this.run()
    })
  }
}

import type { Clock } from '../core/clock.ts'
import type { Vitals } from './vitals.ts'

/** A mailbox as its thread's clock sees it. */
export interface Runner {
  readonly mailbox: number
  /** How long a record of it may wait for promises. Milliseconds. */
  readonly timeoutMs: number
  /** It waits for PostgreSQL, which is not its own fault: its time stands still. */
  readonly reading: boolean
  /** Its time is over. Called again if it still runs when the grace is over, too. */
  late(): void
}

/** What a handler that is told to end gets to do so. */
const graceMs = 1_000

/** A deadline not yet set: the time begins with the next beat, so that a record costs no look at the clock. */
const unset = -1

/**
 * What a thread executes, and since when: one place for each mailbox that runs, in the memory that the supervisor sees.
 * One timer beats for the whole thread and looks for those whose time is over, so a record costs a few stores.
 */
export class Running {
  readonly #vitals: Vitals
  readonly #clock: Clock
  readonly #beatMs: number
  readonly #beaten: () => void
  readonly #runners: (Runner | undefined)[]
  readonly #due: number[]
  readonly #free: number[]
  /** Places from here on were never taken. */
  #taken = 0
  /** Time in which this thread could have worked: a beat that comes late, as all do after a freeze, counts as two. */
  #now = 0
  #lastBeat = 0

  /** `beaten` is called with each beat. */
  constructor(vitals: Vitals, clock: Clock, beatMs: number, beaten: () => void = () => {}) {
    this.#vitals = vitals
    this.#clock = clock
    this.#beatMs = beatMs
    this.#beaten = beaten
    const { places } = vitals
    this.#runners = Array.from({ length: places }, () => undefined)
    this.#due = Array.from({ length: places }, () => Number.POSITIVE_INFINITY)
    this.#free = Array.from({ length: places }, (_, i) => places - 1 - i)
  }

  start(): void {
    this.#lastBeat = this.#clock.monotonic()
    this.#vitals.beat()
    this.#next()
  }

  /** The runner is about to execute records. Returns its place; -1 where there is none. */
  enter(runner: Runner): number {
    const place = this.#free.pop() ?? -1
    if (place < 0) return place
    if (place >= this.#taken) this.#taken = place + 1
    this.#runners[place] = runner
    this.#vitals.entered(place, runner.mailbox)
    return place
  }

  /** A record begins, or goes on after a promise. */
  begin(place: number, offset: number): void {
    if (place >= 0) this.#vitals.began(place, offset)
  }

  /** It waits for a promise from now on. */
  wait(place: number): void {
    this.#vitals.yielded()
    if (place >= 0) this.#due[place] = unset
  }

  /** It executes nothing any more. */
  end(place: number): void {
    this.#vitals.yielded()
    if (place < 0 || this.#runners[place] === undefined) return
    this.#runners[place] = undefined
    this.#due[place] = Number.POSITIVE_INFINITY
    this.#vitals.ended(place)
    this.#free.push(place)
  }

  /** A handler was given up although it runs; `returned` when it has ended all the same. */
  abandoned(): void {
    this.#vitals.abandoned++
  }

  returned(): void {
    this.#vitals.abandoned--
  }

  #next(): void {
    this.#clock.after(this.#beatMs, () => {
      this.#beat()
      this.#next()
    })
  }

  #beat(): void {
    const now = this.#clock.monotonic()
    const passed = Math.min(now - this.#lastBeat, 2 * this.#beatMs)
    this.#lastBeat = now
    this.#now += passed
    this.#vitals.beat()
    this.#vitals.heldBytes = heldBytes()
    this.#beaten()
    for (let place = 0; place < this.#taken; place++) {
      const runner = this.#runners[place]
      if (runner !== undefined) this.#look(place, runner, passed)
    }
  }

  #look(place: number, runner: Runner, passed: number): void {
    const due = this.#due[place] ?? 0
    if (due === unset) {
      this.#due[place] = this.#now + runner.timeoutMs
    } else if (runner.reading) {
      this.#due[place] = due + passed
    } else if (this.#now >= due) {
      this.#due[place] = this.#now + graceMs
      runner.late()
    }
  }
}

/** Heap and buffers of this thread. Node counts them apart, Bun counts buffers as heap, too. */
function heldBytes(): number {
  const { heapTotal, heapUsed, external, arrayBuffers } = process.memoryUsage()
  return Math.max(heapUsed, heapTotal + Math.max(external, arrayBuffers))
}

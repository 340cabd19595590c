import type { EventLoop, Process } from './event-loop.ts'
import type { Hazard, Hazards, Point, Strike } from './schedule.ts'
import { SeededRandom } from './seeded-random.ts'

/** What happened how often: rare paths that a run of many seeds must have reached. */
export class Marks {
  readonly counts = new Map<string, number>()

  hit(mark: string): void {
    this.counts.set(mark, (this.counts.get(mark) ?? 0) + 1)
  }
}

/** Decides when faults happen, until `stop`. Each hazard draws from a stream of its own. */
export class Chaos {
  readonly #loop: EventLoop
  readonly #marks: Marks
  readonly #hazards: Hazards
  readonly #streams = new Map<Hazard, SeededRandom>()
  readonly #seed: string
  readonly #waiting = new Map<string, Strike[]>()
  readonly #passed = new Map<Point, number>()
  readonly #strike: (strike: Strike, at: Process | null) => void
  #on = true

  constructor(options: {
    loop: EventLoop
    marks: Marks
    seed: string
    hazards: Hazards
    strikes: readonly Strike[]
    strike: (strike: Strike, at: Process | null) => void
  }) {
    this.#loop = options.loop
    this.#marks = options.marks
    this.#hazards = options.hazards
    this.#seed = options.seed
    this.#strike = options.strike
    for (const strike of options.strikes) {
      if (typeof strike.at === 'number') {
        this.#loop.after(strike.at, `strike ${strike.kind}`, () => this.#hit(strike, null))
      } else {
        const key = `${strike.at.point} ${strike.at.nth}`
        this.#waiting.set(key, [...(this.#waiting.get(key) ?? []), strike])
      }
    }
  }

  get on(): boolean {
    return this.#on
  }

  /** From here on everything works. */
  stop(): void {
    this.#on = false
  }

  happens(hazard: Hazard): boolean {
    const rate = this.#hazards[hazard]
    if (!this.#on || rate === undefined) return false
    let stream = this.#streams.get(hazard)
    if (stream === undefined) {
      stream = new SeededRandom(`hazard ${hazard} ${this.#seed}`)
      this.#streams.set(hazard, stream)
    }
    if (!stream.chance(rate)) return false
    this.#marks.hit(hazard)
    this.#loop.mix(hazard)
    return true
  }

  mark(mark: string): void {
    this.#marks.hit(mark)
  }

  /** A daemon passes a point, at which a fault may wait for it. */
  at(point: Point, process: Process | null): void {
    this.#marks.hit(`at ${point}`)
    const nth = (this.#passed.get(point) ?? 0) + 1
    this.#passed.set(point, nth)
    for (const strike of this.#waiting.get(`${point} ${nth}`) ?? []) {
      this.#marks.hit(`${strike.kind} at ${point}`)
      this.#hit(strike, process)
    }
  }

  #hit(strike: Strike, process: Process | null): void {
    if (!this.#on) return
    this.#marks.hit(strike.kind)
    this.#strike(strike, process)
  }
}

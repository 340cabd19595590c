import type { Clock, Timer } from '../../core/clock.ts'

/** What a simulated operating system runs. Events of a dead one never happen, those of a frozen one wait. */
export class Process {
  readonly name: string
  state: 'running' | 'frozen' | 'dead' = 'running'
  readonly deferred: Task[] = []

  constructor(name: string) {
    this.name = name
  }
}

export type Task = {
  readonly at: number
  readonly order: number
  readonly label: string
  readonly run: () => void
  readonly owner: Process | null
  cancelled: boolean
}

/** This many events share one turn of the real loop; the microtasks of each are drained before the next all the same. */
const eventsPerTurn = 128

/**
 * Virtual time: a priority queue of (time, order), one event at a time, and after each all promises that it settled run
 * to their ends. So a promise chain, however long, is done before the next event, as it is on a real idle thread.
 */
export class EventLoop {
  readonly #heap: Task[] = []
  readonly #failed: (error: unknown, owner: Process | null) => void
  #order = 0
  #now = 0
  /** Events that have happened. */
  events = 0
  /** A rolling hash of what happened and when. */
  hash = 0

  constructor(failed: (error: unknown, owner: Process | null) => void) {
    this.#failed = failed
  }

  /** Milliseconds of virtual time since the start. */
  get now(): number {
    return this.#now
  }

  after(ms: number, label: string, run: () => void, owner: Process | null = null): Task {
    const task: Task = { at: this.#now + Math.max(0, ms), order: this.#order++, label, run, owner, cancelled: false }
    this.#push(task)
    return task
  }

  freeze(process: Process): void {
    if (process.state === 'running') process.state = 'frozen'
  }

  /** What waited happens now, in its old order. */
  thaw(process: Process): void {
    if (process.state !== 'frozen') return
    process.state = 'running'
    for (const task of process.deferred.splice(0)) {
      const run = () => {
        if (!task.cancelled) task.run()
      }
      this.after(0, task.label, run, process)
    }
  }

  kill(process: Process): void {
    process.state = 'dead'
    process.deferred.length = 0
  }

  /** Runs until `done` says so, no event is left, or virtual time passes `untilMs`. */
  run(untilMs: number, done: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      let finished = false
      const one = () => {
        if (finished) return
        const next = this.#heap[0]
        if (next === undefined || next.at > untilMs || done()) {
          finished = true
          if (next !== undefined && next.at > untilMs) this.#now = untilMs
          resolve()
          return
        }
        this.#pop()
        this.#happen(next)
      }
      const turn = () => {
        if (finished) return
        for (let i = 0; i < eventsPerTurn; i++) setImmediate(one)
        setImmediate(turn)
      }
      turn()
    })
  }

  #happen(task: Task): void {
    if (task.cancelled || task.owner?.state === 'dead') return
    this.#now = task.at
    if (task.owner?.state === 'frozen') {
      task.owner.deferred.push(task)
      return
    }
    this.events++
    this.mix(task.label)
    try {
      task.run()
    } catch (error) {
      this.#failed(error, task.owner)
    }
  }

  /** Mixes a word and the present time into the hash. */
  mix(word: string): void {
    let hash = Math.imul(this.hash ^ Math.floor(this.#now * 1_000), 2_654_435_761)
    for (let i = 0; i < word.length; i++) hash = Math.imul(hash ^ word.charCodeAt(i), 16_777_619)
    this.hash = (hash ^ (hash >>> 15)) | 0
  }

  #push(task: Task): void {
    const heap = this.#heap
    let i = heap.length
    heap.push(task)
    while (i > 0) {
      const up = (i - 1) >> 1
      const parent = heap[up]
      if (parent === undefined || before(parent, task)) break
      heap[i] = parent
      i = up
    }
    heap[i] = task
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      let least = heap[child]
      if (least === undefined) break
      const right = heap[child + 1]
      if (right !== undefined && before(right, least)) {
        least = right
        child++
      }
      if (before(last, least)) break
      heap[i] = least
      i = child
    }
    heap[i] = last
  }
}

function before(a: Task, b: Task): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}

/** A process's own clock. `skew` is how wrong its wall clock is, in milliseconds. */
export class VirtualClock implements Clock {
  readonly #loop: EventLoop
  readonly #process: Process
  readonly #skew: number

  constructor(loop: EventLoop, process: Process, skew: number) {
    this.#loop = loop
    this.#process = process
    this.#skew = skew
  }

  now(): number {
    return 1_800_000_000_000 + this.#loop.now + this.#skew
  }

  monotonic(): number {
    return this.#loop.now
  }

  after(ms: number, fn: () => void): Timer {
    const task = this.#loop.after(ms, 'timer', fn, this.#process)
    return {
      cancel: () => {
        task.cancelled = true
      },
    }
  }
}

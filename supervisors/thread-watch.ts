import type { Clock, Timer } from '../core/clock.ts'
import { TenantryError } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import { heaviest } from './memory-watch.ts'

/** What is to be seen of a thread. */
export interface Watched {
  readonly extra: boolean
  readonly ready: boolean
  readonly heldBytes: number
  /** Handlers that it has given up and that have not ended. */
  readonly abandoned: number
  /** For how long it has shown no sign of life, now that so many milliseconds more have passed. */
  silentFor(passedMs: number): number
  lose(error: TenantryError, options?: { readonly blameless: boolean }): void
}

export type ThreadWatchSettings = {
  /** A thread that shows no sign of life for so long counts as lost. */
  readonly blockLimitMs: number
  /** What the process may hold in memory: past it, the thread that holds most is replaced. */
  readonly maxResidentBytes: number
}

export type ThreadWatchOptions = {
  readonly clock: Clock
  readonly log: Log
  readonly settings: ThreadWatchSettings
  readonly threads: () => readonly Watched[]
  /** Threads that were ended and have not. */
  readonly lingering: () => number
  readonly residentBytes?: () => number
}

/** A thread may take so long to load its actors. */
const startLimitMs = 60_000

/** Handlers that a thread may have given up and that have not ended: each keeps its message in memory. */
const maxAbandoned = 250

/** After a thread was ended for its memory, how long to wait before another is. */
const memoryPauseMs = 5_000

/** The end of a thread that does not count has not helped; the next one is ended only when so much more is held. */
const noticeableGrowth = 1.1

export const memoryCode = 'TENANTRY_THREAD_MEMORY'
export const abandonedCode = 'TENANTRY_THREAD_ABANDONED'

/** How often the threads are looked at, and beat. */
export function beatMsOf({ blockLimitMs }: ThreadWatchSettings): number {
  return blockLimitMs / 10
}

/** Ends threads that do not answer, keep handlers that never end, or hold too much memory. */
export class ThreadWatch {
  readonly #options: ThreadWatchOptions
  readonly #everyMs: number
  #timer: Timer | undefined
  #lookedAt = 0
  #memoryPauseEnds = 0
  /** What the process held when a thread that did not count was last ended for it, until it holds less; 0: none was. */
  #heldByOthers = 0

  constructor(options: ThreadWatchOptions) {
    this.#options = options
    this.#everyMs = beatMsOf(options.settings)
  }

  start(): void {
    this.#lookedAt = this.#options.clock.monotonic()
    this.#lookLater()
  }

  stop(): void {
    this.#timer?.cancel()
  }

  #lookLater(): void {
    this.#timer = this.#options.clock.after(this.#everyMs, () => {
      this.#lookLater()
      this.#look()
    })
  }

  /** A thread does not pay for time that this one did not have either: after a freeze, all have been silent for long. */
  #look(): void {
    const { clock, settings, threads } = this.#options
    const now = clock.monotonic()
    const passedMs = Math.min(now - this.#lookedAt, 2 * this.#everyMs)
    this.#lookedAt = now
    const silent = new Set<Watched>()
    for (const thread of threads()) {
      const silentMs = thread.silentFor(passedMs)
      const limitMs = thread.ready ? settings.blockLimitMs : startLimitMs
      if (silentMs >= limitMs) thread.lose(thread.ready ? blocked(limitMs) : notStarted(limitMs))
      else if (thread.abandoned > (thread.extra ? 0 : maxAbandoned))
        thread.lose(tooManyAbandoned(thread.abandoned), { blameless: true })
      else if (silentMs > 0) silent.add(thread)
    }
    if (now >= this.#memoryPauseEnds) this.#lookAtMemory(now, silent)
  }

  #lookAtMemory(now: number, silent: ReadonlySet<Watched>): void {
    const { log, settings, threads, lingering, residentBytes = process.memoryUsage.rss } = this.#options
    const { maxResidentBytes } = settings
    const resident = residentBytes()
    if (resident <= maxResidentBytes) {
      this.#heldByOthers = 0
      return
    }
    this.#memoryPauseEnds = now + memoryPauseMs
    // What a thread holds that was ended and has not is nobody else's doing.
    const running = lingering() > 0 ? [] : threads().filter(({ ready }) => ready)
    // A thread that is merely busy would be ended again and again, and what it runs be taken for the cause.
    const grows = resident > this.#heldByOthers * noticeableGrowth
    const weighed = running.map((thread) => ({ heldBytes: thread.heldBytes, silent: grows && silent.has(thread) }))
    const thread = running[heaviest(weighed, resident - maxResidentBytes)]
    if (thread !== undefined && silent.has(thread)) this.#heldByOthers = resident
    if (thread === undefined)
      log.warn(
        'memory.high',
        { residentBytes: resident, maxResidentBytes },
        'The process holds more memory than workers.maxResidentBytes, and no worker thread so much of it that it would help to end it.',
      )
    else thread.lose(tooMuchMemory(resident, maxResidentBytes, thread.heldBytes))
  }
}

function blocked(limitMs: number): TenantryError {
  return new TenantryError('TENANTRY_THREAD_BLOCKED', `the thread's event loop did not turn for ${limitMs} ms`, {
    limitMs,
  })
}

function notStarted(limitMs: number): TenantryError {
  return new TenantryError('TENANTRY_THREAD_START', `the thread had not loaded the actors after ${limitMs} ms`, {
    limitMs,
  })
}

function tooManyAbandoned(count: number): TenantryError {
  return new TenantryError(abandonedCode, `${count} handlers did not end when their time was over`, { count })
}

function tooMuchMemory(residentBytes: number, maxResidentBytes: number, heldBytes: number): TenantryError {
  return new TenantryError(
    memoryCode,
    `the process holds ${residentBytes} bytes, the limit is ${maxResidentBytes}, and this thread ${heldBytes} of them`,
    { residentBytes, maxResidentBytes, heldBytes },
  )
}

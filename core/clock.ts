/**
 * Time as the engine sees it. Everything that needs a time or a delay takes a `Clock`, so that the simulation can run
 * the same objects under virtual time. This file is the only one that may touch the runtime's own clocks and timers.
 */
export interface Clock {
  /** Wall-clock time, in milliseconds since 1970. For timestamps that people read; never for measuring a delay. */
  now(): number
  /** Milliseconds from an arbitrary start, never going back. For every delay, deadline and duration. */
  monotonic(): number
  /** Calls `fn` once, `ms` milliseconds from now. Cancelling twice, or after it has run, is harmless. */
  after(ms: number, fn: () => void): Timer
}

export interface Timer {
  cancel(): void
}

/** The machine's own clock. Its timers do not keep the process alive. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(ms, fn) {
    const handle = setTimeout(fn, ms)
    handle.unref()
    return { cancel: () => clearTimeout(handle) }
  },
}

/**
 * Time that goes on without steps from what it is `now`, in whole milliseconds since 1970: for a time that is kept elsewhere
 * and compared later, where a clock that is set meanwhile must not make it longer ago.
 */
export function steadyTime(clock: Clock, now: number): () => number {
  const start = now - clock.monotonic()
  return () => Math.round(start + clock.monotonic())
}

/** Resolves after `ms` milliseconds of `clock`; rejects with the signal's reason when `signal` aborts first. */
export function sleep(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    const onAbort = () => {
      timer.cancel()
      reject(signal?.reason)
    }
    const timer = clock.after(ms, () => {
      signal?.removeEventListener('abort', onAbort)
      resolve()
    })
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}

/** What `promise` resolves with; undefined when it rejects, or has not settled after `ms`. */
export function withDeadline<T>(clock: Clock, promise: Promise<T>, ms: number): Promise<T | undefined> {
  return new Promise((resolve) => {
    const timer = clock.after(ms, () => resolve(undefined))
    const settle = (value?: T) => {
      timer.cancel()
      resolve(value)
    }
    promise.then(settle, () => settle())
  })
}

/** Pauses between failures in a row, in ms: from `first` on twice as long each time, up to `most`. */
export type BackOff = { readonly first: number; readonly most: number }

/** How long to wait before trying anew, after so many failures in a row. */
export function backOffMs(failures: number, { first, most }: BackOff): number {
  return Math.min(most, first * 2 ** Math.max(0, failures - 1))
}

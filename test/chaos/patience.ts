/** As `work`, but rejects as soon as `signal` aborts; what `work` comes to is then nobody's any more. */
export function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return cutShort(work, (fail) => {
    const abort = () => fail(signal.reason)
    if (signal.aborted) abort()
    else signal.addEventListener('abort', abort, { once: true })
    return () => signal.removeEventListener('abort', abort)
  })
}

/** As `work`, but rejects after `ms`. */
export function within<T>(ms: number, work: Promise<T>): Promise<T> {
  return cutShort(work, (fail) => {
    const timer = setTimeout(() => fail(new Error(`not done within ${ms / 1_000} s`)), ms)
    return () => clearTimeout(timer)
  })
}

/** `end` may call `fail` first, and returns what takes that back. */
async function cutShort<T>(work: Promise<T>, end: (fail: (reason: unknown) => void) => () => void): Promise<T> {
  const cut = Promise.withResolvers<never>()
  const undo = end(cut.reject)
  try {
    return await Promise.race([work, cut.promise])
  } finally {
    undo()
  }
}

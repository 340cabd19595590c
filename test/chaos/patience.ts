import { codeOf } from '../../core/errors.ts'

/** What to do about an error that has ended a run; undefined where its own message must do. */
export function advice(error: unknown): string | undefined {
  if (codeOf(error) !== 'TENANTRY_TEST_DEADLINE') return undefined
  return 'Where this machine is slow, or has much else to do: end that, or ask for less (--rate). Otherwise look at what the daemons and servers said, which --logs FOLDER keeps.'
}

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

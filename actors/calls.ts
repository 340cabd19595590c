import type { Clock } from '../core/clock.ts'
import { TenantryError } from '../core/errors.ts'
import type { Call } from './define-actor.ts'

export type CallOptions = {
  readonly clock: Clock
  readonly dependency: string
  readonly timeoutMs: number
  /** Aborts when the mailbox is taken away. */
  readonly mailbox: AbortSignal
  readonly idempotencyKey: string
}

/**
 * Runs `fn` under the dependency's deadline. Rejects with TENANTRY_CALL_TIMEOUT at the deadline even if `fn` ignores its
 * signal; what `fn` does after that is nobody's.
 */
export async function callDependency<R>(options: CallOptions, fn: (call: Call) => R | PromiseLike<R>): Promise<R> {
  const { clock, dependency, timeoutMs, mailbox, idempotencyKey } = options
  const controller = new AbortController()
  const late = Promise.withResolvers<never>()
  const give = (reason: unknown) => {
    controller.abort(reason)
    late.reject(reason)
  }
  const gone = () => give(mailbox.reason)
  const timer = clock.after(timeoutMs, () => {
    const error = new TenantryError('TENANTRY_CALL_TIMEOUT', `${dependency} did not answer within ${timeoutMs} ms`, {
      dependency,
      timeoutMs,
    })
    give(error)
  })
  if (mailbox.aborted) gone()
  else mailbox.addEventListener('abort', gone, { once: true })
  try {
    return await Promise.race([late.promise, Promise.resolve(fn({ signal: controller.signal, idempotencyKey }))])
  } finally {
    timer.cancel()
    mailbox.removeEventListener('abort', gone)
  }
}

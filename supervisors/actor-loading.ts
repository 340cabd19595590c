import { Worker } from 'node:worker_threads'
import type { FromLoading } from '../actors/loading-messages.ts'
import type { Topology } from '../actors/topology.ts'
import { type Clock, type Timer, withDeadline } from '../core/clock.ts'
import { messageOf, TenantryError } from '../core/errors.ts'

export type LoadingOptions = {
  readonly clock: Clock
  /** `process.env` of the actors' threads. */
  readonly environment: Readonly<Record<string, string>>
  /** Told a file that takes long, once. */
  readonly slow?: (file: string) => void
  /** How long one file may take. */
  readonly limitMs?: number
  /** Told when the thread has ended, which one in a call of the operating system's does when that returns. */
  readonly ended?: () => void
}

const slowMs = 3_000
const usualLimitMs = 30_000
/** How long the thread's end is waited for. */
const endMs = 1_000

/**
 * What actors a folder has, as `loadTopology` finds them, in a thread that ends then: no file of theirs keeps this one
 * waiting, ends the process, or writes to its standard output. Throws what `loadTopology` throws, and
 * TENANTRY_ACTOR_UNLOADABLE with the file that ends its thread, or takes longer than the limit.
 */
export async function loadActors(
  folder: string,
  { clock, environment, slow = () => {}, limitMs = usualLimitMs, ended = () => {} }: LoadingOptions,
): Promise<Topology> {
  let loading = folder
  let timers: readonly Timer[] = []
  const { promise, resolve, reject } = Promise.withResolvers<Topology>()
  const unloadable = (why: string) =>
    reject(new TenantryError('TENANTRY_ACTOR_UNLOADABLE', `${loading} cannot be loaded: ${why}`, { file: loading }))
  const watch = () => {
    for (const timer of timers) timer.cancel()
    timers = [
      clock.after(slowMs, () => slow(loading)),
      clock.after(limitMs, () =>
        unloadable(`it is not done after ${limitMs / 1_000} s, as it loops or waits for something that never comes`),
      ),
    ]
  }
  const thread = new Worker(new URL('../actors/loading-thread.ts', import.meta.url), {
    workerData: folder,
    env: { ...environment },
  })
  thread.on('message', (message: FromLoading) => {
    if (message.kind === 'loaded') resolve(message)
    else if (message.kind === 'failed') reject(new TenantryError(message.code, message.message, message.facts))
    else {
      loading = message.file
      watch()
    }
  })
  let cause = 'it ends its thread, or waits for something that never comes'
  // An error can overtake what its thread has said before: which file began (6 of 200 on a busy machine). Its end cannot.
  thread.on('error', (error: unknown) => {
    cause = messageOf(error)
  })
  thread.on('exit', () => {
    ended()
    setImmediate(() => unloadable(cause))
  })
  try {
    watch()
    return await promise
  } finally {
    for (const timer of timers) timer.cancel()
    await withDeadline(clock, thread.terminate(), endMs)
  }
}

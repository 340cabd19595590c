import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { z } from 'zod'
import { systemClock, withDeadline } from '../../core/clock.ts'
import { TenantryError } from '../../core/errors.ts'
import { didYouMean } from '../../core/nearest-name.ts'
import type { BreakerRequest } from './database.ts'

const loadMs = 10_000

const answer = z.union([
  z.object({
    actors: z.array(z.object({ group: z.string(), name: z.string(), dependencies: z.array(z.string()) })),
  }),
  z.object({ failed: z.string() }),
])

/**
 * Throws TENANTRY_BREAKER_NAME where the actors of this configuration say that no actor of the group is called so, or calls
 * such a dependency: a daemon takes no notice of such a request. Returns why it cannot be known, where the group's actors
 * are not here.
 */
export async function namesUnchecked(
  { group, actor, dependency }: Pick<BreakerRequest, 'group' | 'actor' | 'dependency'>,
  folder: string,
): Promise<string | undefined> {
  const found = await actorsIn(folder)
  if (found === undefined) return `the actors of ${folder} do not load`
  if ('failed' in found) return found.failed
  const actors = found.actors.filter((one) => one.group === group)
  if (actors.length === 0) return `${folder} has no actor of group ${group}`
  const named = actors.find(({ name }) => name === actor)
  const known = named === undefined ? actors.map(({ name }) => name) : named.dependencies
  const wanted = named === undefined ? actor : dependency
  if (known.includes(wanted)) return undefined
  const has = named === undefined ? `Group ${group} has no actor` : `Actor ${actor} declares no dependency`
  throw new TenantryError(
    'TENANTRY_BREAKER_NAME',
    `${has} ${wanted}${didYouMean(wanted, known)}: it has ${known.join(', ') || 'none'}.`,
    { group, actor, dependency },
  )
}

/** Undefined when they do not load in time, or end their thread. */
async function actorsIn(folder: string): Promise<z.infer<typeof answer> | undefined> {
  const thread = new Worker(new URL('names-thread.ts', import.meta.url), {
    workerData: folder,
    stdout: true,
    stderr: true,
  })
  const said = Promise.race([
    once(thread, 'message').then(([message]: unknown[]) => answer.parse(message)),
    once(thread, 'exit').then(() => undefined),
  ])
  try {
    return await withDeadline(systemClock, said, loadMs)
  } finally {
    await thread.terminate()
  }
}

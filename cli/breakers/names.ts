import type { Topology } from '../../actors/topology.ts'
import { systemClock } from '../../core/clock.ts'
import type { Loaded } from '../../core/config/load.ts'
import { messageOf, TenantryError } from '../../core/errors.ts'
import { didYouMean } from '../../core/nearest-name.ts'
import { loadActors } from '../../supervisors/actor-loading.ts'
import type { BreakerRequest } from './database.ts'

/**
 * Throws TENANTRY_BREAKER_NAME where the actors of this configuration say that no actor of the group is called so, or calls
 * such a dependency: a daemon takes no notice of such a request. Returns why it cannot be known, where the group's actors
 * are not here.
 */
export async function namesUnchecked(
  { group, actor, dependency }: Pick<BreakerRequest, 'group' | 'actor' | 'dependency'>,
  { config, actorsEnvironment: environment }: Loaded,
): Promise<string | undefined> {
  const { folder } = config.actors
  let found: Topology
  try {
    found = await loadActors(folder, { clock: systemClock, environment, limitMs: 10_000 })
  } catch (error) {
    return messageOf(error)
  }
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

import type { ActorFacts, Topology } from '../actors/topology.ts'
import type { Config, GroupConfig } from '../core/config/schema.ts'
import { TenantryError } from '../core/errors.ts'
import { didYouMean } from '../core/nearest-name.ts'
import type { ActorRole } from './group.ts'

export type GroupSettings = { readonly roles: readonly ActorRole[]; readonly config: GroupConfig }

/**
 * The groups that this daemon runs: those of the actors found, each with what configuration says of it, and of their
 * topics those that `groups.<name>.topics` lists, where it does. Throws TENANTRY_GROUP_UNKNOWN for an actor whose group
 * is not configured, TENANTRY_TOPIC_WITHOUT_ACTOR for a listed topic that none of the group's actors takes,
 * TENANTRY_TIMEOUT_ORDER for a call that may outlast its handler, or a handler that a breaker's probe.
 */
export function groupsOf(config: Config, topology: Topology): ReadonlyMap<string, GroupSettings> {
  const groups = new Map<string, GroupSettings>()
  for (const facts of topology.actors) {
    const { index, name, group, topic, stateful, consistency, dependencies, retry, file } = facts
    const settings = config.groups[group]
    if (settings === undefined) throw unknownGroup(group, file, Object.keys(config.groups))
    const before = groups.get(group)?.roles ?? []
    const taken = settings.topics === undefined || settings.topics.includes(topic)
    const serial = consistency === 'serial'
    checkTimeouts(facts, config)
    const role: ActorRole = {
      index,
      name,
      topic,
      stateful,
      serial,
      dependencies,
      retry: {
        delaysMs: retry.delaysMs ?? config.retry.delaysMs,
        byType: new Map(Object.entries(retry.types ?? {})),
        jitter: config.retry.jitter,
      },
    }
    groups.set(group, { config: settings, roles: taken ? [...before, role] : before })
  }
  for (const [name, { roles, config: settings }] of groups) {
    for (const topic of settings.topics ?? []) {
      if (!roles.some((role) => role.topic === topic)) throw topicWithoutActor(name, topic, topology)
    }
  }
  return groups
}

/**
 * A call that outlasted its handler would fail the message instead of its dependency, and a handler that outlasted a
 * breaker's probe would keep its tenant waiting for ever.
 */
function checkTimeouts({ file, times }: ActorFacts, config: Config): void {
  const { handlerMs, longestCall: call } = times
  if (call === undefined) return
  const { dependency } = call
  const handler = handlerMs ?? config.workers.handlerTimeoutMs
  const probe = config.breaker.probeTimeoutMs
  if (call.timeoutMs < handler && handler < probe) return
  throw new TenantryError(
    'TENANTRY_TIMEOUT_ORDER',
    `${file}: a call of ${dependency} may take ${call.timeoutMs} ms, its handler ${handler} ms, and a breaker waits ${probe} ms for it. Each must be longer than the one before: see the actor's timeoutMs, workers.handlerTimeout and breaker.probeTimeout.`,
    { file, dependency, callMs: call.timeoutMs, handlerMs: handler, probeMs: probe },
  )
}

function unknownGroup(group: string, file: string, known: readonly string[]): TenantryError {
  const near = didYouMean(group, known)
  return new TenantryError(
    'TENANTRY_GROUP_UNKNOWN',
    `${file} belongs to group ${group}, which the configuration does not have${near}: add groups.${group}.`,
    { group, file },
  )
}

function topicWithoutActor(group: string, topic: string, topology: Topology): TenantryError {
  const own = topology.actors.filter((actor) => actor.group === group).map((actor) => actor.topic)
  return new TenantryError(
    'TENANTRY_TOPIC_WITHOUT_ACTOR',
    `groups.${group}.topics lists ${topic}, which no actor of the group takes${didYouMean(topic, own)}: its actors take ${own.join(', ')}.`,
    { group, topic },
  )
}

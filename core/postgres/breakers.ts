import type postgres from 'postgres'
import { plainArray, textArray } from './array-text.ts'
import type { Ask } from './control.ts'
import { own, type Step } from './group-commit.ts'
import type { BreakerRequests } from './ownership.ts'
import type { BreakerRow, Commit, PartitionRef } from './transactions.ts'

/** Breakers that are not closed are written with the commits of their partition, and go when they close. */
export function breakerSteps(sql: postgres.Sql, { partitions }: Commit): Step[] {
  const kept: { readonly ref: PartitionRef; readonly row: BreakerRow }[] = []
  const closed: { readonly ref: PartitionRef; readonly row: Pick<BreakerRow, 'tenant' | 'dependency'> }[] = []
  for (const { ref, breakers } of partitions) {
    for (const change of breakers) {
      if (change.state === 'closed') closed.push({ ref, row: change })
      else kept.push({ ref, row: change })
    }
  }
  return [...keep(sql, kept), ...remove(sql, closed)]
}

function keep(sql: postgres.Sql, kept: readonly { readonly ref: PartitionRef; readonly row: BreakerRow }[]): Step[] {
  if (kept.length === 0) return []
  const rows = kept.map(({ row }) => row)
  const query = sql`
    insert into sys.circuit_breaker_state (
      group_name, topic_id, partition, dependency, tenant_id, actor, state, failures, successes, probe_at)
    select group_name, topic_id, partition, dependency, tenant_id, actor, state, failures, successes,
      to_timestamp(probe_at / 1000.0)
    from unnest(
      ${textArray(kept.map(({ ref }) => ref.group))}::text[], ${plainArray(kept.map(({ ref }) => ref.topicId))}::uuid[],
      ${plainArray(kept.map(({ ref }) => ref.partition))}::integer[],
      ${textArray(rows.map(({ dependency }) => dependency))}::text[], ${textArray(rows.map(({ tenant }) => tenant))}::text[],
      ${textArray(rows.map(({ actor }) => actor))}::text[], ${textArray(rows.map(({ state }) => state))}::text[],
      ${plainArray(rows.map(({ failures }) => failures))}::integer[],
      ${plainArray(rows.map(({ successes }) => successes))}::integer[],
      ${plainArray(rows.map(({ probeAt }) => probeAt))}::double precision[]
    ) as given (group_name, topic_id, partition, dependency, tenant_id, actor, state, failures, successes, probe_at)
    on conflict (group_name, topic_id, partition, dependency, tenant_id) do update
    set state = excluded.state, failures = excluded.failures, successes = excluded.successes,
      probe_at = excluded.probe_at, updated_at = clock_timestamp()`
  return [own(query)]
}

function remove(
  sql: postgres.Sql,
  closed: readonly { readonly ref: PartitionRef; readonly row: Pick<BreakerRow, 'tenant' | 'dependency'> }[],
): Step[] {
  if (closed.length === 0) return []
  const query = sql`
    delete from sys.circuit_breaker_state as known
    using unnest(
      ${textArray(closed.map(({ ref }) => ref.group))}::text[], ${plainArray(closed.map(({ ref }) => ref.topicId))}::uuid[],
      ${plainArray(closed.map(({ ref }) => ref.partition))}::integer[],
      ${textArray(closed.map(({ row }) => row.dependency))}::text[], ${textArray(closed.map(({ row }) => row.tenant))}::text[]
    ) as gone (group_name, topic_id, partition, dependency, tenant_id)
    where known.group_name = gone.group_name and known.topic_id = gone.topic_id and known.partition = gone.partition
      and known.dependency = gone.dependency and known.tenant_id = gone.tenant_id`
  return [own(query)]
}

/**
 * The breakers that earlier owners of a partition have left. One that an operator has reset since is due at once: its
 * owner may not have heard of it.
 */
export async function leftBreakers(
  sql: Ask,
  { group, topicId, partition }: PartitionRef,
): Promise<readonly BreakerRow[]> {
  const rows = await sql<
    {
      actor: string
      tenant_id: string
      dependency: string
      state: BreakerRow['state']
      failures: number
      successes: number
      probe_at: string
    }[]
  >`
    select actor, tenant_id, dependency, state, failures, successes,
      case when exists (
        select from sys.breaker_requests as asked
        where asked.action = 'reset' and asked.requested_at > known.updated_at and asked.group_name = known.group_name
          and asked.actor = known.actor and asked.dependency = known.dependency
          and asked.tenant_id in ('', known.tenant_id)
      ) then '0' else (extract(epoch from probe_at) * 1000)::bigint::text end as probe_at
    from sys.circuit_breaker_state as known
    where group_name = ${group} and topic_id = ${topicId} and partition = ${partition}`
  return rows.map(({ tenant_id, probe_at, ...row }) => ({ ...row, tenant: tenant_id, probeAt: Number(probe_at) }))
}

/** How long ago a reset may have been asked for to be done still: a daemon that looks each second hears of it long before. */
const resetsKept = '10 minutes'

/** What operators have asked of these groups' breakers. */
export async function askedOfBreakers(sql: Ask, groups: readonly string[]): Promise<BreakerRequests> {
  const rows = await sql<
    { id: string; action: string; group_name: string; actor: string; dependency: string; tenant_id: string }[]
  >`
    select id::text, action, group_name, actor, dependency, tenant_id from sys.vw_breaker_trips
    where group_name = any (${textArray(groups)}::text[])
    union all
    select id::text, action, group_name, actor, dependency, tenant_id from sys.breaker_requests
    where action = 'reset' and requested_at > clock_timestamp() - ${resetsKept}::interval
      and group_name = any (${textArray(groups)}::text[])`
  const requests = rows.map(({ id, action, group_name, actor, dependency, tenant_id }) => ({
    action,
    request: { id: Number(id), group: group_name, actor, dependency, tenant: tenant_id },
  }))
  const of = (wanted: string) =>
    requests.flatMap(({ action, request }) => (action === wanted ? [request] : [])).sort((a, b) => a.id - b.id)
  return { trips: of('trip'), resets: of('reset') }
}

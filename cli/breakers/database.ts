import type postgres from 'postgres'
import { TenantryError } from '../../core/errors.ts'
import { didYouMean } from '../../core/nearest-name.ts'
import { usingDatabase } from '../database.ts'
import { loginName } from '../login-name.ts'

/** One that is not closed, as `tenantry breakers list --json` prints it. */
export type ListedBreaker = {
  readonly group: string
  /** Null for one that was tripped, as that is of no partition. */
  readonly topic: string | null
  readonly partition: number | null
  readonly actor: string
  /** Null for the one that all tenants share. */
  readonly tenant: string | null
  readonly dependency: string
  readonly state: 'open' | 'half-open' | 'tripped'
  readonly failures: number
  readonly successes: number
  readonly openedAt: string
  /** When the next probe may go; of a tripped one when it ends. */
  readonly probeAt: string
  readonly updatedAt: string
  /** Why it was tripped. */
  readonly reason: string | null
}

export type BreakerFilter = {
  readonly group?: string
  readonly actor?: string
  readonly tenant?: string
  readonly dependency?: string
  readonly state?: string
}

/** Those that pass the filter, at most `limit`, longest open first, and how many pass it. */
export function listBreakers(
  url: string,
  filter: BreakerFilter,
  limit: number,
): Promise<{ readonly breakers: readonly ListedBreaker[]; readonly count: number }> {
  return usingDatabase(url, 'breakers', async (sql) => {
    const { group, actor, tenant, dependency, state } = filter
    const rows = await sql<BreakerColumns[]>`
      select *, count(*) over ()::integer as count from sys.vw_circuit_breakers
      where (${group ?? null}::text is null or group_name = ${group ?? null})
        and (${actor ?? null}::text is null or actor = ${actor ?? null})
        and (${tenant ?? null}::text is null or tenant_id = ${tenant ?? null})
        and (${dependency ?? null}::text is null or dependency = ${dependency ?? null})
        and (${state ?? null}::text is null or state = ${state ?? null})
      order by opened_at, group_name, actor, dependency, tenant_id, partition
      limit ${limit}`
    return { breakers: rows.map(listed), count: rows[0]?.count ?? 0 }
  })
}

export type BreakerRequest = {
  readonly group: string
  readonly actor: string
  readonly dependency: string
  /** Undefined: all tenants. */
  readonly tenant?: string
  readonly reason: string
  /** The login of the machine where it is not given. */
  readonly by?: string
}

/** Asks the group's daemons to let none of these records go for `lastsMs`. Returns the request's number. */
export function tripBreaker(url: string, request: BreakerRequest, lastsMs: number): Promise<number> {
  return usingDatabase(url, 'breakers', async (sql) => {
    const { group, actor, dependency, tenant = '', reason, by = loginName() } = request
    await requireGroup(sql, group)
    const [row] = await sql<{ id: string }[]>`
      select sys.fn_trip_breaker(${group}, ${actor}, ${dependency}, ${tenant}, make_interval(secs => ${lastsMs / 1_000}),
        ${reason}, ${by})::text as id`
    return Number(row?.id)
  })
}

/** Asks the group's daemons to close these breakers, and ends their trips. Returns the request's number. */
export function resetBreaker(url: string, request: BreakerRequest): Promise<number> {
  return usingDatabase(url, 'breakers', async (sql) => {
    const { group, actor, dependency, tenant = '', reason, by = loginName() } = request
    await requireGroup(sql, group)
    const [row] = await sql<{ id: string }[]>`
      select sys.fn_reset_breaker(${group}, ${actor}, ${dependency}, ${tenant}, ${reason}, ${by})::text as id`
    return Number(row?.id)
  })
}

type BreakerColumns = {
  group_name: string
  topic: string | null
  partition: number | null
  actor: string
  tenant_id: string
  dependency: string
  state: ListedBreaker['state']
  failures: number
  successes: number
  opened_at: Date
  probe_at: Date
  updated_at: Date
  reason: string
  count: number
}

function listed(row: BreakerColumns): ListedBreaker {
  const { topic, partition, actor, dependency, state, failures, successes } = row
  return {
    group: row.group_name,
    topic,
    partition,
    actor,
    tenant: row.tenant_id === '' ? null : row.tenant_id,
    dependency,
    state,
    failures,
    successes,
    openedAt: row.opened_at.toISOString(),
    probeAt: row.probe_at.toISOString(),
    updatedAt: row.updated_at.toISOString(),
    reason: row.reason === '' ? null : row.reason,
  }
}

/** A request to a group that nobody runs would be heard by nobody. */
async function requireGroup(sql: postgres.Sql, group: string): Promise<void> {
  const rows = await sql<{ group_name: string }[]>`select distinct group_name from sys.consumed_topics order by 1`
  const groups = rows.map(({ group_name }) => group_name)
  if (groups.includes(group)) return
  throw new TenantryError(
    'TENANTRY_BREAKER_GROUP',
    `No group ${group} has ever read anything with this database${didYouMean(group, groups)}: it has ${groups.join(', ') || 'none'}.`,
    { group },
  )
}

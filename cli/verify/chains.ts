import { didYouMean } from '../../core/nearest-name.ts'
import { type ChainPlace, placeName } from './places.ts'
import type { Chain, Replay } from './replay.ts'
import type { Findings } from './report.ts'
import { columnsOf, named, type Snapshot, wrongPlace } from './tables.ts'

/** A chain as it was found. Without a partition, the tenant is in one only. */
type FoundChain = {
  readonly tenant: string
  readonly topic?: string
  readonly partition?: number
  readonly value: string | undefined
}

/**
 * Compares the chains over all ids with those of the replay: equal ones say that each message was processed once and in
 * order. One that differs counts as reordered: what exactly happened it cannot tell.
 */
export async function checkChains(
  sql: Snapshot,
  group: string,
  place: ChainPlace,
  replay: Replay,
  findings: Findings,
): Promise<void> {
  const found = await named(placeName(place), () =>
    place.in === 'state' ? chainsInStates(sql, group, place) : chainsInTable(sql, place),
  )
  if (place.in === 'state') await checkPath(sql, group, place, found)
  const expected = new Map<string, { chain: Chain; partition: number; topic: string }[]>()
  for (const [key, chain] of replay.chains) {
    const slash = key.indexOf('/')
    const at = replay.places[Number(key.slice(0, slash))]
    if (at === undefined) continue
    const tenant = key.slice(slash + 1)
    const others = expected.get(tenant) ?? []
    expected.set(tenant, [...others, { chain, partition: at.partition, topic: at.topic }])
  }
  const untold = (tenant: string) => replay.unclear.has(tenant) || replay.outOfTurn.has(tenant)
  let [messages, wrong] = [0, 0]
  for (const { tenant, topic, partition, value } of found) {
    if (untold(tenant)) continue
    const own = expected.get(tenant) ?? []
    const index = own.findIndex(
      (one) => (topic === undefined || one.topic === topic) && (partition === undefined || one.partition === partition),
    )
    const [match] = index < 0 ? [] : own.splice(index, 1)
    const where = { tenant, ...(partition !== undefined && { partition }), ...(topic !== undefined && { topic }) }
    if (match === undefined) {
      wrong++
      findings.add({ fault: 'invented', what: `a chain (${placeName(place)}) that no record explains`, ...where })
      continue
    }
    messages += match.chain.messages
    if (value === match.chain.value) continue
    wrong++
    findings.add({
      fault: 'reordered',
      what: `the chain over ${match.chain.messages} messages (${placeName(place)}) is not that of the log`,
      ...where,
      topic: match.topic,
      partition: match.partition,
    })
  }
  for (const [tenant, missing] of expected) {
    if (untold(tenant)) continue
    for (const { chain, topic, partition } of missing) {
      wrong++
      findings.add({ fault: 'lost', what: `no chain (${placeName(place)})`, tenant, topic, partition }, chain.messages)
    }
  }
  if (replay.unclear.size > 0)
    findings.remark(
      `${replay.unclear.size} tenants have copies of one message in several partitions: their chains were left out, as it cannot be told which copy came first.`,
    )
  if (replay.outOfTurn.size > 0)
    findings.remark(
      `${replay.outOfTurn.size} tenants have replayed messages: their chains were left out, as it cannot be told after which newer messages these came.`,
    )
  if (messages === 0 && wrong === 0) return
  findings.prove('reordered', `chains in ${placeName(place)}`, messages)
  if (wrong > 0) return
  findings.prove('lost', `chains in ${placeName(place)}`, messages)
  findings.prove('duplicated', `chains in ${placeName(place)}`, messages)
}

/** A path that no state has would make every chain a wrong one. Throws TENANTRY_VERIFY_PLACE. */
async function checkPath(
  sql: Snapshot,
  group: string,
  place: ChainPlace & { in: 'state' },
  found: readonly FoundChain[],
): Promise<void> {
  if (found.some(({ value }) => value !== undefined)) return
  const states = await sql<{ actor: string; keys: string[] }[]>`
    select actor, array_agg(distinct key order by key) as keys
    from sys.actor_state
    cross join lateral json_object_keys(case when json_typeof(state) = 'object' then state else '{}' end) as key
    where group_name = ${group}
    group by actor order by actor`
  if (states.length === 0) return
  const { actor, path } = place
  const own = states.filter((one) => actor === undefined || one.actor === actor)
  const keys = own.flatMap((one) => one.keys)
  const [wanted, known] = own.length === 0 ? [actor ?? '', states.map((one) => one.actor)] : [path[0] ?? '', keys]
  const has = own.length === 0 ? 'the group has states of' : 'the states have'
  const reason = `none is there${known.includes(wanted) ? '' : didYouMean(wanted, known)}: ${has} ${[...new Set(known)].join(', ')}`
  throw wrongPlace(placeName(place), reason)
}

async function chainsInStates(
  sql: Snapshot,
  group: string,
  { actor, path }: ChainPlace & { in: 'state' },
): Promise<readonly FoundChain[]> {
  const rows = await sql<{ tenant: string; topic: string; partition: number; value: string | null }[]>`
    select tenant_id as tenant, topic, partition, state #>> ${[...path]} as value
    from sys.actor_state
    where group_name = ${group} and ${actor === undefined ? sql`true` : sql`actor = ${actor}`}`
  return rows.map(({ value, ...row }) => ({ ...row, value: value ?? undefined }))
}

async function chainsInTable(
  sql: Snapshot,
  { table, column }: ChainPlace & { in: 'table' },
): Promise<readonly FoundChain[]> {
  const columns = await columnsOf(sql, table)
  const partition = columns.includes('partition') ? sql`partition` : sql`null::integer`
  const rows = await sql<{ tenant: string; partition: number | null; value: string | null }[]>`
    select tenant_id as tenant, ${partition} as partition, ${sql(column)}::text as value from ${sql(table)}`
  return rows.map(({ tenant, partition: own, value }) => ({
    tenant,
    value: value ?? undefined,
    ...(own !== null && { partition: own }),
  }))
}

import type postgres from 'postgres'
import type { MessageKey } from '../message-key.ts'
import { plainArray, textArray } from './array-text.ts'
import { own, type Step } from './group-commit.ts'
import type { Run } from './runs.ts'
import { type Commit, copySince, type Outcome } from './transactions.ts'

/** A message's key: its id is unique for one tenant of one group. */
export type AskedKey = {
  readonly key: MessageKey
  readonly tenant: string
  readonly group: string
  /** Only one that was written since then counts; null: any. */
  readonly since?: string | null
}

/** What a commit asks of its keys: each with the index of its outcome; and outcomes whose key stands before them. */
export type Asked = {
  readonly asked: readonly (AskedKey & { readonly index: number })[]
  readonly copies: readonly number[]
}

/** Of two outcomes with one key, the one that holds it owns it, else the first by position. */
export function askedKeys({ outcomes, partitions }: Commit): Asked {
  const owners = new Map<string, AskedKey | AskedKey[]>()
  const asked: (AskedKey & { readonly index: number })[] = []
  const copies: number[] = []
  const places = [...outcomes.keys()]
  if (outcomes.some(holdsKey)) places.sort((a, b) => Number(holdsKey(outcomes[b])) - Number(holdsKey(outcomes[a])))
  for (const index of places) {
    const outcome = outcomes[index]
    if (outcome === undefined) continue
    const { result, tenant, partition } = outcome
    const key = keyOf(result)
    if (key === null) continue
    const one = { index, key, tenant, group: partitions[partition]?.ref.group ?? '', since: copySince(outcome) }
    // By id alone first: that two tenants or groups use one id is rare, and building longer names costs more than all else.
    const known = owners.get(key.uuid)
    const others = known === undefined ? [] : [known].flat()
    if (others.some((other) => other.tenant === tenant && other.group === one.group)) {
      copies.push(index)
    } else {
      owners.set(key.uuid, known === undefined ? one : [...others, one])
      asked.push(one)
    }
  }
  return { asked, copies }
}

/** A dead letter that was brought back: its key is there, as its own. */
function holdsKey(outcome: Outcome | undefined): boolean {
  return outcome?.row?.holdsKey === true
}

function keyArrays(keys: readonly AskedKey[]) {
  return {
    uuids: plainArray(keys.map(({ key }) => key.uuid)),
    tenants: textArray(keys.map(({ tenant }) => tenant)),
    groups: textArray(keys.map(({ group }) => group)),
    days: plainArray(keys.map(({ key }) => key.day)),
    since: textArray(keys.map(({ since }) => since ?? '-infinity')),
  }
}

/**
 * Bets that no key is known, nor stands twice: a plain insert, which fails if one is, costs half of one that asks. Sorted
 * by PostgreSQL, in whose memory ids are 16 bytes. What runs again leaves its old key first.
 */
export function insertKeys(sql: postgres.Sql, commit: Commit, runs: readonly Run[] | undefined): Step[] {
  return [...removeOldKeys(sql, commit), ...insertAll(sql, commit, runs)]
}

/** Of two copies that run again, the first removes and writes their key, and the second meets one that is not old. */
function removeOldKeys(sql: postgres.Sql, { outcomes, partitions }: Commit): Step[] {
  const old: AskedKey[] = []
  for (let i = 0; i < outcomes.length; i++) {
    const outcome = outcomes[i]
    const since = outcome === undefined ? null : copySince(outcome)
    const key = outcome === undefined || since === null ? null : keyOf(outcome.result)
    if (outcome === undefined || key === null) continue
    const group = partitions[outcome.partition]?.ref.group ?? ''
    old.push({ key, tenant: outcome.tenant, group, since })
  }
  if (old.length === 0) return []
  const { uuids, tenants, groups, days, since } = keyArrays(old)
  return [own(sql`select sys.fn_remove_old_keys(${uuids}, ${tenants}, ${groups}, ${days}, ${since})`)]
}

function insertAll(sql: postgres.Sql, { outcomes, partitions }: Commit, runs: readonly Run[] | undefined): Step[] {
  const alike = runs === undefined ? undefined : alikeKeys(outcomes, partitions, runs)
  if (alike !== undefined) {
    const { uuids, tenants, group, day } = alike
    if (tenants.length === 0) return []
    return [
      own(sql`
        insert into sys.request_keys (message_id, tenant_id, group_name, day)
        select named.message_id, named.tenant_id, ${group}, ${day}
        from unnest(${plainArray(uuids)}::uuid[], ${textArray(tenants)}::text[]) as named (message_id, tenant_id)
        order by named.message_id, named.tenant_id`),
    ]
  }
  const keys = outcomes.flatMap(({ result, tenant, partition }): AskedKey[] => {
    const key = keyOf(result)
    return key === null ? [] : [{ key, tenant, group: partitions[partition]?.ref.group ?? '' }]
  })
  if (keys.length === 0) return []
  const { uuids, tenants, groups, days } = keyArrays(keys)
  return [
    own(sql`
      insert into sys.request_keys (message_id, tenant_id, group_name, day)
      select named.message_id, named.tenant_id, named.group_name, named.day
      from unnest(${uuids}::uuid[], ${tenants}::text[], ${groups}::text[], ${days}::integer[])
        as named (message_id, tenant_id, group_name, day)
      order by named.message_id, named.tenant_id, named.group_name`),
  ]
}

/** Keys of one group and one day, as most commits have them: those of done messages lie in a row already. */
function alikeKeys(outcomes: Commit['outcomes'], partitions: Commit['partitions'], runs: readonly Run[]) {
  const group = partitions[0]?.ref.group ?? ''
  const day = runs[0]?.columns.keyDay ?? -1
  if (day < 0 || !runs.every(({ columns }) => columns.keyDay === day)) return undefined
  if (!partitions.every(({ ref }) => ref.group === group)) return undefined
  const uuids = runs.map(({ columns, from, to }) => columns.keys(from, to))
  const tenants: string[] = []
  const failed: { readonly uuid: string; readonly tenant: string }[] = []
  for (let i = 0; i < outcomes.length; i++) {
    const outcome = outcomes[i]
    if (outcome === undefined) continue
    if (outcome.result.kind === 'done') {
      tenants.push(outcome.tenant)
    } else if (outcome.result.kind === 'failed' && outcome.result.key !== null) {
      if (outcome.result.key.day !== day) return undefined
      failed.push({ uuid: outcome.result.key.uuid, tenant: outcome.tenant })
    }
  }
  for (const { uuid, tenant } of failed) {
    uuids.push(uuid)
    tenants.push(tenant)
  }
  return { uuids, tenants, group, day }
}

function keyOf(result: Outcome['result']): MessageKey | null {
  return result.kind === 'done' || result.kind === 'failed' ? result.key : null
}

/** The places of those that are there. Each is looked for in its day's partition alone, whatever the statistics say. */
export function knownKeys(sql: postgres.Sql, asked: readonly AskedKey[]): postgres.PendingQuery<{ place: number }[]> {
  const { uuids, tenants, groups, days, since } = keyArrays(asked)
  const [first] = asked
  if (asked.some((one) => typeof one.since === 'string'))
    return sql<{ place: number }[]>`
      select (named.place - 1)::integer as place
      from unnest(${uuids}::uuid[], ${tenants}::text[], ${groups}::text[], ${days}::integer[], ${since}::timestamptz[])
        with ordinality as named (message_id, tenant_id, group_name, day, since, place)
      cross join lateral (
        select from sys.request_keys as known
        where known.message_id = named.message_id
          and known.tenant_id = named.tenant_id
          and known.group_name = named.group_name
          and known.day = named.day
          and known.seen_at >= named.since
        limit 1) as found`
  // Most are of one group and one day: then the partition is chosen once, not for each.
  if (first !== undefined && asked.every(({ group, key }) => group === first.group && key.day === first.key.day))
    return sql<{ place: number }[]>`
      select (named.place - 1)::integer as place
      from unnest(${uuids}::uuid[], ${tenants}::text[]) with ordinality as named (message_id, tenant_id, place)
      cross join lateral (
        select from sys.request_keys as known
        where known.message_id = named.message_id
          and known.tenant_id = named.tenant_id
          and known.group_name = ${first.group}
          and known.day = ${first.key.day}
        limit 1) as found`
  return sql<{ place: number }[]>`
    select (named.place - 1)::integer as place
    from unnest(${uuids}::uuid[], ${tenants}::text[], ${groups}::text[], ${days}::integer[])
      with ordinality as named (message_id, tenant_id, group_name, day, place)
    cross join lateral (
      select from sys.request_keys as known
      where known.message_id = named.message_id
        and known.tenant_id = named.tenant_id
        and known.group_name = named.group_name
        and known.day = named.day
      limit 1) as found`
}

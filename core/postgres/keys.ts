import type postgres from 'postgres'
import type { MessageKey } from '../message-key.ts'
import { plainArray, textArray } from './array-text.ts'
import { own, type Step } from './group-commit.ts'
import type { Run } from './runs.ts'
import type { Commit, Outcome } from './transactions.ts'

/** The keys that a commit claims, sorted, each with the index of its outcome; and outcomes whose key another has. */
export type Claims = { readonly claims: readonly Claim[]; readonly copies: readonly number[] }
export type Claim = AskedKey & { readonly index: number }

/** A message's key: its id is unique for one tenant of one group. */
export type AskedKey = {
  readonly key: MessageKey
  readonly tenant: string
  readonly group: string
}

/** Of two outcomes with one key, the first by position owns it. */
export function claimsOf({ outcomes, partitions }: Commit): Claims {
  // By id alone first: that two tenants or groups use one id is rare, and building longer names costs more than all else.
  const owners = new Map<string, Claim | Claim[]>()
  const copies: number[] = []
  for (let index = 0; index < outcomes.length; index++) {
    const outcome = outcomes[index]
    if (outcome === undefined) continue
    const { result, tenant, partition } = outcome
    const key = keyOf(result)
    if (key === null) continue
    const claim: Claim = { index, key, tenant, group: partitions[partition]?.ref.group ?? '' }
    const known = owners.get(key.uuid)
    if (known === undefined) owners.set(key.uuid, claim)
    else if ([known].flat().some((other) => other.tenant === tenant && other.group === claim.group)) copies.push(index)
    else
      owners.set(
        key.uuid,
        [known, claim]
          .flat()
          .sort((a, b) => (a.tenant < b.tenant || (a.tenant === b.tenant && a.group < b.group) ? -1 : 1)),
      )
  }
  // Sorting strings without a comparator never leaves the engine's own code: a fifth of the time.
  const claims = [...owners.keys()].sort().flatMap((uuid) => owners.get(uuid) ?? [])
  return { claims, copies }
}

function keyArrays(claims: readonly AskedKey[]) {
  return {
    uuids: plainArray(claims.map(({ key }) => key.uuid)),
    tenants: textArray(claims.map(({ tenant }) => tenant)),
    groups: textArray(claims.map(({ group }) => group)),
    days: plainArray(claims.map(({ key }) => key.day)),
  }
}

/**
 * Bets that no key is known, nor stands twice: a plain insert, which fails if one is, costs half of one that asks. Sorted
 * by PostgreSQL, in whose memory ids are 16 bytes.
 */
export function insertKeys(
  sql: postgres.Sql,
  { outcomes, partitions }: Commit,
  runs: readonly Run[] | undefined,
): Step[] {
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
  const claims = outcomes.flatMap(({ result, tenant, partition }, index): Claim[] => {
    const key = keyOf(result)
    return key === null ? [] : [{ index, key, tenant, group: partitions[partition]?.ref.group ?? '' }]
  })
  if (claims.length === 0) return []
  const { uuids, tenants, groups, days } = keyArrays(claims)
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
    if (outcome?.result.kind === 'done') {
      tenants.push(outcome.tenant)
    } else if (outcome?.result.kind === 'failed' && outcome.result.key !== null) {
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

export function claimNewKeys(sql: postgres.Sql, claims: readonly Claim[]): postgres.PendingQuery<{ place: number }[]> {
  const { uuids, tenants, groups, days } = keyArrays(claims)
  return sql<
    { place: number }[]
  >`select place from sys.fn_claim_new_keys(${uuids}, ${tenants}, ${groups}, ${days}) as place`
}

/** Gives up what this transaction has claimed for messages that it does not commit after all: they run, and claim, again. */
export function releaseKeys(sql: postgres.Sql, claims: readonly Claim[]): Step {
  const { uuids, tenants, groups, days } = keyArrays(claims)
  return own(sql`
    delete from sys.request_keys as claimed
    using unnest(${uuids}::uuid[], ${tenants}::text[], ${groups}::text[], ${days}::integer[]) as named (message_id, tenant_id, group_name, day)
    where claimed.message_id = named.message_id
      and claimed.tenant_id = named.tenant_id
      and claimed.group_name = named.group_name
      and claimed.day = named.day`)
}

/** The places of those that are there. Each is looked for in its day's partition alone, whatever the statistics say. */
export function knownKeys(sql: postgres.Sql, asked: readonly AskedKey[]): postgres.PendingQuery<{ place: number }[]> {
  const { uuids, tenants, groups, days } = keyArrays(asked)
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

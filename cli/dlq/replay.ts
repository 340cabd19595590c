import type postgres from 'postgres'
import { sleep, systemClock } from '../../core/clock.ts'
import { messageOf, TenantryError } from '../../core/errors.ts'
import { plainArray } from '../../core/postgres/array-text.ts'
import { conditionOf, type Filter } from './filter.ts'

export type Replaying = {
  readonly filter: Filter
  readonly givenName: string
  readonly reason: string
  /** A UUID: one for all batches, in the audit. */
  readonly operation: string
  readonly maxReplays: number
  /** So many a second at most; undefined: as fast as it goes. */
  readonly rate?: number
}

const batchSize = 1_000

/** The words of sys.fn_replay_dead_letters, and what they mean. */
export const refusals: Readonly<Record<string, string>> = {
  unknown: 'not there any more',
  discarded: 'discarded meanwhile',
  replayed: 'replayed meanwhile',
  message: 'messages that Kafka refused',
  reset: 'from before their partition was reset',
  tenant: 'without a tenant',
  topic: 'of a topic that their group has never read',
  replays: 'replayed as often as they may (--max-replays)',
}

export type Replayed = { readonly replayed: number; readonly left: Readonly<Record<string, number>> }

/**
 * Brings back what may be of these dead letters, some at a time and each tenant's in order, each time with a row in
 * sys.dlq_audit. `progress` is told how many it has gone through. Throws TENANTRY_DLQ_PARTLY when it could not go on.
 */
export async function replay(
  sql: postgres.Sql,
  { filter, givenName, reason, operation, maxReplays, rate }: Replaying,
  progress: (done: number) => void,
): Promise<Replayed> {
  const chosen = conditionOf(sql, { ...filter, state: 'open', replayable: maxReplays })
  const size = Math.min(batchSize, rate ?? batchSize)
  const begun = systemClock.monotonic()
  const left = new Map<string, number>()
  let last: Place | undefined
  let [replayed, done] = [0, 0]
  try {
    for (;;) {
      const batch: readonly Place[] = await sql<Place[]>`
        select id::text, group_name, topic_id, partition, record_offset::text from sys.dead_letters as letter
        where ${chosen} and ${after(sql, last)}
        order by group_name, topic_id, partition, record_offset
        limit ${size}`
      if (batch.length === 0) return { replayed, left: Object.fromEntries(left) }
      const rows = await sql<{ refused: string | null }[]>`
        select refused from sys.fn_replay_dead_letters(${plainArray(batch.map(({ id }) => id))}::bigint[], ${givenName},
          ${reason}, ${JSON.stringify(filter)}::text::jsonb, ${operation}, ${maxReplays})`
      for (const { refused } of rows)
        if (refused === null) replayed++
        else left.set(refused, (left.get(refused) ?? 0) + 1)
      last = batch.at(-1)
      done += batch.length
      progress(done)
      if (rate !== undefined) await sleep(systemClock, (1_000 * done) / rate - (systemClock.monotonic() - begun))
    }
  } catch (error) {
    if (replayed === 0) throw error
    throw new TenantryError(
      'TENANTRY_DLQ_PARTLY',
      `${replayed} dead letters were replayed, then it could not go on: ${messageOf(error)}. Run it again for the others.`,
      { replayed, operation },
      { cause: error },
    )
  }
}

type Place = {
  readonly id: string
  readonly group_name: string
  readonly topic_id: string
  readonly partition: number
  readonly record_offset: string
}

function after(sql: postgres.Sql, place: Place | undefined) {
  if (place === undefined) return sql`true`
  const { group_name, topic_id, partition, record_offset } = place
  return sql`(group_name, topic_id, partition, record_offset) > (${group_name}, ${topic_id}::uuid, ${partition}, ${record_offset}::bigint)`
}

/** Why some of these cannot be replayed, and how many. */
export async function notReplayable(
  sql: postgres.Sql,
  filter: Filter,
  maxReplays: number,
): Promise<Readonly<Record<string, number>>> {
  const rows = await sql<{ refused: string; count: number }[]>`
    select case when outbox_place >= 0 then 'message' when outbox_place < -1 then 'reset' when tenant_id = '' then 'tenant'
      else 'replays' end as refused, count(*)::float8 as count
    from sys.dead_letters as letter
    where ${conditionOf(sql, { ...filter, state: 'open' })} and not (${conditionOf(sql, { replayable: maxReplays })})
    group by 1 order by 1`
  return Object.fromEntries(rows.map(({ refused, count }) => [refused, count]))
}

/** What has become of an operation's records. */
export type Outcome = { readonly waiting: number; readonly succeeded: number; readonly deadAgain: number }

async function outcomeOf(sql: postgres.Sql, operation: string): Promise<Outcome> {
  const [row] = await sql<Outcome[]>`
    select count(*) filter (where waiting)::float8 as waiting, count(*) filter (where not waiting and not again)::float8 as succeeded,
      count(*) filter (where again)::float8 as "deadAgain"
    from (
      select
        exists (
          select from sys.parked_messages as parked
          where parked.group_name = letter.group_name and parked.origin_topic_id = letter.topic_id
            and parked.origin_partition = letter.partition and parked.record_offset = letter.record_offset
            and parked.replay_count > 0
        ) as waiting,
        exists (
          select from sys.dead_letters as next
          where next.group_name = letter.group_name and next.topic_id = letter.topic_id
            and next.partition = letter.partition and next.record_offset = letter.record_offset
            and next.outbox_place = -1 and next.replay_count = letter.replay_count + 1
        ) as again
      from sys.dead_letters as letter
      where letter.operation = ${operation} and letter.state = 'replayed'
    ) as each`
  return row ?? { waiting: 0, succeeded: 0, deadAgain: 0 }
}

const lookEveryMs = 500

/** Waits until none of the operation's records waits any more. `told` gets what is known, when it has changed. */
export async function settled(
  sql: postgres.Sql,
  operation: string,
  told: (outcome: Outcome) => void,
): Promise<Outcome> {
  let before = ''
  for (;;) {
    const outcome = await outcomeOf(sql, operation)
    if (outcome.waiting === 0) return outcome
    const now = JSON.stringify(outcome)
    if (now !== before) told(outcome)
    before = now
    await sleep(systemClock, lookEveryMs)
  }
}

import { plainArray, textArray } from './array-text.ts'
import type { Ask } from './control.ts'
import type { LoneRecord, LostOwners } from './ownership.ts'
import type { PartitionRef } from './transactions.ts'

/** What is known of a partition's owners before the one that has just taken it over. */
export async function lostOwners(sql: Ask, { group, topicId, partition }: PartitionRef): Promise<LostOwners> {
  const rows = await sql<
    {
      lost: number
      given_up: number
      origin_topic_id: string | null
      origin_partition: number | null
      record_offset: string | null
      replays: number | null
      owners: number | null
    }[]
  >`
    select owner.lost, owner.given_up, known.origin_topic_id, known.origin_partition, known.record_offset::text,
      known.replays, known.owners
    from sys.partition_owners as owner
    left join sys.suspect_records as known using (group_name, topic_id, partition)
    where owner.group_name = ${group} and owner.topic_id = ${topicId} and owner.partition = ${partition}`
  return {
    count: rows[0]?.lost ?? 0,
    givenUp: rows[0]?.given_up ?? 0,
    suspects: rows.flatMap(({ origin_topic_id, origin_partition, record_offset, replays, owners }) =>
      origin_topic_id === null
        ? []
        : [
            {
              topicId: origin_topic_id,
              partition: origin_partition ?? 0,
              offset: Number(record_offset),
              replays: replays ?? 0,
              owners: owners ?? 0,
            },
          ],
    ),
  }
}

export async function releaseOwned(
  sql: Ask,
  owned: readonly { readonly ref: PartitionRef; readonly epoch: number }[],
): Promise<void> {
  await sql`
    select sys.fn_release(
      ${textArray(owned.map(({ ref }) => ref.group))}::text[], ${plainArray(owned.map(({ ref }) => ref.topicId))}::uuid[],
      ${plainArray(owned.map(({ ref }) => ref.partition))}::integer[],
      ${plainArray(owned.map(({ epoch }) => epoch))}::bigint[])`
}

export async function noteLone(
  sql: Ask,
  process: string,
  ref: PartitionRef,
  epoch: number,
  { topicId, partition, offset, replays }: LoneRecord,
): Promise<boolean> {
  const [row] = await sql<{ noted: boolean }[]>`
    select sys.fn_run_alone(
      ${ref.group}, ${ref.topicId}, ${ref.partition}, ${epoch}, ${process}, ${topicId}, ${partition}, ${offset}, ${replays}
    ) as noted`
  return row?.noted === true
}

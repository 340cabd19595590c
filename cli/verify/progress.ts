import type { Snapshot } from './tables.ts'

/** What the tables say is done of one partition. */
export type PartitionProgress = {
  readonly watermark: number
  /** [from, to) above the watermark. */
  readonly ahead: readonly (readonly [from: number, to: number])[]
  /** Offsets that an operator had passed over. */
  readonly skipped: readonly (readonly [from: number, to: number])[]
  /** Records below it ran again, as an operator said; 0: none did. */
  readonly rerunTo: number
}

/** A topic that a group has begun to read. A topic that was made anew has another id, and is another one. */
export type ConsumedTopic = {
  readonly topic: string
  readonly topicId: string
  readonly partitions: readonly PartitionProgress[]
  /** Where reading began, by partition: what was there before is none of the group's. */
  readonly begun: readonly number[]
}

/** What became of a record that was given up on, once or again after each replay. */
export type DeadLetter = {
  /** False: it was a bad record whenever it was given up. */
  readonly holdsKey: boolean
  /** It was brought back since it was last given up: it is parked, or has ended well. */
  readonly replayed: boolean
}

/** The groups that have begun to read anything. */
export async function groupsIn(sql: Snapshot): Promise<readonly string[]> {
  const rows = await sql<{ name: string }[]>`select distinct group_name as name from sys.consumed_topics order by 1`
  return rows.map(({ name }) => name)
}

export async function consumedTopics(sql: Snapshot, group: string): Promise<readonly ConsumedTopic[]> {
  const topics = await sql<{ topic: string; topic_id: string; partitions: number }[]>`
    select topic, topic_id::text, partitions from sys.consumed_topics where group_name = ${group} order by topic, begun_at`
  const rows = await sql<ProgressColumns[]>`
    select distinct on (last.topic_id, last.partition) last.topic_id::text, last.partition, last.watermark::float8,
      last.ahead::text, resets.skipped::text, resets.rerun_to::float8,
      (
        select first.watermark::float8
        from sys.partition_progress as first
        where first.group_name = last.group_name and first.topic_id = last.topic_id
          and first.partition = last.partition and first.seq = 0
      ) as begun
    from sys.partition_progress as last
    left join sys.partition_resets as resets
      on resets.group_name = last.group_name and resets.topic_id = last.topic_id and resets.partition = last.partition
    where last.group_name = ${group}
    order by last.topic_id, last.partition, last.seq desc`
  const byPlace = new Map(rows.map((row) => [`${row.topic_id}/${row.partition}`, row]))
  return topics.map(({ topic, topic_id: topicId, partitions }) => {
    const own = Array.from({ length: partitions }, (_, partition) => byPlace.get(`${topicId}/${partition}`))
    return {
      topic,
      topicId,
      partitions: own.map((row) => ({
        watermark: row?.watermark ?? 0,
        ahead: ranges(row?.ahead ?? '{}'),
        skipped: ranges(row?.skipped ?? '{}'),
        rerunTo: row?.rerun_to ?? 0,
      })),
      // The first row is trimmed with age; by then the log has lost its beginning as well.
      begun: own.map((row) => row?.begun ?? 0),
    }
  })
}

/** One for each record, by `topic id/partition/offset`. Messages that Kafka refused are no records of ours. */
export async function deadLetters(sql: Snapshot, group: string): Promise<Map<string, DeadLetter>> {
  const rows = await sql<{ place: string; holds_key: boolean; replayed: boolean }[]>`
    select concat(topic_id, '/', partition, '/', record_offset) as place,
      -- A version that did not write it down let every message with an id hold its key.
      bool_or(coalesce(holds_key, message_id <> '')) as holds_key,
      (array_agg(state order by replay_count desc))[1] = 'replayed' as replayed
    from sys.dead_letters
    where group_name = ${group} and outbox_place = -1
    group by topic_id, partition, record_offset`
  return new Map(rows.map(({ place, holds_key: holdsKey, replayed }) => [place, { holdsKey, replayed }]))
}

/** A record that progress has as done, but that waits in PostgreSQL. */
export type ParkedRecord = {
  /** It was a dead letter, and was brought back. */
  readonly replayed: boolean
  /** It was given up with its key written, which it still holds. */
  readonly holdsKey: boolean
}

/** By the place where the record was read, as for dead letters. */
export async function parkedRecords(sql: Snapshot, group: string): Promise<Map<string, ParkedRecord>> {
  const rows = await sql<{ place: string; replayed: boolean; holds_key: boolean }[]>`
    select concat(origin_topic_id, '/', origin_partition, '/', record_offset) as place, replay_count > 0 as replayed,
      holds_key
    from sys.parked_messages
    where group_name = ${group}`
  return new Map(rows.map(({ place, replayed, holds_key: holdsKey }) => [place, { replayed, holdsKey }]))
}

/** The places of the records whose failed attempts are counted there, to be repeated. */
export async function retriedRecords(sql: Snapshot, group: string): Promise<Set<string>> {
  const rows = await sql<{ place: string }[]>`
    select concat(topic_id, '/', partition, '/', record_offset) as place from sys.retries where group_name = ${group}`
  return new Set(rows.map(({ place }) => place))
}

export function isDone({ watermark, ahead }: PartitionProgress, offset: number): boolean {
  return offset < watermark || within(ahead, offset)
}

/** Whether an operator had it passed over. */
export function isSkipped({ skipped }: PartitionProgress, offset: number): boolean {
  return within(skipped, offset)
}

function within(all: PartitionProgress['ahead'], offset: number): boolean {
  return all.some(([from, to]) => offset >= from && offset < to)
}

type ProgressColumns = {
  topic_id: string
  partition: number
  watermark: number
  ahead: string
  skipped: string | null
  rerun_to: number | null
  begun: number | null
}

/** PostgreSQL's text of an int8multirange: `{[3,5),[7,9)}`. */
function ranges(text: string): (readonly [number, number])[] {
  return [...text.matchAll(/\[(\d+),(\d+)\)/g)].map(([, from, to]) => [Number(from), Number(to)])
}

import type postgres from 'postgres'
import { isForeign } from '../../core/foreign-offset.ts'
import type { TopicPartition } from '../../core/kafka/source.ts'
import type { Servers } from './servers.ts'

/** How far a group is in one partition, by PostgreSQL and by Kafka. What one of them does not know is null. */
export type PartitionOffsets = {
  readonly group: string
  readonly topic: string
  readonly topicId: string
  readonly partition: number
  /** What Kafka has by this name: `gone` nothing, `recreated` another topic. */
  readonly state: 'present' | 'gone' | 'recreated'
  /** Where the group began to read it. */
  readonly began: number | null
  /** All below it is done. */
  readonly watermark: number | null
  /** Ranges above the watermark that are done, too, and how many offsets they have. */
  readonly aheadRanges: number
  readonly ahead: number
  readonly epoch: number | null
  readonly seq: number | null
  /** The offset that was last written to Kafka. */
  readonly writtenOffset: number | null
  /** The group's offset as Kafka has it. */
  readonly kafkaOffset: number | null
  /** Neither the partition's owner nor one before it wrote that. */
  readonly foreign: boolean
  readonly logStart: number | null
  readonly logEnd: number | null
  /** From the watermark to the log's end. */
  readonly lag: number | null
  readonly parked: number
  readonly retries: number
  /** Records below it run again, as an operator said. */
  readonly rerunTo: number | null
}

export type LookedFor = { readonly group?: string; readonly topic?: string; readonly partition?: number }

/** Every partition that groups have begun to read, or those of a group and a topic; of topics made anew the last. */
export async function lookAt({ sql, cluster }: Servers, wanted: LookedFor = {}): Promise<readonly PartitionOffsets[]> {
  // Before and after Kafka: an offset that an owner writes meanwhile must not look as if it were somebody else's.
  const first = await progressOf(sql, wanted)
  const kafka = await kafkaOf(cluster, first)
  const before = new Map(first.map((row) => [keyOf(row), row.kafka_offset]))
  const rows = (await progressOf(sql, wanted)).filter((row) => before.has(keyOf(row)))
  return rows.map((row) => {
    const { state, starts, ends, committed } = kafka.get(nameOf(row)) ?? absent
    const watermark = row.watermark
    const kafkaOffset = committed.get(row.partition) ?? null
    const logEnd = ends.get(row.partition) ?? null
    const written = Math.min(before.get(keyOf(row)) ?? -1, row.kafka_offset ?? -1)
    return {
      group: row.group_name,
      topic: row.topic,
      topicId: row.topic_id,
      partition: row.partition,
      state,
      began: row.began,
      watermark,
      aheadRanges: row.ahead_ranges,
      ahead: row.ahead,
      epoch: row.epoch,
      seq: row.seq,
      writtenOffset: row.kafka_offset === -1 ? null : row.kafka_offset,
      kafkaOffset,
      foreign:
        kafkaOffset !== null && watermark !== null && isForeign(kafkaOffset, { kafkaOffset: written, watermark }),
      logStart: starts.get(row.partition) ?? null,
      logEnd,
      lag: logEnd === null || watermark === null ? null : Math.max(0, logEnd - watermark),
      parked: row.parked,
      retries: row.retries,
      rerunTo: row.rerun_to,
    }
  })
}

type ProgressColumns = {
  group_name: string
  topic: string
  topic_id: string
  partition: number
  began: number | null
  watermark: number | null
  ahead_ranges: number
  ahead: number
  epoch: number | null
  seq: number | null
  kafka_offset: number | null
  parked: number
  retries: number
  rerun_to: number | null
}

function progressOf(sql: postgres.Sql, { group, topic, partition }: LookedFor): Promise<ProgressColumns[]> {
  return sql<ProgressColumns[]>`
    with topics as (
      select distinct on (group_name, topic) * from sys.consumed_topics
      where (${group ?? null}::text is null or group_name = ${group ?? null})
        and (${topic ?? null}::text is null or topic = ${topic ?? null})
      order by group_name, topic, begun_at desc
    )
    select topics.group_name, topics.topic, topics.topic_id::text, place.partition, first.watermark::float8 as began,
      last.watermark::float8, coalesce(last.ranges, 0) as ahead_ranges, coalesce(last.above, 0) as ahead, last.epoch::float8,
      last.seq::float8, last.kafka_offset::float8, parked.count::float8 as parked, retries.count::float8 as retries,
      resets.rerun_to::float8
    from topics
    cross join generate_series(0, topics.partitions - 1) as place (partition)
    left join sys.partition_progress as first
      on first.group_name = topics.group_name and first.topic_id = topics.topic_id and first.partition = place.partition
        and first.seq = 0
    left join lateral (
      select progress.*, above.ranges, above.above
      from sys.partition_progress as progress
      cross join lateral (
        select count(*)::integer as ranges, coalesce(sum(upper(range) - lower(range)), 0)::float8 as above
        from unnest(progress.ahead) as range
      ) as above
      where progress.group_name = topics.group_name and progress.topic_id = topics.topic_id
        and progress.partition = place.partition
      order by progress.seq desc
      limit 1
    ) as last on true
    cross join lateral (
      select count(*) from sys.parked_messages as waiting
      where waiting.group_name = topics.group_name and waiting.topic_id = topics.topic_id
        and waiting.partition = place.partition
    ) as parked
    cross join lateral (
      select count(*) from sys.retries as waiting
      where waiting.group_name = topics.group_name and waiting.topic_id = topics.topic_id
        and waiting.partition = place.partition
    ) as retries
    left join sys.partition_resets as resets
      on resets.group_name = topics.group_name and resets.topic_id = topics.topic_id
        and resets.partition = place.partition and resets.rerun_to > last.watermark
    where ${partition ?? null}::integer is null or place.partition = ${partition ?? null}
    order by topics.group_name, topics.topic, place.partition`
}

type KafkaSide = {
  readonly state: PartitionOffsets['state']
  readonly starts: ReadonlyMap<number, number>
  readonly ends: ReadonlyMap<number, number>
  readonly committed: ReadonlyMap<number, number>
}

const absent: KafkaSide = { state: 'gone', starts: new Map(), ends: new Map(), committed: new Map() }

async function kafkaOf(
  cluster: Servers['cluster'],
  rows: readonly ProgressColumns[],
): Promise<ReadonlyMap<string, KafkaSide>> {
  const sides = new Map<string, KafkaSide>()
  for (const [name, of] of Map.groupBy(rows, nameOf)) {
    const [first] = of
    if (first === undefined) continue
    const { group_name: group, topic, topic_id: topicId } = first
    const found = await cluster.describe(topic)
    if (found === undefined) continue
    if (found.id !== topicId) {
      sides.set(name, { ...absent, state: 'recreated' })
      continue
    }
    const partitions = of.map(({ partition }): TopicPartition => ({ topic, partition }))
    const committed = await cluster.committed(group, partitions)
    const ranges = await cluster.range(partitions)
    sides.set(name, {
      state: 'present',
      starts: new Map(ranges.map(({ partition, start }) => [partition, start])),
      ends: new Map(ranges.map(({ partition, end }) => [partition, end])),
      committed: new Map(committed.map(({ partition, offset }) => [partition, offset])),
    })
  }
  return sides
}

function nameOf(row: ProgressColumns): string {
  return `${row.group_name}\n${row.topic}`
}

function keyOf(row: ProgressColumns): string {
  return `${nameOf(row)}\n${row.topic_id}\n${row.partition}`
}

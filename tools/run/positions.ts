import type postgres from 'postgres'

/** How far a group is in one partition, as PostgreSQL says. */
export type Position = {
  readonly partition: number
  /** Records done: all below the watermark, and those above it that are done too. */
  readonly done: number
  readonly watermark: number
  /** Where a plain consumer of this group would begin again; 0 where the daemon has not written any offset yet. */
  readonly kafkaOffset: number
}

/**
 * Of all partitions that the group has begun to read, in no order. Topics are taken to begin at 0; of those that were made
 * anew under their names the last one counts.
 */
export async function positionsOf(sql: postgres.Sql, group: string): Promise<readonly Position[]> {
  return sql<Position[]>`
    select last.partition,
      (last.watermark + (select coalesce(sum(upper(range) - lower(range)), 0) from unnest(last.ahead) as range))::float8 as done,
      last.watermark::float8 as watermark,
      greatest(last.kafka_offset, 0)::float8 as "kafkaOffset"
    from (
      select distinct on (begun.topic) begun.*
      from sys.consumed_topics as begun
      where begun.group_name = ${group}
      order by begun.topic, begun.begun_at desc
    ) as topic
    cross join generate_series(0, topic.partitions - 1) as place
    cross join lateral (
      select progress.*
      from sys.partition_progress as progress
      where progress.group_name = topic.group_name
        and progress.topic_id = topic.topic_id
        and progress.partition = place
      order by progress.seq desc
      limit 1
    ) as last`
}

export function sumOf(positions: readonly Position[], what: 'done' | 'watermark' | 'kafkaOffset'): number {
  return positions.reduce((sum, position) => sum + position[what], 0)
}

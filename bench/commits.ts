import type postgres from 'postgres'

/** One transaction that wrote rows. */
export type CommittedRows = { readonly at: number; readonly rows: number }

/**
 * When rows of `effects` were committed, as PostgreSQL recorded it, in milliseconds since 1970; oldest first. Read after
 * the run: nothing is disturbed, whatever wrote them.
 */
export async function commitsOf(sql: postgres.Sql): Promise<readonly CommittedRows[]> {
  return sql<CommittedRows[]>`
    select extract(epoch from pg_xact_commit_timestamp(xmin))::float8 * 1000 as at, count(*)::integer as rows
    from effects
    group by xmin
    order by at`
}

export type Window = {
  /** The commit after which is measured, and the last one. */
  readonly from: number
  readonly to: number
  /** Rows in between. */
  readonly rows: number
}

/** What came after the first `warmUp` rows, to whole transactions: rather a few more. */
export function windowAfter(commits: readonly CommittedRows[], warmUp: number): Window {
  // At least one transaction is the beginning that the others are measured from.
  let before = commits[0]?.rows ?? 0
  let at = 1
  for (let next = commits[at]; at < commits.length - 1 && next !== undefined; next = commits[++at]) {
    if (before + next.rows > warmUp) break
    before += next.rows
  }
  const from = commits[at - 1]?.at ?? 0
  const rows = commits.slice(at).reduce((sum, commit) => sum + commit.rows, 0)
  return { from, to: commits.at(-1)?.at ?? from, rows }
}

/** Fsyncs of the write-ahead log so far, and the milliseconds they took, all databases together. */
export async function flushes(sql: postgres.Sql): Promise<{ readonly count: number; readonly ms: number }> {
  const [row] = await sql<{ count: number; ms: number }[]>`
    select coalesce(sum(fsyncs), 0)::float8 as count, coalesce(sum(fsync_time), 0)::float8 as ms
    from pg_stat_io
    where object = 'wal'`
  return row ?? { count: 0, ms: 0 }
}

/** The longest that any partition's watermark stood still, of times that began before `until` (milliseconds since 1970). */
export async function longestStandstill(sql: postgres.Sql, until: number): Promise<number> {
  const [row] = await sql<{ ms: number | null }[]>`
    select extract(epoch from max(next - at))::float8 * 1000 as ms
    from (
      select at, lead(at) over (partition by group_name, topic_id, partition order by watermark) as next
      from (
        select group_name, topic_id, partition, watermark, min(committed_at) as at
        from sys.partition_progress
        group by group_name, topic_id, partition, watermark
      ) as advances
    ) as standstills
    where at < to_timestamp(${until}::float8 / 1000)`
  return Math.round(row?.ms ?? 0)
}

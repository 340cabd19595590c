import type { StuckQuery } from '../../core/stuck-report.ts'
import { usingDatabase } from '../database.ts'

/** A tenant of a partition with records that are parked, or to be tried again. */
export type RecordedTenant = {
  readonly group: string
  readonly topic: string
  readonly partition: number
  readonly tenant: string
  /** Of the oldest of them. */
  readonly offset: number
  readonly parked: number
  /** Failed attempts at the oldest. */
  readonly attempts: number
  /** When the first of those that are parked came, or the oldest has failed. */
  readonly since: string
  /** When it is tried again, if it is in memory of a daemon; it may be past. */
  readonly retryAt: string | null
  readonly lastError: string | null
}

export type Recorded = { readonly tenants: readonly RecordedTenant[]; readonly moreTenants: number }

/** What the tables know of tenants that do not go on, longest first. */
export function recordedAsStuck(url: string, query: StuckQuery): Promise<Recorded> {
  const { group = null, tenant = null, longerThanMs, limit } = query
  return usingDatabase(url, 'stuck', async (sql) => {
    const rows = await sql<Columns[]>`
      with parked as (
        select group_name, topic_id, partition, tenant_id, count(*)::integer as rows, least(min(parked_at), min(first_failed_at)) as since,
          (array_agg(record_offset order by generation, record_offset))[1]::float8 as first_offset,
          (array_agg(attempts order by generation, record_offset))[1] as attempts
        from sys.parked_messages
        where (${group}::text is null or group_name = ${group}) and (${tenant}::text is null or tenant_id = ${tenant})
        group by group_name, topic_id, partition, tenant_id
      ), retried as (
        select distinct on (group_name, topic_id, partition, tenant_id) group_name collate "C" as group_name, topic_id,
          partition, tenant_id collate "C" as tenant_id, record_offset::float8 as first_offset, attempts,
          first_failed_at as since, retry_at, concat_ws(': ', reason, nullif(error_class, '')) as failure
        from sys.retries
        where (${group}::text is null or group_name = ${group}) and (${tenant}::text is null or tenant_id = ${tenant})
        order by group_name, topic_id, partition, tenant_id, record_offset
      ), waiting as (
        select group_name, topic_id, partition, tenant_id,
          coalesce(retried.first_offset, parked.first_offset) as first_offset,
          coalesce(parked.rows, 0) as rows,
          coalesce(retried.attempts, parked.attempts) as attempts,
          least(parked.since, retried.since) as since,
          retried.retry_at,
          retried.failure
        from parked
        full join retried using (group_name, topic_id, partition, tenant_id)
      )
      select waiting.*, coalesce(topics.topic, topic_id::text) as topic, count(*) over ()::integer as count
      from waiting
      left join sys.consumed_topics as topics using (group_name, topic_id)
      where ${tenant}::text is not null or since < now() - make_interval(secs => ${longerThanMs / 1_000})
      order by since
      limit ${limit}`
    return { tenants: rows.map(recorded), moreTenants: (rows[0]?.count ?? 0) - rows.length }
  })
}

type Columns = {
  group_name: string
  topic: string
  partition: number
  tenant_id: string
  first_offset: number
  rows: number
  attempts: number
  since: Date
  retry_at: Date | null
  failure: string | null
  count: number
}

function recorded(row: Columns): RecordedTenant {
  return {
    group: row.group_name,
    topic: row.topic,
    partition: row.partition,
    tenant: row.tenant_id,
    offset: row.first_offset,
    parked: row.rows,
    attempts: row.attempts,
    since: row.since.toISOString(),
    retryAt: row.retry_at?.toISOString() ?? null,
    lastError: row.failure,
  }
}

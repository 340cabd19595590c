import type postgres from 'postgres'
import { conditionOf, type Filter } from './filter.ts'

/** Dead letters that are alike. */
export type Kind = {
  readonly group: string
  readonly topic: string
  readonly reason: string
  readonly errorClass: string
  readonly deadLetters: number
  readonly tenants: number
  readonly firstFailedAt: string
  readonly lastFailedAt: string
}

type GroupStatistics = {
  readonly group: string
  readonly deadLetters: number
  readonly open: number
  readonly discarded: number
  readonly replayed: number
  /** Whose message Kafka refused. */
  readonly refused: number
  readonly tenants: number
  readonly reasons: Readonly<Record<string, number>>
  readonly firstFailedAt: string
  readonly lastFailedAt: string
}

export type Statistics = {
  /** Of the time since then, whatever became of them. */
  readonly since: string
  readonly groups: readonly GroupStatistics[]
  /** What is open, of whatever age. */
  readonly open: readonly Kind[]
}

/** What the functions and views of schema sys say, of all groups or one. */
export async function statisticsOf(sql: postgres.Sql, since: Date, group: string | undefined): Promise<Statistics> {
  const groups = await sql<GroupColumns[]>`
    select group_name, dead_letters::float8, open::float8, discarded::float8, replayed::float8, refused::float8,
      tenants::float8, reasons, first_failed_at, last_failed_at
    from sys.fn_get_dlq_statistics(now() - ${since}::timestamptz, ${group ?? null})`
  const open = await sql<KindColumns[]>`
    select group_name, topic, reason, error_class, dead_letters::float8, tenants::float8, first_failed_at, last_failed_at
    from sys.vw_dlq_summary
    where ${group ?? null}::text is null or group_name = ${group ?? null}
    order by dead_letters desc, group_name, topic, reason, error_class`
  return {
    since: since.toISOString(),
    groups: groups.map((row) => ({
      group: row.group_name,
      deadLetters: row.dead_letters,
      open: row.open,
      discarded: row.discarded,
      replayed: row.replayed,
      refused: row.refused,
      tenants: row.tenants,
      reasons: row.reasons,
      firstFailedAt: row.first_failed_at.toISOString(),
      lastFailedAt: row.last_failed_at.toISOString(),
    })),
    open: open.map(kindOf),
  }
}

export type Preview = { readonly deadLetters: number; readonly newest: number; readonly kinds: readonly Kind[] }

/** What a filter chooses now. `newest` is the highest id of it: what comes later was not looked at. */
export async function preview(sql: postgres.Sql, filter: Filter): Promise<Preview> {
  const rows = await sql<(KindColumns & { newest: string })[]>`
    select group_name, topic, reason, error_class, count(*)::float8 as dead_letters,
      count(distinct tenant_id)::float8 as tenants, min(first_failed_at) as first_failed_at,
      max(failed_at) as last_failed_at, max(id)::text as newest
    from sys.dead_letters
    where ${conditionOf(sql, filter)}
    group by group_name, topic, reason, error_class
    order by dead_letters desc, group_name, topic, reason, error_class`
  return {
    deadLetters: rows.reduce((sum, row) => sum + row.dead_letters, 0),
    newest: Math.max(0, ...rows.map(({ newest }) => Number(newest))),
    kinds: rows.map(kindOf),
  }
}

type KindColumns = {
  group_name: string
  topic: string
  reason: string
  error_class: string
  dead_letters: number
  tenants: number
  first_failed_at: Date
  last_failed_at: Date
}

type GroupColumns = Omit<KindColumns, 'topic' | 'reason' | 'error_class'> & {
  open: number
  discarded: number
  replayed: number
  refused: number
  reasons: Record<string, number>
}

function kindOf(row: KindColumns): Kind {
  return {
    group: row.group_name,
    topic: row.topic,
    reason: row.reason,
    errorClass: row.error_class,
    deadLetters: row.dead_letters,
    tenants: row.tenants,
    firstFailedAt: row.first_failed_at.toISOString(),
    lastFailedAt: row.last_failed_at.toISOString(),
  }
}

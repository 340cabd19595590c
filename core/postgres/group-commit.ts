import type postgres from 'postgres'
import { plainArray, textArray } from './array-text.ts'
import type { EffectStatement } from './effects.ts'
import type { Commit, Outcome, PartitionCommit, Range } from './transactions.ts'

/** A statement on its way, and whose it is. */
export type Step = { readonly of: 'own' | 'effect'; readonly query: PromiseLike<{ readonly command: string }> }

export type Traceability = { readonly mode: 'all' | 'failures' | 'sampled' | 'off'; readonly sampleRate: number }

/** The partitions of a commit as the functions of the fence and of progress take them. */
function named(partitions: readonly PartitionCommit[]) {
  return {
    groups: textArray(partitions.map(({ ref }) => ref.group)),
    topicIds: plainArray(partitions.map(({ ref }) => ref.topicId)),
    numbers: plainArray(partitions.map(({ ref }) => ref.partition)),
    follows: plainArray(partitions.map(({ follows }) => follows)),
    epochs: plainArray(partitions.map(({ epoch }) => epoch)),
    seqs: plainArray(partitions.map(({ seq }) => seq)),
  }
}

function recorded(partitions: readonly PartitionCommit[]) {
  return {
    watermarks: plainArray(partitions.map(({ watermark }) => watermark)),
    aheads: textArray(partitions.map(({ ahead }) => multirange(ahead))),
    kafkaOffsets: plainArray(partitions.map(({ kafkaOffset }) => kafkaOffset)),
  }
}

function multirange(ranges: readonly Range[]): string {
  return `{${ranges.map(([from, to]) => `[${from},${to})`).join(',')}}`
}

export function commitProgress(sql: postgres.Sql, { id, partitions }: Commit): Step {
  const { groups, topicIds, numbers, follows, epochs, seqs } = named(partitions)
  const { watermarks, aheads, kafkaOffsets } = recorded(partitions)
  return own(
    sql`select sys.fn_commit_progress(${groups}, ${topicIds}, ${numbers}, ${follows}, ${epochs}, ${seqs}, ${id}, ${watermarks}, ${aheads}, ${kafkaOffsets})`,
  )
}

export function fence(sql: postgres.Sql, { partitions }: Commit): Step {
  const { groups, topicIds, numbers, follows } = named(partitions)
  return own(sql`select sys.fn_fence(${groups}, ${topicIds}, ${numbers}, ${follows})`)
}

export function recordProgress(sql: postgres.Sql, { id, partitions }: Commit): Step {
  const { groups, topicIds, numbers, epochs, seqs } = named(partitions)
  const { watermarks, aheads, kafkaOffsets } = recorded(partitions)
  return own(
    sql`select sys.fn_record_progress(${groups}, ${topicIds}, ${numbers}, ${epochs}, ${seqs}, ${id}, ${watermarks}, ${aheads}, ${kafkaOffsets})`,
  )
}

/** Types whose array reads each element as a cast of its text does: half the work of text that is cast row by row. */
const arrayTypes: ReadonlySet<string> = new Set(
  [
    'uuid',
    'text',
    'varchar',
    'int2',
    'int4',
    'int8',
    'float4',
    'float8',
    'numeric',
    'bool',
    'date',
    'timestamp',
    'timestamptz',
    'json',
    'jsonb',
    'bytea',
  ].map((type) => `pg_catalog.${type}`),
)

/** `types` gives the type of each column, schema-qualified, to which the text is cast. */
export function effectSteps(
  sql: postgres.Sql,
  commitId: string,
  statement: EffectStatement,
  types: (table: string, column: string) => string,
): Step[] {
  if (statement.kind === 'sql') {
    const { tenant, effect } = statement
    const text = Object.assign([...effect.text], { raw: [...effect.text] })
    return [
      // An effect's, too: what can make it fail is what the statement before has left.
      { of: 'effect', query: sql`select sys.fn_enter_statement(${tenant}, ${commitId})` },
      { of: 'effect', query: sql(text, ...effect.values) },
    ]
  }
  const { shape, arrays } = statement
  const { table, columns, conflict } = shape
  const list = <T>(items: readonly T[], each: (item: T, place: number) => postgres.PendingQuery<postgres.Row[]>) =>
    items.map((item, i) => (i === 0 ? each(item, i) : sql`, ${each(item, i)}`))
  // Unnested in the list, the rows stream; from a function in `from` they are stored first: 0.7 of 3.8 µs a row.
  const given = list(columns, (column, i) => {
    const type = types(table, column)
    const array = arrays[i] ?? '{}'
    return arrayTypes.has(type) ? sql`unnest(${array}::${sql(type)}[])` : sql`unnest(${array}::text[])::${sql(type)}`
  })
  const insert = sql`insert into ${sql(table)} (${sql([...columns])}) select ${given}`
  if (conflict === undefined) return [{ of: 'effect', query: insert }]
  const rest = columns.filter((column) => !conflict.includes(column))
  const action =
    rest.length === 0
      ? sql`do nothing`
      : sql`do update set ${list(rest, (column) => sql`${sql(column)} = excluded.${sql(column)}`)}`
  return [{ of: 'effect', query: sql`${insert} on conflict (${sql([...conflict])}) ${action}` }]
}

/**
 * The last state of each instance, sorted. A tenant that comes in two partitions has two, which PostgreSQL refuses as
 * one statement's rows: bisecting commits the first, and the other is found to belong elsewhere.
 */
export function stateSteps(sql: postgres.Sql, { outcomes, partitions }: Commit): Step[] {
  const last = new Map<string, Outcome>()
  for (let i = 0; i < outcomes.length; i++) {
    const outcome = outcomes[i]
    if (outcome?.result.kind === 'done' && outcome.result.stateful)
      last.set(
        `${partitions[outcome.partition]?.ref.group}\n${outcome.actor}\n${outcome.tenant}\n${outcome.partition}`,
        outcome,
      )
  }
  if (last.size === 0) return []
  const rows = [...last].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, outcome]) => outcome)
  const refs = rows.map(({ partition }) => partitions[partition]?.ref)
  const states = rows.map(({ result }) => (result.kind === 'done' ? result.state : null))
  const query = sql`select sys.fn_write_states(
    ${textArray(refs.map((ref) => ref?.group ?? ''))}, ${textArray(rows.map(({ actor }) => actor))},
    ${textArray(rows.map(({ tenant }) => tenant))}, ${textArray(refs.map((ref) => ref?.topic ?? ''))},
    ${plainArray(refs.map((ref) => ref?.partition ?? 0))}, ${plainArray(states.map((state) => state?.version ?? 0))},
    ${textArray(states.map((state) => state?.json ?? null))})`
  // The tenant's own: bisecting must find it when its state turns out to belong elsewhere.
  return [{ of: 'effect', query }]
}

/** PostgreSQL's text takes no NUL. Lone surrogates become U+FFFD on the wire by themselves. */
export function storable(text: string): string {
  return text.includes('\0') ? text.replaceAll('\0', '\u{fffd}') : text
}

export function traceSteps(
  sql: postgres.Sql,
  { outcomes, partitions }: Commit,
  { mode, sampleRate }: Traceability,
): Step[] {
  if (mode === 'off') return []
  const traced = outcomes.filter(
    ({ result }) =>
      result.kind !== 'retried' &&
      result.kind !== 'parked' &&
      (mode === 'all' ||
        result.kind === 'failed' ||
        (mode === 'sampled' && result.kind !== 'skipped' && sampled(result.messageId, sampleRate))),
  )
  if (traced.length === 0) return []
  const refs = traced.map(({ partition }) => partitions[partition]?.ref)
  const facts = traced.map(({ result }) =>
    result.kind === 'skipped' || result.kind === 'parked' ? { messageId: '', type: '', traceId: '' } : result,
  )
  const query = sql`
    insert into sys.message_traceability (
      group_name, topic, partition, record_offset, tenant_id, actor, message_id, message_type, trace_id, outcome, reason, attempts)
    select * from unnest(
      ${textArray(refs.map((ref) => ref?.group ?? ''))}::text[], ${textArray(refs.map((ref) => ref?.topic ?? ''))}::text[],
      ${plainArray(refs.map((ref) => ref?.partition ?? 0))}::integer[], ${plainArray(traced.map(({ record }) => record.offset))}::bigint[],
      ${textArray(traced.map(({ tenant }) => tenant))}::text[], ${textArray(traced.map(({ actor }) => actor))}::text[],
      ${textArray(facts.map(({ messageId }) => storable(messageId)))}::text[], ${textArray(facts.map(({ type }) => storable(type)))}::text[],
      ${textArray(facts.map(({ traceId }) => storable(traceId)))}::text[], ${textArray(traced.map(({ result }) => outcomeNames[result.kind]))}::text[],
      ${textArray(traced.map(({ result }) => (result.kind === 'failed' ? storable(result.failure.reason) : result.kind === 'skipped' ? result.reason : '')))}::text[],
      ${plainArray(traced.map(({ attempts }) => attempts + 1))}::integer[])`
  return [own(query)]
}

const outcomeNames = {
  done: 'processed',
  failed: 'dead_lettered',
  duplicate: 'duplicate',
  skipped: 'skipped',
  retried: 'retried',
  parked: 'parked',
} as const

/** The same messages on every daemon and every rerun. */
function sampled(messageId: string, rate: number): boolean {
  let hash = 0
  for (let i = 0; i < messageId.length; i++) hash = (Math.imul(hash, 31) + messageId.charCodeAt(i)) | 0
  // Ids that are counted up lie side by side until they are mixed (murmur3's last step): all would be chosen, or none.
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  hash ^= hash >>> 16
  return (hash >>> 0) / 0x1_0000_0000 < rate
}

export function own(query: Step['query']): Step {
  return { of: 'own', query }
}

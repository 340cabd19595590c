import { hash } from 'node:crypto'
import type postgres from 'postgres'
import { z } from 'zod'
import { type ConsumedTopic, consumedTopics, isDone, isSkipped } from '../../cli/verify/progress.ts'
import { type Act, actsOf, type Logged, readTopic, type TopicLog } from './history.ts'
import type { Verdict } from './judge.ts'
import type { Plan } from './plan.ts'
import { type Chapter, retell } from './retold.ts'

/** What is left of a run in which operators took part. */
export type ToldScene = {
  readonly kafka: string
  readonly sql: postgres.Sql
  readonly topic: string
  readonly plan: Plan
  readonly sent: number
  /** The logs of those topics of this name that are gone. */
  readonly gone: readonly TopicLog[]
  /** The numbers of the published events, those of one tenant in the order of their first copies. */
  readonly events: readonly number[]
}

/** A finding counts as one of these. */
type Counts = { lost: number; duplicated: number; reordered: number; invented: number; findings: string[] }

type Tenant = { readonly rows: string[]; readonly chapters: readonly Chapter[] }

/**
 * By the logs, the gone ones included, and what operators did, which are all that says what must be there then: rows,
 * the states that they were made from, dead letters, and the events.
 */
export async function judgeRetold(scene: ToldScene): Promise<Verdict> {
  const { sql, topic, gone } = scene
  const counts: Counts = { lost: 0, duplicated: 0, reordered: 0, invented: 0, findings: [] }
  const logs = [...gone, await readTopic(scene.kafka, topic)]
  const acts = await actsOf(sql, topic)
  const progress = await sql.begin(
    async (tx) => new Map((await consumedTopics(tx, topic)).map((one) => [one.topicId, one])),
  )
  checkLogs(scene, logs, counts)
  const rows = await rowsOf(sql, counts)
  const records = Map.groupBy(
    logs.flatMap((log, i) => log.records.map((record) => ({ ...record, log: i, topicId: log.topicId }))),
    ({ tenant }) => tenant,
  )
  const numbers = new Map<string, number>()
  for (const [tenant, of] of records) {
    for (const { id, n, poison } of of) if (!poison) numbers.set(`${tenant}/${id}`, n)
    const chapters = logs.map(({ topicId }, i): Chapter => {
      const own = of.filter(({ log }) => log === i)
      const known = progress.get(topicId)
      return {
        records: own,
        acts: acts.filter((act) => act.topicId === topicId && act.partition === own[0]?.partition),
        ...(i < gone.length && { done: (offset) => isDoneIn(known, own[0], offset) }),
      }
    })
    checkTenant(tenant, { rows: rows.get(tenant) ?? [], chapters }, counts)
  }
  for (const [tenant, own] of rows)
    if (!records.has(tenant)) invent(counts, own.length, `${own.length} rows of ${tenant}, of whom no record is`)
  await checkStates(scene, rows, counts)
  await checkLetters(scene, { logs, acts, progress }, counts)
  checkEvents(scene, rows, numbers, counts)
  return { records: logs.reduce((all, log) => all + log.records.length, 0), ...counts }
}

function isDoneIn(
  topic: ConsumedTopic | undefined,
  at: Pick<Logged, 'partition'> | undefined,
  offset: number,
): boolean {
  const own = topic?.partitions[at?.partition ?? -1]
  return own !== undefined && isDone(own, offset)
}

function invent(counts: Counts, count: number, finding: string): void {
  counts.invented += count
  counts.findings.push(finding)
}

/** The logs have what was sent, in its order. */
function checkLogs({ plan, sent }: ToldScene, logs: readonly TopicLog[], counts: Counts): void {
  const there = Map.groupBy(
    logs.flatMap(({ records }) => records),
    ({ tenant }) => tenant,
  )
  const planned = Map.groupBy(
    Array.from({ length: sent }, (_, n) => n),
    (n) => plan.tenant(n),
  )
  for (const [tenant, numbers] of planned) {
    const found = (there.get(tenant) ?? []).map(({ n }) => n)
    const at = numbers.findIndex((n, i) => found[i] !== plan.original(n))
    if (at < 0 && found.length === numbers.length) continue
    counts.lost++
    counts.findings.push(
      `the logs of ${tenant} are not what was sent: ${found.length} of ${numbers.length}, from ${at}`,
    )
  }
}

/** By tenant, the messages of its rows in the order in which they were made. */
async function rowsOf(sql: postgres.Sql, counts: Counts): Promise<ReadonlyMap<string, string[]>> {
  const found = await sql<{ tenant: string; ids: string[]; gaps: boolean }[]>`
    select tenant_id as tenant, array_agg(message_id order by number) as ids,
      max(number) <> count(*) or count(distinct number) <> count(*) as gaps
    from effects group by tenant_id`
  for (const { tenant, gaps } of found) {
    if (!gaps) continue
    counts.reordered++
    counts.findings.push(`rows of ${tenant} were not each made from the state that the one before had left`)
  }
  return new Map(found.map(({ tenant, ids }) => [tenant, ids]))
}

/** Where the rows cannot be told, what is missing and what there is too often is counted; else their order is wrong. */
function checkTenant(tenant: string, { rows, chapters }: Tenant, counts: Counts): void {
  const { told, whole } = retell(rows, chapters)
  if (whole) return
  const times = new Map<string, number>()
  for (const id of rows) times.set(id, (times.get(id) ?? 0) + 1)
  let [missing, often] = [0, 0]
  for (const { records, acts, done } of chapters) {
    for (const { id, offset, poison } of records) {
      if (poison) continue
      const must = done === undefined ? acts.every(({ kind }) => kind === 'rerun') : done(offset) && acts.length === 0
      if (must && !times.has(id)) missing++
    }
  }
  const most = chapters.reduce((all, { acts }) => all + acts.length + 1, 0)
  for (const count of times.values()) often += Math.max(0, count - most)
  counts.lost += missing
  counts.duplicated += often
  if (missing + often === 0) counts.reordered++
  const around = rows.slice(Math.max(0, told - 2), told + 3).map((id) => `${placesOf(id, chapters).join(' or ')}`)
  counts.findings.push(
    `the rows of ${tenant} cannot be told from ${told} of ${rows.length} on (around it: ${around.join(', ')}); ${missing} messages have none, ${often} are too many`,
  )
}

/** Where a message is, as `log:offset`, and whether that is done. */
function placesOf(id: string, chapters: readonly Chapter[]): readonly string[] {
  return chapters.flatMap(({ records, done }, log) =>
    records
      .filter((record) => record.id === id)
      .map(({ offset }) => `${log}:${offset}${done === undefined || done(offset) ? '' : ' undone'}`),
  )
}

const state = z.object({ n: z.number(), chain: z.string() })

/** Each state is what the tenant's rows make, in their order. */
async function checkStates(
  { sql, topic }: ToldScene,
  rows: ReadonlyMap<string, readonly string[]>,
  counts: Counts,
): Promise<void> {
  const left = new Set(rows.keys())
  for (const { tenant, state: found } of await sql<{ tenant: string; state: unknown }[]>`
    select tenant_id as tenant, state from sys.actor_state where group_name = ${topic}`) {
    left.delete(tenant)
    const own = rows.get(tenant) ?? []
    const { n, chain } = state.parse(found)
    if (n === own.length && chain === own.reduce((before, id) => hash('sha256', before + id, 'hex'), '')) continue
    counts.reordered++
    counts.findings.push(`the state of ${tenant}, over ${n} messages, is not what its ${own.length} rows make`)
  }
  for (const tenant of left) {
    counts.lost++
    counts.findings.push(`${tenant} has rows and no state`)
  }
}

/** Poison that is done has one dead letter that counts; one from before a reset back may stand beside it. */
async function checkLetters(
  { sql, topic }: ToldScene,
  known: {
    readonly logs: readonly TopicLog[]
    readonly acts: readonly Act[]
    readonly progress: ReadonlyMap<string, ConsumedTopic>
  },
  counts: Counts,
): Promise<void> {
  const letters = await sql<{ topicId: string; partition: number; offset: number; counts: boolean; why: string }[]>`
    select topic_id::text as "topicId", partition, record_offset::float8 as offset, outbox_place = -1 as counts,
      reason || ': ' || error_class as why
    from sys.dead_letters where group_name = ${topic}`
  const placed = Map.groupBy(letters, ({ topicId, partition, offset }) => `${topicId}/${partition}/${offset}`)
  for (const { topicId, records } of known.logs) {
    const partitions = known.progress.get(topicId)?.partitions ?? []
    for (const { partition, offset, poison, n } of records) {
      if (!poison) continue
      const [at, own] = [`${topicId}/${partition}/${offset}`, partitions[partition]]
      const found = placed.get(at) ?? []
      placed.delete(at)
      const wanted = own !== undefined && isDone(own, offset) && !isSkipped(own, offset) ? 1 : 0
      const standing = found.filter((letter) => letter.counts).length
      const undone = known.acts.some(
        (act) => act.topicId === topicId && act.partition === partition && act.kind === 'rerun' && act.to <= offset,
      )
      if (standing < wanted) counts.lost++
      else if (standing > wanted) counts.duplicated += standing - wanted
      else if (undone || found.length === standing) continue
      else counts.invented++
      counts.findings.push(`${standing} dead letters of ${n}, which is poison, of ${found.length}; ${wanted} should be`)
    }
  }
  for (const [at, of] of placed) invent(counts, of.length, `a dead letter of what is no poison (${at}, ${of[0]?.why})`)
}

/** One in ten of the messages that ran is published, first copies in the order of the rows. */
function checkEvents(
  { events }: ToldScene,
  rows: ReadonlyMap<string, readonly string[]>,
  numbers: ReadonlyMap<string, number>,
  counts: Counts,
): void {
  const ranks = new Map<number, { readonly tenant: string; readonly rank: number }>()
  for (const [tenant, ids] of rows) {
    for (const [rank, id] of ids.entries()) {
      const n = numbers.get(`${tenant}/${id}`)
      if (n !== undefined && n % 10 === 0 && !ranks.has(n)) ranks.set(n, { tenant, rank })
    }
  }
  const last = new Map<string, number>()
  const wanted = new Set(ranks.keys())
  for (const n of events) {
    const at = ranks.get(n)
    wanted.delete(n)
    if (at === undefined) invent(counts, 1, `an event of ${n}, which has no row`)
    else if (at.rank < (last.get(at.tenant) ?? -1)) {
      counts.reordered++
      counts.findings.push(`the event of ${n} of ${at.tenant} was published after that of a later row`)
    } else last.set(at.tenant, at.rank)
  }
  if (wanted.size > 0) counts.findings.push(`${wanted.size} events were not published`)
  counts.lost += wanted.size
}

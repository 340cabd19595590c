import type postgres from 'postgres'
import { z } from 'zod'
import { Log, type LogRecord } from '../../cli/verify/log.ts'
import { poisonIn } from './plan.ts'

/** A record of the load, where Kafka had it. */
export type Logged = {
  readonly partition: number
  readonly offset: number
  readonly tenant: string
  /** Empty for poison. */
  readonly id: string
  /** Its number in the plan: of a copy, that of the original. */
  readonly n: number
  readonly poison: boolean
}

/** All that a topic of this id had, its partitions one after the other. */
export type TopicLog = { readonly topicId: string; readonly records: readonly Logged[] }

/** From an offset to before another. */
export type Range = readonly [from: number, to: number]

/** What an operator decided about one partition. */
export type Act = { readonly topicId: string; readonly partition: number } & (
  | {
      readonly kind: 'rerun'
      readonly to: number
      /** All below it was done, and nothing from `until` on. */
      readonly done: number
      readonly until: number
      /** Some of what was done was parked, and had not run: whose, nobody noted. */
      readonly parked: boolean
    }
  | { readonly kind: 'skip'; readonly passed: readonly Range[] }
)

/** The topic as Kafka has it now. */
export async function readTopic(kafka: string, topic: string): Promise<TopicLog> {
  const log = new Log({ bootstrap: kafka.split(','), clientId: 'chaos-history' }, 'chaos-history')
  try {
    const { id, ends } = (await log.describe(topic)) ?? { id: '', ends: [] }
    const records: Logged[] = []
    for (const [partition, end] of ends.entries())
      for await (const some of log.read(topic, partition, 0, end))
        for (const record of some) records.push(logged(partition, record))
    return { topicId: id, records }
  } finally {
    await log.close()
  }
}

const message = z.object({ message_id: z.string(), payload: z.object({ n: z.number() }) })

function logged(partition: number, { offset, key, value }: LogRecord): Logged {
  const at = { partition, offset, tenant: String(key) }
  const poison = poisonIn(String(value))
  if (poison !== undefined) return { ...at, id: '', n: poison, poison: true }
  const { message_id: id, payload } = message.parse(JSON.parse(String(value)))
  return { ...at, id, n: payload.n, poison: false }
}

/** What operators did to the group, in order, as PostgreSQL has it. */
export async function actsOf(sql: postgres.Sql, group: string): Promise<readonly Act[]> {
  const rows = await sql<(Extract<Act, { kind: 'rerun' }> & { passed: string | null })[]>`
    select topic_id::text as "topicId", partition, to_position::float8 as to, from_position::float8 as done,
      (facts ->> 'rerun_to')::float8 as until, (facts ->> 'dropped_parked')::integer > 0 as parked,
      case when facts ->> 'rerun_to' is null then facts ->> 'skipped' end as passed
    from sys.operator_actions
    where group_name = ${group} and facts ? 'rerun_to'
    order by id`
  return rows.map(({ topicId, partition, to, done, until, parked, passed }) =>
    passed === null
      ? { topicId, partition, kind: 'rerun', to, done, until, parked }
      : { topicId, partition, kind: 'skip', passed: rangesOf(passed) },
  )
}

function rangesOf(text: string): Range[] {
  return [...text.matchAll(/\[(\d+),(\d+)\)/g)].map(([, from, to]) => [Number(from), Number(to)])
}

/** Whether one of them has the offset. */
export function within(ranges: readonly Range[], offset: number): boolean {
  return ranges.some(([from, to]) => from <= offset && offset < to)
}

import { setTimeout as pause } from 'node:timers/promises'
import type { Admin } from '@platformatic/kafka'
import type postgres from 'postgres'
import { say } from '../../cli/output.ts'
import { positionsOf } from '../../tools/run/positions.ts'
import { endsOf } from '../backlog.ts'
import { type Content, Messages } from '../content.ts'
import { commitFault, faultKinds } from '../faults.ts'
import { committedBetween, lagOf, latenciesOf, latencySeriesOf } from '../latencies.ts'
import type { Crew } from '../crew.ts'
import type { Daemon } from '../daemon.ts'
import { measureDaemon, type Place } from '../measure-daemon.ts'
import type { Session } from '../measure.ts'
import { memoryOf } from '../meter.ts'
import { growthOf, lagSecondsOf, minuteOf, missedIn } from '../minutes.ts'
import { OpenLoop } from '../open-loop.ts'
import { withOwnTopic } from '../own-topic.ts'
import type { Minute, Run } from '../run.ts'
import { withAdmin } from '../servers.ts'
import { deadLettersOfOthers } from '../sick-tenant.ts'

export type StressOptions = {
  readonly mode: 'message-id' | 'offset'
  readonly ratePerSecond: number
  readonly durationSeconds: number
  /** 60, but for the quick form. */
  readonly minuteSeconds: number
  /** Before the first minute, at the same rate. */
  readonly warmUpSeconds: number
  /** Whether each third minute has one. */
  readonly faults: boolean
  readonly tenants: number
  readonly partitions: number
  readonly ids: 'v4' | 'v7'
}

/** Every so many minutes has a fault, at its beginning: the minutes in between must hold everything. */
const faultEvery = 3

/** So that an hour shows the bound of what is kept for days. */
const shortRetention = ['retention.offsetsLog=15m']

/** A steady rate over tenants by Zipf's law, judged each minute as it goes. */
export async function stress(place: Place, options: StressOptions): Promise<Run> {
  const { mode, ratePerSecond, durationSeconds, warmUpSeconds, faults, tenants, partitions, ids } = options
  const records = Math.round(ratePerSecond * (warmUpSeconds + durationSeconds))
  const content: Content = { kind: 'order', records, tenants, spread: 'zipf', ids, copyEvery: 0, day: place.day }
  const messages = new Messages(content)
  const scenario = faults ? 'stress, faults' : 'stress'
  const own = { ...place, settings: [...shortRetention, ...(place.settings ?? [])] }
  const task = { scenario, actor: faults ? 'isolation' : 'rows', mode, messages, partitions } as const
  return withOwnTopic(place.servers, { name: 'stress', day: place.day, partitions }, async ({ topic, publisher }) => {
    return withAdmin(place.servers, (admin) =>
      measureDaemon(own, task, topic, async (session) => {
        const { subject: crew, database, reach } = session
        await crew.first.ownsAll(partitions)
        const producer = await OpenLoop.start({ publisher, topic, messages, ratePerSecond, records })
        let added = 0
        const fault = async (minute: number): Promise<string | undefined> => {
          if (!faults || minute % faultEvery !== 2) return undefined
          const kind = faultKinds[Math.floor(minute / faultEvery) % faultKinds.length] ?? faultKinds[0]
          added += await commitFault(kind, minute, { crew, sql: database.sql, publisher, topic })
          return kind
        }
        const minutes = await watched(session, producer, { admin, topic, options, fault })
        await crew.while(producer.finished)
        await reach(records + added)
        const times = { startAt: producer.startAt, first: 0, ratePerSecond, flushMs: 0 }
        const growth = growthOf(minutes, options.minuteSeconds)
        const from = producer.startAt + warmUpSeconds * 1_000
        const misses = missedIn({ minutes, growth })
        for (const miss of misses) say(`  missed: ${miss}`)
        return {
          messages: Math.round(ratePerSecond * durationSeconds),
          records,
          window: { from, to: from + durationSeconds * 1_000 },
          offered_per_second: ratePerSecond,
          latency_ms: await latenciesOf(database.sql, times, Math.round(ratePerSecond * warmUpSeconds)),
          producer_ms: producer.figures(Math.round(ratePerSecond * warmUpSeconds)),
          series: await latencySeriesOf(database.sql, times),
          lag_series: await lagOf(database.sql, times, records),
          minutes,
          growth,
          objectives_held: misses.length === 0,
          ...(faults && { sick_messages: added, dead_letters: await deadLettersOfOthers(database.sql) }),
        }
      }),
    )
  })
}

type Watch = {
  readonly admin: Admin
  readonly topic: string
  readonly options: StressOptions
  /** Does what the minute has, if anything. */
  fault(minute: number): Promise<string | undefined>
}

async function watched(session: Session<Crew<Daemon>>, producer: OpenLoop, watch: Watch): Promise<readonly Minute[]> {
  const { subject: crew, database } = session
  const { admin, topic, options, fault } = watch
  const { ratePerSecond, durationSeconds, minuteSeconds, warmUpSeconds, partitions } = options
  const { sql } = database
  const times = { startAt: producer.startAt, first: 0, ratePerSecond, flushMs: 0 }
  const minutes: Minute[] = []
  const until = async (second: number) => {
    while (producer.second < second) await crew.while(pause(Math.min(200, (second - producer.second) * 1_000 + 1)))
  }
  await until(warmUpSeconds)
  let [block, next] = [0, await blocksOf(sql)]
  for (let minute = 1; minute * minuteSeconds <= durationSeconds; minute++) {
    const [start, end] = [warmUpSeconds + (minute - 1) * minuteSeconds, warmUpSeconds + minute * minuteSeconds]
    const done = await fault(minute)
    await until(end)
    const [from, to] = [producer.startAt + start * 1_000, producer.startAt + end * 1_000]
    const seen = minuteOf(minute, {
      committed: await committedBetween(sql, times, { from, to, block }),
      lag_seconds: lagSecondsOf(
        await endsOf(admin, topic, partitions),
        await positionsOf(sql, session.group),
        producer.second,
      ),
      rss_bytes: crew.running.reduce((sum, { pid }) => sum + memoryOf(pid), 0),
      table_bytes: await tableBytes(sql),
      ...(done !== undefined && { fault: done }),
    })
    minutes.push(seen)
    say(`  ${told(seen)}`)
    ;[block, next] = [next, await blocksOf(sql)]
  }
  return minutes
}

function told({ minute, messages, p50, p99, lag_seconds: lag, rss_bytes: rss, fault, held }: Minute): string {
  const what = fault === undefined ? '' : `, ${fault}`
  return `minute ${minute}: ${messages.toLocaleString('en')} messages, p50 ${p50} ms, p99 ${p99} ms, lag ${lag} s, ${Math.round(rss / 1e6)} MB${what}: ${held ? 'held' : 'missed'}`
}

/** Length of the table of rows, in blocks. */
async function blocksOf(sql: postgres.Sql): Promise<number> {
  const [row] = await sql<{ blocks: number }[]>`
    select (pg_relation_size('effects') / current_setting('block_size')::integer)::float8 as blocks`
  return row?.blocks ?? 0
}

/** With their indexes; partitions of one table together. */
async function tableBytes(sql: postgres.Sql): Promise<Readonly<Record<string, number>>> {
  const rows = await sql<{ name: string; bytes: number }[]>`
    select coalesce(root.relname, class.relname) as name, sum(pg_total_relation_size(class.oid))::float8 as bytes
    from pg_class as class
    join pg_namespace as namespace on namespace.oid = class.relnamespace
    left join pg_class as root on root.oid = pg_partition_root(class.oid)
    where class.relkind in ('r', 'p') and (namespace.nspname = 'sys' or class.oid = 'effects'::regclass)
    group by 1
    order by 1`
  return Object.fromEntries(rows.map(({ name, bytes }) => [name, bytes]))
}

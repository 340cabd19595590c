import { setTimeout as pause } from 'node:timers/promises'
import { say } from '../../cli/output.ts'
import { produce } from '../backlog.ts'
import { type Content, Messages } from '../content.ts'
import { lagOf, latencySeriesOf } from '../latencies.ts'
import { measureDaemon, type Place } from '../measure-daemon.ts'
import { round } from '../measure.ts'
import { OpenLoop } from '../open-loop.ts'
import { withOwnTopic } from '../own-topic.ts'
import type { Run } from '../run.ts'

export type LagOptions = {
  readonly mode: 'message-id' | 'offset'
  readonly ratePerSecond: number
  /** As much as came at the rate in this time is there before the daemon starts. */
  readonly backlogSeconds: number
  /** After this it is given up. */
  readonly limitSeconds: number
  readonly tenants: number
  readonly partitions: number
  readonly ids: 'v4' | 'v7'
}

const pollMs = 500
/** It goes on this long, so that the end of the backlog is not that of the load. */
const afterSeconds = 3
/** Less than this has not piled up: it is on its way. */
const drainedSeconds = 1

/** How long a backlog takes that piled up while nobody read, with as much a second still coming. */
export async function lag(place: Place, options: LagOptions): Promise<Run> {
  const { mode, ratePerSecond, backlogSeconds, limitSeconds, tenants, partitions, ids } = options
  const first = Math.round(ratePerSecond * backlogSeconds)
  const most = first + Math.round(ratePerSecond * limitSeconds)
  const content: Content = { kind: 'order', records: most, tenants, spread: 'even', ids, copyEvery: 0, day: place.day }
  const messages = new Messages(content)
  return withOwnTopic(place.servers, { name: 'lag', day: place.day, partitions }, async ({ topic, publisher }) => {
    say(`  producing a backlog of ${first.toLocaleString('en')} messages …`)
    await produce(publisher, topic, messages, { to: first })
    const task = { scenario: 'lag', actor: 'rows', mode, messages, partitions } as const
    return measureDaemon(place, task, topic, async ({ subject: crew, database, reach }) => {
      const producer = await OpenLoop.start({ publisher, topic, messages, ratePerSecond, first, records: most })
      await crew.ready(crew.first)
      let drainedAt: number | undefined
      for (let told = 0; producer.next < most; ) {
        const behind = producer.next - (await crew.while(crew.done())).records
        if (behind > ratePerSecond * drainedSeconds) drainedAt = undefined
        else drainedAt ??= producer.second
        if (drainedAt !== undefined && producer.second - drainedAt > afterSeconds) break
        if (producer.second - told >= 10) {
          told = producer.second
          say(`  second ${Math.round(told)}: ${behind.toLocaleString('en')} behind`)
        }
        await crew.while(pause(pollMs))
      }
      const records = await crew.while(producer.stop())
      await reach(records)
      const times = { startAt: producer.startAt, first, ratePerSecond, flushMs: 0 }
      const lagSeries = await lagOf(database.sql, times, records)
      const readySecond = ((crew.readyAt() ?? producer.startAt) - producer.startAt) / 1_000
      // Only while as much is still coming: what is worked off after the last message was helped by its end.
      const offered = (records - first) / ratePerSecond
      const drained = lagSeries.find(
        ([second, , age]) => second + 1 >= readySecond && second + 1 <= offered && age <= drainedSeconds,
      )
      const drainSeconds = drained === undefined ? null : round(drained[0] + 1 - readySecond, 1)
      const worked = drained === undefined ? 0 : first + (drained[0] + 1) * ratePerSecond - drained[1]
      const end = drained === undefined ? lagSeries.length : drained[0] + 1
      return {
        messages: records,
        records,
        window: { from: producer.startAt + readySecond * 1_000, to: producer.startAt + end * 1_000 },
        offered_per_second: ratePerSecond,
        backlog: {
          messages: first,
          drain_seconds: drainSeconds,
          drain_rate_per_second: drainSeconds === null ? null : Math.round(worked / Math.max(1, drainSeconds)),
        },
        producer_ms: producer.figures(first),
        series: await latencySeriesOf(database.sql, times),
        lag_series: lagSeries,
      }
    })
  })
}

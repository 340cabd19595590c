import { flushes, longestStandstill } from '../commits.ts'
import { type Content, Messages } from '../content.ts'
import { lagOf, latenciesOf, latencySeriesOf } from '../latencies.ts'
import { measureDaemon, type Place } from '../measure-daemon.ts'
import { round } from '../measure.ts'
import { missed } from '../objectives.ts'
import { OpenLoop } from '../open-loop.ts'
import { withOwnTopic } from '../own-topic.ts'
import type { Run } from '../run.ts'
import { deadLettersOfOthers, type Sickness, SickTenant } from '../sick-tenant.ts'

export type LatencyOptions = {
  readonly mode: 'message-id' | 'offset'
  readonly ratePerSecond: number
  /** Measured time, after `warmUpSeconds` at the same rate. */
  readonly seconds: number
  readonly warmUpSeconds: number
  readonly tenants: number
  readonly partitions: number
  readonly ids: 'v4' | 'v7'
  /** One more tenant, whose messages come beside the others' and are not counted. */
  readonly sick?: Sickness
}

/**
 * Messages at a rate that does not wait for anybody: each has a moment at which it should be sent, and its latency is
 * counted from there to its commit. So a stall counts for all that it delays, the producer's own stalls included.
 */
export async function latency(place: Place, options: LatencyOptions): Promise<Run> {
  const { mode, ratePerSecond, seconds, warmUpSeconds, tenants, partitions, ids, sick } = options
  const [warmUp, measured] = [Math.round(ratePerSecond * warmUpSeconds), Math.round(ratePerSecond * seconds)]
  const records = warmUp + measured
  const content: Content = { kind: 'order', records, tenants, spread: 'even', ids, copyEvery: 0, day: place.day }
  const messages = new Messages(content)
  return withOwnTopic(place.servers, { name: 'latency', day: place.day, partitions }, async ({ topic, publisher }) => {
    return measureDaemon(
      { ...place, settings: [...(place.settings ?? []), ...(sick?.settings ?? [])] },
      {
        scenario: sick?.name ?? 'latency',
        actor: sick?.actor ?? 'rows',
        mode,
        messages,
        partitions,
      },
      topic,
      async ({ subject: crew, database, reach }) => {
        await crew.first.ownsAll(partitions)
        const before = await flushes(database.sql)
        const producer = await OpenLoop.start({ publisher, topic, messages, ratePerSecond, records })
        const { startAt } = producer
        const sickness = sick === undefined ? undefined : new SickTenant(publisher, topic, sick)
        sickness?.start(warmUpSeconds * 1_000)
        await crew.while(producer.finished)
        const others = (await sickness?.stop()) ?? 0
        await reach(records + others)
        const after = await flushes(database.sql)
        const flushMs = after.count === before.count ? 0 : (after.ms - before.ms) / (after.count - before.count)
        const times = { startAt, first: 0, ratePerSecond, flushMs }
        const ms = await latenciesOf(database.sql, times, warmUp)
        const lag = await lagOf(database.sql, times, records)
        const lagSeconds = Math.max(0, ...lag.filter(([at]) => at >= warmUpSeconds).map(([, , age]) => age))
        return {
          messages: measured,
          records,
          window: { from: startAt + warmUpSeconds * 1_000, to: startAt + (warmUpSeconds + seconds) * 1_000 },
          offered_per_second: ratePerSecond,
          latency_ms: ms,
          lag_seconds: lagSeconds,
          objectives_held: missed({ ...ms, lag_seconds: lagSeconds }).length === 0,
          producer_ms: producer.figures(warmUp),
          flush_ms: round(flushMs, 3),
          series: await latencySeriesOf(database.sql, times),
          lag_series: lag,
          ...(sick !== undefined && {
            sick_messages: others,
            dead_letters: await deadLettersOfOthers(database.sql),
            longest_standstill_ms: await longestStandstill(database.sql, startAt + (records / ratePerSecond) * 1_000),
          }),
        }
      },
    )
  })
}

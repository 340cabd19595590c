import { setTimeout as pause } from 'node:timers/promises'
import { type Content, Messages } from '../content.ts'
import type { Crew } from '../crew.ts'
import type { Daemon } from '../daemon.ts'
import { lagOf, latenciesOf, latencySeriesOf } from '../latencies.ts'
import { measureDaemon, type Place } from '../measure-daemon.ts'
import { round } from '../measure.ts'
import { OpenLoop } from '../open-loop.ts'
import { withOwnTopic } from '../own-topic.ts'
import { boundsOf, recoveryOf } from '../recovery.ts'
import type { Recovery, Run } from '../run.ts'

/** `kill`: SIGKILL; `restart`: SIGTERM; a new process follows at once. `rebalance`: a second one joins, and leaves. */
export const recoveryKinds = ['kill', 'restart', 'rebalance'] as const

export type RecoveryKind = (typeof recoveryKinds)[number]

export type RecoveryOptions = {
  readonly kind: RecoveryKind
  readonly protocol: 'consumer' | 'classic'
  readonly mode: 'message-id' | 'offset'
  readonly ratePerSecond: number
  /** Before anything happens, after five seconds of warm-up. */
  readonly calmSeconds: number
  readonly tenants: number
  readonly partitions: number
  readonly ids: 'v4' | 'v7'
}

const warmUpSeconds = 5
/** Between the calm seconds and the first thing done: what was sent just before it waits for its end. */
const gapSeconds = 2
/** How long is watched after each thing that was done and after what piled up has gone. */
const afterSeconds = 6
const limitSeconds = 150
const pollMs = 200

type Step = {
  readonly kind: Recovery['kind']
  readonly at: number
  /** When the old process had ended, where one did. */
  readonly ended: number | undefined
  readonly over: number
}

/** What it costs to lose, to replace, to add and to remove a daemon under a steady rate. */
export async function recovery(place: Place, options: RecoveryOptions): Promise<Run> {
  const { kind, protocol, mode, ratePerSecond, calmSeconds, tenants, partitions, ids } = options
  const most = Math.round(ratePerSecond * (warmUpSeconds + calmSeconds + 2 * limitSeconds))
  const content: Content = { kind: 'order', records: most, tenants, spread: 'even', ids, copyEvery: 0, day: place.day }
  const messages = new Messages(content)
  return withOwnTopic(place.servers, { name: 'recovery', day: place.day, partitions }, async ({ topic, publisher }) => {
    return measureDaemon(
      { ...place, settings: [...(place.settings ?? []), `consumer.protocol=${protocol}`] },
      { scenario: `recovery, ${kind}, ${protocol}`, actor: 'rows', mode, messages, partitions },
      topic,
      async ({ subject: crew, database, reach }) => {
        await crew.first.ownsAll(partitions)
        const producer = await OpenLoop.start({ publisher, topic, messages, ratePerSecond, records: most })
        const calmEnd = warmUpSeconds + calmSeconds
        while (producer.second < calmEnd + gapSeconds) await crew.while(pause(pollMs))
        const steps: Step[] = []
        for (const [step, work] of stepsOf(kind, crew)) {
          const at = producer.second
          let ended: number | undefined
          await crew.while(work(() => (ended = producer.second)))
          steps.push({ kind: step, at, ended, over: producer.second })
          await settled(crew, producer, ratePerSecond)
        }
        const records = await crew.while(producer.stop())
        await reach(records)
        const { startAt } = producer
        const times = { startAt, first: 0, ratePerSecond, flushMs: 0 }
        const series = await latencySeriesOf(database.sql, times)
        const lagSeries = await lagOf(database.sql, times, records)
        // The last second is not whole.
        const seconds = { series: series.slice(0, -1), lag: lagSeries }
        const bounds = boundsOf(seconds, warmUpSeconds, calmEnd)
        return {
          messages: records,
          records,
          window: { from: startAt, to: startAt + (records / ratePerSecond) * 1_000 },
          offered_per_second: ratePerSecond,
          latency_ms: await latenciesOf(database.sql, times, Math.round(warmUpSeconds * ratePerSecond)),
          producer_ms: producer.figures(0),
          series,
          lag_series: lagSeries,
          recovery: steps.map(({ kind: step, at, ended, over }, n): Recovery => {
            const next = steps[n + 1]?.at ?? Number.POSITIVE_INFINITY
            const own = {
              series: seconds.series.filter(([second]) => second < Math.floor(next)),
              lag: seconds.lag,
            }
            const recovered = recoveryOf(own, bounds, at, over)
            const worst = (values: readonly (readonly [number, number, number])[]) =>
              Math.max(0, ...values.filter(([s]) => s >= Math.floor(at) && s < next).map(([, , value]) => value))
            return {
              kind: step,
              protocol,
              at_second: round(at, 1),
              ended_second: ended === undefined ? null : round(ended, 1),
              over_second: round(over, 1),
              recovered_seconds: recovered === undefined ? null : round(recovered, 1),
              calm_p99: round(bounds.p99, 2),
              calm_lag_seconds: round(bounds.lag_seconds, 3),
              worst_p99: worst(series),
              worst_lag_seconds: worst(lagSeries),
            }
          }),
        }
      },
    )
  })
}

/** Does it, and says when the old process has ended. */
type Work = (ended: () => void) => Promise<void>

/** What is done, one after the other. */
function stepsOf(kind: RecoveryKind, crew: Crew<Daemon>): readonly [Recovery['kind'], Work][] {
  const { first } = crew
  const joined = async () => {
    const member = await crew.join()
    await crew.ready(member)
  }
  switch (kind) {
    case 'kill':
      return [['kill', (ended) => crew.lose(first).then(ended).then(joined)]]
    case 'restart':
      return [['restart', (ended) => crew.leave(first).then(ended).then(joined)]]
    case 'rebalance':
      return [
        ['join', joined],
        ['leave', (ended) => crew.leave(crew.running.at(-1) ?? first).then(ended)],
      ]
  }
}

/** Until what piled up has gone, and the while after that shows it; or until it takes too long. */
async function settled(crew: Crew<Daemon>, producer: OpenLoop, ratePerSecond: number): Promise<void> {
  const began = producer.second
  for (let calm = began; producer.second - calm < afterSeconds && producer.second - began < limitSeconds; ) {
    const behind = producer.next - (await crew.while(crew.done())).records
    if (behind > ratePerSecond) calm = producer.second
    await crew.while(pause(pollMs))
  }
}

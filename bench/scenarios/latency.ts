import { setTimeout as pause } from 'node:timers/promises'
import { createTopic, deleteTopic, deliver, publisherTo } from '../backlog.ts'
import { flushes, longestStandstill } from '../commits.ts'
import { type Content, Messages } from '../content.ts'
import type { KafkaPublisher } from '../../core/kafka/producer.ts'
import { measureDaemon, type Place } from '../measure-daemon.ts'
import { round } from '../measure.ts'
import type { Latency, Run } from '../run.ts'
import { deadLettersOfOthers, type Sickness, SickTenant } from '../sick-tenant.ts'
import type postgres from 'postgres'

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
  const topic = await createTopic(
    place.servers,
    `latency-${place.day}-${process.pid}-${Date.now().toString(36)}`,
    partitions,
  )
  const publisher = publisherTo(place.servers)
  try {
    return await measureDaemon(
      { ...place, settings: [...(place.settings ?? []), ...(sick?.settings ?? [])] },
      {
        scenario: sick?.name ?? 'latency',
        actor: sick?.actor ?? 'rows',
        mode,
        messages,
        partitions,
      },
      topic,
      async ({ subject: daemon, database, reach }) => {
        while (daemon.readyAt() === undefined) await Promise.race([pause(20), daemon.ended])
        await pause(500) // all partitions owned
        const before = await flushes(database.sql)
        const producer = new Producer(publisher, topic, messages, ratePerSecond)
        const sickness = sick === undefined ? undefined : new SickTenant(publisher, topic, sick)
        sickness?.start(warmUpSeconds * 1_000)
        const startAt = await Promise.race([producer.run(records), daemon.ended])
        const others = (await sickness?.stop()) ?? 0
        await reach(records + others)
        const after = await flushes(database.sql)
        const flushMs = after.count === before.count ? 0 : (after.ms - before.ms) / (after.count - before.count)
        const times = { startAt, everyMs: 1_000 / ratePerSecond, warmUp, flushMs }
        return {
          messages: measured,
          records,
          window: { from: startAt + warmUpSeconds * 1_000, to: startAt + (warmUpSeconds + seconds) * 1_000 },
          offered_per_second: ratePerSecond,
          latency_ms: await latencies(database.sql, times),
          producer_ms: producer.figures(warmUp),
          flush_ms: round(flushMs, 3),
          series: await series(database.sql, times),
          ...(sick !== undefined && {
            sick_messages: others,
            dead_letters: await deadLettersOfOthers(database.sql),
            longest_standstill_ms: await longestStandstill(database.sql, startAt + records * times.everyMs),
          }),
        }
      },
    )
  } finally {
    await publisher.stop()
    await deleteTopic(place.servers, topic).catch(() => {})
  }
}

/** Sends message n at n / rate seconds. */
class Producer {
  readonly #publisher: KafkaPublisher
  readonly #topic: string
  readonly #messages: Messages
  readonly #everyMs: number
  readonly #late: Float64Array
  readonly #taken: Float64Array

  constructor(publisher: KafkaPublisher, topic: string, messages: Messages, ratePerSecond: number) {
    this.#publisher = publisher
    this.#topic = topic
    this.#messages = messages
    this.#everyMs = 1_000 / ratePerSecond
    this.#late = new Float64Array(messages.content.records)
    this.#taken = new Float64Array(messages.content.records)
  }

  /** Returns when message 0 should have been sent, in milliseconds since 1970, once all have arrived in Kafka. */
  async run(records: number): Promise<number> {
    const { wall, monotonic } = await aligned()
    const [startAt, start] = [wall + 100, monotonic + 100]
    const sends: Promise<void>[] = []
    for (let n = 0; n < records; ) {
      const now = performance.now()
      const due = Math.min(records, Math.floor((now - start) / this.#everyMs) + 1)
      if (due > n) {
        sends.push(this.#send(n, due, now - start))
        n = due
      }
      await pause(1)
    }
    await Promise.all(sends)
    return startAt
  }

  /** What the producer's part in the latency is, past the warm-up. */
  figures(warmUp: number) {
    const late = this.#late.slice(warmUp).sort()
    const taken = this.#taken.slice(warmUp).sort()
    const at = (sorted: Float64Array, share: number) => round(sorted[Math.floor((sorted.length - 1) * share)] ?? 0, 2)
    return { late_p99: at(late, 0.99), taken_p50: at(taken, 0.5), taken_p99: at(taken, 0.99) }
  }

  async #send(from: number, to: number, at: number): Promise<void> {
    const batch = []
    for (let n = from; n < to; n++) {
      this.#late[n] = at - n * this.#everyMs
      batch.push({ topic: this.#topic, ...this.#messages.message(n), headers: [] })
    }
    const sent = performance.now()
    await deliver(this.#publisher, batch)
    this.#taken.fill(performance.now() - sent, from, to)
  }
}

/** The same moment on both clocks: PostgreSQL's is the machine's, which tells milliseconds only at their beginning. */
async function aligned(): Promise<{ readonly wall: number; readonly monotonic: number }> {
  await pause(1)
  const before = Date.now()
  let wall = before
  while (wall === before) wall = Date.now()
  return { wall, monotonic: performance.now() }
}

type Times = {
  readonly startAt: number
  readonly everyMs: number
  readonly warmUp: number
  /** PostgreSQL notes a commit's time just before it flushes the log: what the flush takes is added. */
  readonly flushMs: number
}

async function latencies(sql: postgres.Sql, { startAt, everyMs, warmUp, flushMs }: Times): Promise<Latency> {
  const [row] = await sql<{ ms: number[] }[]>`
    select percentile_disc(array[0.5, 0.9, 0.99, 0.999, 0.9999, 1]) within group (order by ms) as ms
    from (
      select extract(epoch from pg_xact_commit_timestamp(xmin))::float8 * 1000 - (${startAt}::float8 + n * ${everyMs}::float8) as ms
      from effects
      where n >= ${warmUp}
    ) as timed`
  const [p50, p90, p99, p999, p9999, max] = (row?.ms ?? []).map((ms) => round(ms + flushMs, 2))
  const none = Number.NaN
  return {
    p50: p50 ?? none,
    p90: p90 ?? none,
    p99: p99 ?? none,
    p999: p999 ?? none,
    p9999: p9999 ?? none,
    max: max ?? none,
  }
}

/** Each second's p50 and p99, the warm-up's too. */
async function series(sql: postgres.Sql, { startAt, everyMs, flushMs }: Times) {
  const rows = await sql<{ second: number; ms: number[] }[]>`
    select second, percentile_disc(array[0.5, 0.99]) within group (order by ms) as ms
    from (
      select floor(n * ${everyMs}::float8 / 1000)::integer as second,
        extract(epoch from pg_xact_commit_timestamp(xmin))::float8 * 1000 - (${startAt}::float8 + n * ${everyMs}::float8) as ms
      from effects
    ) as timed
    group by second
    order by second`
  return rows.map(
    ({ second, ms: [p50 = 0, p99 = 0] }) => [second, round(p50 + flushMs, 2), round(p99 + flushMs, 2)] as const,
  )
}

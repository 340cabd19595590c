import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { checkout } from '../../cli/dev/programs.ts'
import { effectsPlace, orderPlace } from '../../cli/verify/places.ts'
import { verify } from '../../cli/verify/verify.ts'
import { TenantryError } from '../../core/errors.ts'
import { DaemonProcess } from '../../tools/run/daemon-process.ts'
import { positionsOf, sumOf } from '../../tools/run/positions.ts'
import { requireProgram, type Runtime } from '../../tools/run/runtime.ts'
import { compare, type Comparison } from './compare.ts'
import { Display, number } from './display.ts'
import { Feed } from './feed.ts'
import { readFlights } from './flights.ts'
import { FlightMessages } from './messages.ts'
import { type CameAgain, deliveredOf, whatCameAgain } from './came-again.ts'
import { setStage, type Stage } from './stage.ts'

export type PlayOptions = {
  readonly flights: number
  readonly runtime: Runtime
  readonly driver: 'auto' | 'confluent' | 'platformatic'
  readonly brokers: 1 | 3
  readonly folder: string
}

export type Result = {
  /** Different flights sent, and processed; copies that their producer sent on purpose. */
  readonly messages: number
  readonly processed: number
  readonly duplicates: number
  readonly lost: number
  readonly duplicated: number
  readonly reordered: number
  readonly altered: number
  /** Flights of the backlog, over the time in which a daemon was up and had work. */
  readonly rate_per_second: number
  /** From sending to commit, of the flights that were sent at a steady rate. */
  readonly latency_ms: { readonly p50: number; readonly p99: number }
  readonly steady_per_second: number
  readonly came_again: CameAgain
  readonly compared: Comparison
  /** What tenantry's own checker found, both groups together. */
  readonly verify: { lost: number; duplicated: number; reordered: number; invented: number; checked: number }
  readonly runtime: string
  readonly driver: string
  readonly durability: Readonly<Record<string, string>>
  readonly first_message_seconds: number
  readonly seconds: number
  readonly right: boolean
}

const steadyPerSecond = 5_000
const mostSteady = 30_000
/** The daemon is killed when so much of the backlog is done. */
const killAt = 0.4
const patienceMs = 120_000

/** The whole demo. Throws when something prevents it; what is wrong with its result is in the result. */
export async function play(options: PlayOptions): Promise<Result> {
  const started = performance.now()
  const { flights: count, runtime, driver } = options
  const flightsRead = readFlights(count)
  flightsRead.catch(() => {}) // awaited below
  const stage = await setStage(options)
  let daemon: DaemonProcess | undefined
  const onSignal = () => {
    void daemon?.kill().then(() => stage.services.stop().then(() => process.exit(130)))
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, onSignal)
  try {
    const messages = new FlightMessages(await flightsRead, startOfToday())
    const steady = Math.min(mostSteady, Math.round(count / 4))
    const backlog = count - steady
    const display = new Display(count)
    const settings = Object.entries(stage.durability).map(([name, value]) => `${name} ${value}`)
    display.say(`Kafka and PostgreSQL are up (${settings.join(', ')}); topics and tables are empty.`)

    const start = () =>
      new DaemonProcess({
        program: requireProgram(runtime),
        args: ['--config', stage.configFile, 'start'],
        cwd: checkout,
        logFile: join(stage.folder, 'daemon.log'),
      })
    daemon = start()
    const feed = new Feed(stage.kafka, messages)
    const fed = feed.backlog(0, backlog)
    fed.catch(() => {}) // awaited below
    const watch = new Watch(stage, display)

    await watch.until(daemon, () => watch.done > 0)
    const firstMessage = (performance.now() - started) / 1000
    display.say(`The first flights are committed, ${firstMessage.toFixed(1)} s after the start.`)
    await watch.until(daemon, () => watch.done >= backlog * killAt && watch.behind > 0, 20)
    const metrics = await daemon.metrics()
    await daemon.kill()
    watch.pause()
    display.say(`SIGKILL to the daemon (pid ${daemon.pid}), in the middle of its work.`)
    const again = await whatCameAgain(stage.sql, stage.kafka, deliveredOf(metrics))
    display.say(
      `${number(again.records)} records come again: ${number(again.recognised)} are done and recognised, ${number(again.run_again)} were in flight.`,
    )
    daemon = start()
    display.say(`A new daemon (pid ${daemon.pid}) takes over when Kafka has noticed that the old one is gone.`)
    const second = daemon
    await watch.until(second, () => second.events('daemon.started').length > 0)
    await Promise.race([fed, second.failed])
    const total = backlog + feed.copies
    await watch.until(daemon, () => watch.done >= total, 20)
    const rate = backlog / watch.busySeconds
    display.say(`The backlog is done: ${number(rate)} flights a second.`)
    await eventsDone(stage, daemon, watch)

    display.say(`Now ${number(steady)} flights at ${number(steadyPerSecond)} a second.`)
    const due = feed.steady(backlog, count, steadyPerSecond)
    due.catch(() => {}) // awaited below
    await Promise.race([due, daemon.failed])
    await watch.until(daemon, () => watch.done >= total + steady)
    await eventsDone(stage, daemon, watch)
    const copies = feed.copies
    await feed.stop()
    await daemon.drain()
    display.say('The daemon was told to stop, has drained, and has ended with 0. Now everything is compared.')

    const compared = await compare(stage.sql, stage.kafka, messages)
    const checked = await verifyBoth(stage)
    const latency = await latencyOf(stage, backlog, await due)
    display.end()
    const { lost, duplicated, reordered, altered } = compared
    const wrong =
      lost + duplicated + reordered + altered + checked.lost + checked.duplicated + checked.reordered + checked.invented
    return {
      messages: count,
      processed: checked.processed,
      duplicates: checked.duplicates,
      lost,
      duplicated,
      reordered,
      altered,
      rate_per_second: Math.round(rate),
      latency_ms: latency,
      steady_per_second: steadyPerSecond,
      came_again: again,
      compared,
      verify: checked,
      runtime,
      driver,
      durability: stage.durability,
      first_message_seconds: Math.round(firstMessage * 10) / 10,
      seconds: Math.round((performance.now() - started) / 100) / 10,
      right:
        wrong === 0 &&
        checked.ok &&
        again.recognised > 0 &&
        checked.duplicates === copies &&
        checked.processed === count,
    }
  } finally {
    await daemon?.kill()
    await stage.leave()
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, onSignal)
  }
}

/** Looks how far the daemon is, and measures the time in which it was at work. */
class Watch {
  done = 0
  /** Records done whose offsets Kafka does not have yet. */
  behind = 0
  busySeconds = 0
  readonly #stage: Stage
  readonly #display: Display
  #since: number | undefined
  #metrics: ReadonlyMap<string, number> = new Map()
  #measured = Number.NEGATIVE_INFINITY

  constructor(stage: Stage, display: Display) {
    this.#stage = stage
    this.#display = display
  }

  /** Resolves when `reached`; rejects when the daemon ends, or when nothing moves for two minutes. */
  async until(daemon: DaemonProcess, reached: () => boolean, everyMs = 100): Promise<void> {
    let moved = performance.now()
    for (;;) {
      const before = this.done
      await Promise.race([this.#look(daemon), daemon.failed])
      if (this.done > before) moved = performance.now()
      if (reached()) return
      if (performance.now() - moved > patienceMs) throw stuck(daemon)
      await pause(everyMs)
    }
  }

  /** There is no daemon now. */
  pause(): void {
    this.#since = undefined
  }

  async #look(daemon: DaemonProcess): Promise<void> {
    const positions = await positionsOf(this.#stage.sql, 'actuator')
    const now = performance.now()
    const done = sumOf(positions, 'done')
    // Work begins with the first commit that is seen: a start's seconds, and those in which Kafka waits, are no work.
    if (done > this.done) {
      if (this.#since !== undefined) this.busySeconds += (now - this.#since) / 1000
      this.#since = now
    }
    this.done = done
    this.behind = sumOf(positions, 'watermark') - sumOf(positions, 'kafkaOffset')
    if (now - this.#measured > 500) {
      this.#measured = now
      this.#metrics = await daemon.metrics()
    }
    let lag = 0
    for (const [name, value] of this.#metrics) if (name.startsWith('tenantry_consumer_lag_records')) lag += value
    this.#display.show(done, lag, this.#metrics)
  }
}

function stuck(daemon: DaemonProcess): TenantryError {
  return new TenantryError(
    'TENANTRY_DEMO_STUCK',
    `Nothing was committed for ${patienceMs / 1000} s. What the daemon says is in ${daemon.logFile}.`,
  )
}

/** The second group has all events, those of the outbox included. */
async function eventsDone({ sql }: Stage, daemon: DaemonProcess, watch: Watch): Promise<void> {
  let open = true
  await watch.until(daemon, () => {
    void Promise.all([
      sql<
        { events: number }[]
      >`select (select sum((state ->> 'late')::int) from sys.actor_state where actor = 'airport')::int as events`,
      sql<{ seen: number }[]>`select coalesce(sum(flights), 0)::int as seen from delays`,
    ]).then(([[wanted], [found]]) => {
      open = (wanted?.events ?? 0) > (found?.seen ?? 0)
    })
    return !open
  })
}

async function verifyBoth({ kafka, databaseUrl }: Stage) {
  const at = { kafka: { bootstrap: kafka, clientId: 'flights-demo' }, postgres: databaseUrl }
  const chains = [{ in: 'state', path: ['chain'] }] as const
  const [effects, orders] = [[effectsPlace('flights:message_id')], [orderPlace('flights:message_id:number')]]
  const commands = await verify({ ...at, group: 'actuator', effects, orders, chains })
  const events = await verify({ ...at, group: 'analyst', chains })
  const both = [commands, events]
  const sum = (of: (report: typeof commands) => number) => both.reduce((total, report) => total + of(report), 0)
  return {
    lost: sum(({ lost }) => lost),
    duplicated: sum(({ duplicated }) => duplicated),
    reordered: sum(({ reordered }) => reordered),
    invented: sum(({ invented }) => invented),
    checked: sum(({ proofs }) => proofs.lost.checked + proofs.duplicated.checked + proofs.reordered.checked),
    ok: both.every((report) => report.ok && Object.values(report.proofs).every(({ proven }) => proven)),
    processed: commands.processed,
    duplicates: commands.duplicates,
  }
}

/** From when each flight should have been sent to the time that PostgreSQL gave its commit. */
async function latencyOf({ sql }: Stage, from: number, due: Float64Array): Promise<{ p50: number; p99: number }> {
  const rows = await sql<{ flight: number; at: number }[]>`
    select flight, extract(epoch from pg_xact_commit_timestamp(xmin))::float8 * 1000 as at from flights where flight >= ${from}`
  const latencies = rows.map(({ flight, at }) => at - (due[flight - from] ?? at)).sort((one, other) => one - other)
  const quantile = (share: number) =>
    Math.round((latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))] ?? 0) * 10) / 10
  return { p50: quantile(0.5), p99: quantile(0.99) }
}

function startOfToday(): number {
  return Math.floor(Date.now() / 86_400_000) * 86_400_000
}

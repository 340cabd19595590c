import { steadyTime } from '../../core/clock.ts'
import type { Facts } from '../../core/errors.ts'
import type { Log } from '../../core/log.ts'
import type { LogRange, TopicPartition } from '../../core/kafka/source.ts'
import { silentMetrics } from '../../core/metrics.ts'
import type { PartitionRef } from '../../core/postgres/transactions.ts'
import { Engine } from '../../supervisors/engine.ts'
import type { ActorRole } from '../../supervisors/group.ts'
import { mostAtWorker } from '../../supervisors/worker-credit.ts'
import type { EngineStatus } from '../../supervisors/status.ts'
import type { Chaos } from './chaos.ts'
import { type EventLoop, Process, VirtualClock } from './event-loop.ts'
import type { KafkaCluster } from './kafka-cluster.ts'
import { type KafkaGroup, keyOf } from './kafka-group.ts'
import { retry, writtenBytes } from './handler.ts'
import { isKnown } from './operator.ts'
import { PostgresClient } from './postgres-client.ts'
import type { PostgresServer } from './postgres-server.ts'
import { placeOf, ProbeWatch } from './probe-watch.ts'
import { type Options, releaseTimeoutMs } from './schedule.ts'
import type { SeededRandom } from './seeded-random.ts'
import { SimulatedLane } from './simulated-lane.ts'
import { SimulatedLedger } from './simulated-ledger.ts'
import { SimulatedOwners } from './simulated-owners.ts'
import { SimulatedPublisher } from './simulated-publisher.ts'
import { SimulatedTables } from './simulated-tables.ts'
import { SimulatedSource } from './simulated-source.ts'
import { type SimulatedActor, SimulatedWorkers } from './simulated-workers.ts'
import type { Violate } from './violation.ts'
import type { OutboxRow } from '../../core/postgres/ownership.ts'

export type DaemonOptions = {
  readonly name: string
  readonly loop: EventLoop
  readonly random: SeededRandom
  readonly chaos: Chaos
  readonly cluster: KafkaCluster
  readonly groups: readonly KafkaGroup[]
  readonly server: PostgresServer
  /** Whether the dependency serves a tenant now. */
  readonly serves: (tenant: string) => boolean
  readonly options: Options
  readonly violate: Violate
  readonly trace: (who: string, what: string) => void
  readonly delivered: (row: OutboxRow) => void
  /** How many threads a message has killed, by its id. */
  readonly killed: Map<string, number>
  /** Messages that are poison no more. */
  readonly mended: ReadonlySet<string>
  /** A record has ended the process. */
  readonly died: () => void
  readonly outOfRange: (group: string, at: TopicPartition, range: LogRange) => void
}

const drainDeadlineMs = 3_000
const day = 86_400_000

/** A record in memory, at most: its key, its value and 200 bytes around them. */
const largestRecord = 400

/** One daemon: the very engine of the real one, its ports joined to the models. */
export class SimulatedDaemon {
  readonly process: Process
  readonly engine: Engine
  readonly workers: SimulatedWorkers
  readonly client: PostgresClient
  /** To Kafka. */
  readonly network = { cutUntil: 0 }
  readonly sources = new Map<string, SimulatedSource>()
  draining = false
  readonly #options: DaemonOptions
  /** When this daemon was told of an assignment, met a fence, and last proved that it is a member. */
  readonly #assignedAt = new Map<string, number>()
  readonly #fencedAt = new Map<string, number>()
  #provedAt = -1
  #wasFrozen = false

  constructor(options: DaemonOptions) {
    const { name, loop, random, chaos, server, options: sizes } = options
    this.#options = options
    const process = new Process(name)
    this.process = process
    this.client = new PostgresClient(server, process)
    const clock = new VirtualClock(loop, process, random.between(-10 * day, 10 * day))
    const serverTime = steadyTime(clock, new VirtualClock(loop, process, 0).now())
    const tables = new SimulatedTables(this.client, clock, chaos)
    const breach = (what: string) => options.violate('a port used against its contract', `${name}: ${what}`)
    const { groups, topics } = actorsOf(sizes)
    const actors = groups.flatMap((group) => group.actors)
    const watch = new ProbeWatch(
      (what) => options.violate('a breaker let too many go', `${name}: ${what}`),
      (what) => chaos.mark(what),
    )
    for (const group of options.groups) this.sources.set(group.name, this.#source(group, breach))
    this.workers = new SimulatedWorkers({
      count: sizes.workers,
      loop,
      process,
      random: random.fork('workers'),
      chaos,
      actors,
      known: (key, since) => isKnown(server.tables.keys.get(key), since),
      serves: options.serves,
      knowsTables: () => tables.known,
      watch,
      die: () => {
        this.kill()
        options.died()
      },
      killed: options.killed,
      mended: options.mended,
      breach,
    })
    this.engine = new Engine({
      clock,
      random: random.fork('engine'),
      log: this.#log(watch, actors),
      metrics: silentMetrics,
      groups: groups.flatMap(({ name: group, actors }, g) => {
        const source = this.sources.get(group)
        const roles = actors.map(
          (actor, t): ActorRole => ({
            index: g * topics.length + t,
            name: actor.name,
            topic: topics[t] ?? '',
            stateful: actor.stateful,
            serial: actor.serial,
            dependencies: actor.looksUp ? ['api'] : [],
            retry,
          }),
        )
        return source
          ? [
              {
                name: group,
                source,
                actors: roles,
                start: sizes.start,
                onForeignOffset: sizes.onForeignOffset,
                onOutOfRange: sizes.onOutOfRange,
                tenantHeader: null,
              },
            ]
          : []
      }),
      workers: this.workers,
      lanes: Array.from(
        { length: sizes.lanes },
        () => new SimulatedLane({ client: this.client, breach, fenced: (refs, sentAt) => this.#fenced(refs, sentAt) }),
      ),
      ledger: new SimulatedLedger({
        client: this.client,
        frozenAfterMs: 1_500,
        owners: new SimulatedOwners(loop, chaos),
        raising: (ref) => this.#raising(ref),
      }),
      publisher: new SimulatedPublisher({
        loop,
        process,
        cluster: options.cluster,
        network: this.network,
        random: random.fork('publisher'),
        chaos,
        delivered: options.delivered,
      }),
      settings: sizes.settings,
      tables,
      serverTime,
      failed: (error) => options.violate('the engine gave up', `${name}: ${error.message}`),
    })
  }

  start(): void {
    this.workers.start(this.engine.workersListener)
    this.engine.start()
    for (const [group, source] of this.sources) void source.start(this.engine.listener(group))
  }

  /** As on SIGTERM; resolves when the process has ended. */
  async drain(): Promise<void> {
    this.draining = true
    this.#options.chaos.at('drain', this.process)
    const started = this.#options.loop.now
    await this.engine.drain(drainDeadlineMs)
    const late = this.#options.loop.now - started
    if (!this.#wasFrozen && late > drainDeadlineMs + 1_500)
      this.#options.violate('G8 a drain outlived its deadline', `${this.process.name}: ${late} ms`)
    await Promise.all([...this.sources.values()].map((source) => source.stop()))
    this.engine.stop()
    this.kill()
  }

  freeze(): void {
    this.#wasFrozen = true
    this.#options.loop.freeze(this.process)
  }

  kill(): void {
    const { loop, server } = this.#options
    loop.kill(this.process)
    for (const backend of [...server.backends])
      if (backend.client === this.process) backend.cut(server.random.below(12))
  }

  /** Memory stays within the budget, but for one poll of each partition (G7). */
  check(): EngineStatus {
    const { options, violate } = this.#options
    const status = this.engine.status()
    const poll = status.partitions.length * options.maxBatch * largestRecord
    // What is at workers may all be decided when half of the budget is to be written already.
    const atWorkers = (options.workers * mostAtWorker(options.settings.workerCreditRecords) + 1) * writtenBytes
    if (status.bytesToWrite > options.settings.budgetBytes / 2 + atWorkers)
      violate('G7 over the budget', `${this.process.name}: ${status.bytesToWrite} bytes to be written`)
    if (status.bytes - status.bytesToWrite > options.settings.budgetBytes + poll)
      violate('G7 over the budget', `${this.process.name}: ${status.bytes} bytes of ${options.settings.budgetBytes}`)
    if (status.bytes < 0 || status.bytesToWrite < 0 || status.inFlight < 0 || status.queued < 0)
      violate('G7 a count below zero', JSON.stringify([status.bytes, status.inFlight, status.queued]))
    return status
  }

  #source(group: KafkaGroup, breach: (what: string) => void): SimulatedSource {
    const { loop, chaos, cluster, random, options, outOfRange } = this.#options
    return new SimulatedSource({
      loop,
      process: this.process,
      cluster,
      group,
      random: random.fork(group.name),
      chaos,
      releaseTimeoutMs,
      maxBatch: options.maxBatch,
      network: this.network,
      breach,
      assigned: (at) => this.#assignedAt.set(`${group.name}/${keyOf(at)}`, loop.now),
      proved: () => {
        this.#provedAt = loop.now
      },
      outOfRange: (at, range) => outOfRange(group.name, at, range),
    })
  }

  /** A commit that was sent before the present assignment says nothing about it. */
  #fenced(refs: readonly PartitionRef[], sentAt: number): void {
    for (const ref of refs) {
      const key = `${ref.group}/${keyOf(ref)}`
      if (sentAt >= (this.#assignedAt.get(key) ?? -1)) this.#fencedAt.set(key, this.#options.loop.now)
    }
  }

  /** A raise that is late, or follows a fence, proves membership first; one whose assignment has gone is not sent. */
  #raising(ref: PartitionRef): void {
    const { loop, violate, options } = this.#options
    const key = `${ref.group}/${keyOf(ref)}`
    const assignedAt = this.#assignedAt.get(key) ?? -1
    const fencedAt = this.#fencedAt.get(key) ?? -1
    const who = `${this.process.name}: ${key}`
    if (!this.sources.get(ref.group)?.holds(ref)) violate('a raise without an assignment', who)
    if (fencedAt > assignedAt && this.#provedAt < fencedAt)
      violate('a raise after a fence without proof of membership', who)
    const promptUntil = assignedAt + options.settings.promptRaiseMs
    if (loop.now > promptUntil && this.#provedAt < promptUntil) violate('a late raise without proof of membership', who)
  }

  #log(watch: ProbeWatch, actors: readonly SimulatedActor[]): Log {
    const { trace } = this.#options
    const line = (level: string) => (event: string, fields: Facts) => {
      trace(this.process.name, `${level} ${event} ${JSON.stringify(fields)}`)
      const { group, actor, topic, tenant, partition } = fields
      const own = actors.findIndex((one) => one.group === group && (one.name === actor || one.topic === topic))
      if (event === 'breaker.opened' || event === 'breaker.closed') {
        const place = tenant === '' ? null : placeOf(own, Number(partition), String(tenant))
        watch.breaker(own, place, event === 'breaker.opened')
      } else if (event === 'partition.owned') {
        watch.owned(`${own}/${String(partition)}`)
      }
    }
    return { debug() {}, info: line('info'), warn: line('warn'), error: line('error') }
  }
}

/** Every group has an actor for every topic. */
export function actorsOf(options: Options): { topics: string[]; groups: { name: string; actors: SimulatedActor[] }[] } {
  const topics = Array.from({ length: options.topics }, (_, t) => `topic${t}`)
  const { stateful, serial, offsetMode, looksUp } = options
  const groups = Array.from({ length: options.groups }, (_, g) => ({
    name: `group${g}`,
    actors: topics.map(
      (topic): SimulatedActor => ({
        group: `group${g}`,
        topic,
        name: `actor${g}-${topic}`,
        stateful,
        serial,
        offsetMode,
        looksUp,
      }),
    ),
  }))
  return { topics, groups }
}

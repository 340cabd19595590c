import { checkTables } from '../actors/topology.ts'
import type { Clock } from '../core/clock.ts'
import { keyRetentionWarnings } from '../core/config/checks.ts'
import { connectionOf } from '../core/config/kafka-connection.ts'
import type { Config } from '../core/config/schema.ts'
import { messageOf, type TenantryError } from '../core/errors.ts'
import { createSource } from '../core/kafka/drivers.ts'
import { KafkaPublisher } from '../core/kafka/producer.ts'
import { requireConsumerProtocol } from '../core/kafka/required-protocol.ts'
import { requireTopic } from '../core/kafka/required-topic.ts'
import type { Source } from '../core/kafka/source.ts'
import type { Lifecycle } from '../core/lifecycle.ts'
import type { Log } from '../core/log.ts'
import { type EngineReading, noneWait } from '../core/metrics.ts'
import { PrometheusMetrics } from '../core/prometheus.ts'
import type { Random } from '../core/random.ts'
import type { StuckQuery, StuckReport } from '../core/stuck-report.ts'
import { loadActors } from './actor-loading.ts'
import { Database } from './database.ts'
import { Engine, type EngineSettings } from './engine.ts'
import type { GroupOptions } from './group.ts'
import { type GroupSettings, groupsOf } from './groups.ts'
import { HttpServer } from './http.ts'
import { dumpThreads } from './thread-dump.ts'
import { stuckOf } from './stuck.ts'
import { Waiting } from './waiting.ts'
import { WorkerPool } from './worker-pool.ts'

export type DaemonOptions = {
  readonly config: Config
  /** The environment of the threads that run actors. */
  readonly actorsEnvironment: Readonly<Record<string, string>>
  readonly clock: Clock
  readonly random: Random
  /** Of tenantry, for the metrics. */
  readonly version: string
  readonly log: Log
  /** Called once when the daemon cannot go on; the caller stops it and exits. */
  readonly failed: (error: TenantryError) => void
}

/** Joins the parts to a process: configuration in, threads, connections and the engine out. No decisions here. */
export class Daemon implements Lifecycle {
  readonly #options: DaemonOptions
  readonly #waiting: Waiting
  readonly #metrics: PrometheusMetrics
  readonly #http: HttpServer | undefined
  #parts: Parts | undefined
  /** The thread that loads the actors to know them has not ended. */
  #loading = false
  #started = false
  #stopping: Promise<void> | undefined
  #dumping = false
  /** Records in flight that the drain did not wait for. */
  abandoned = 0

  constructor(options: DaemonOptions) {
    const { config, clock, log } = options
    this.#options = options
    this.#waiting = new Waiting(clock, log)
    this.#metrics = new PrometheusMetrics({ clock, version: options.version })
    this.#metrics.observe(() => this.#reading())
    this.#http = config.http.enabled
      ? new HttpServer({
          host: config.http.host,
          port: config.http.port,
          allowedHosts: config.http.allowedHosts,
          log,
          ready: () => ({ ready: this.reasons.length === 0, reasons: this.reasons }),
          live: () => true,
          metrics: () => this.#metrics.text(),
          stuck: (query) => this.#stuck(query),
        })
      : undefined
  }

  /** Threads that do not end although they were told to: the process cannot end by itself before they do. */
  get lingering(): number {
    const { pool, sources = [] } = this.#parts ?? {}
    return sources.reduce((sum, source) => sum + source.lingering, (pool?.lingering ?? 0) + Number(this.#loading))
  }

  /** Why the daemon is not ready; empty when it is. */
  get reasons(): readonly string[] {
    if (this.#stopping) return ['stopping']
    if (this.#parts === undefined) return ['starting', ...this.#waiting.reasons]
    const { reasons } = this.#parts.engine
    // Members of no group have no partition that could say so.
    return this.#started ? reasons : ['starting', ...reasons]
  }

  /**
   * Resolves when the groups are joined. Waits, not ready, while Kafka, PostgreSQL, a topic or a right is missing;
   * rejects on what waiting does not mend (configuration, actors, a schema that is too old, a port that is taken).
   */
  async start(): Promise<void> {
    const { config, actorsEnvironment, clock, log } = this.#options
    await this.#metrics.start()
    await this.#http?.start()
    this.#loading = true
    const topology = await loadActors(config.actors.folder, {
      clock,
      environment: actorsEnvironment,
      ended: () => (this.#loading = false),
      slow: (file) => log.warn('actors.slow', { file }, 'An actor takes long to load; the start waits for it.'),
    })
    const groups = groupsOf(config, topology)
    const consumed = [...groups.values()].flatMap(({ roles }) => roles.map(({ topic }) => topic))
    for (const warning of keyRetentionWarnings(config, consumed)) log.warn('config.warning', {}, `${warning}.`)
    const database = new Database(this.#options)
    await this.#waiting.until('postgres', Database.finalCodes, () => database.open())
    checkTables(topology, database.catalog)
    await this.#waitForTopics(new Set(consumed))
    if ([...groups.values()].some((group) => this.#protocolOf(group) === 'consumer')) {
      const final = new Set(['TENANTRY_KAFKA_PROTOCOL'])
      await this.#waiting.until('kafka.protocol', final, () => requireConsumerProtocol(connectionOf(config), clock))
    }
    const pool = new WorkerPool({
      count: config.workers.count,
      actors: config.actors.folder,
      catalog: database.catalog,
      limits: config.limits,
      clock,
      log,
      settings: config.workers,
      failed: this.#options.failed,
      databaseUrl: config.postgres.url,
      environment: this.#options.actorsEnvironment,
      ...(process.versions['bun'] === undefined && { maxHeapMiB: Math.ceil(config.workers.maxHeapBytes / 2 ** 20) }),
    })
    const publisher = new KafkaPublisher({
      ...connectionOf(config),
      clock,
      log,
      compression: config.producer.compression,
      deliveryTimeoutMs: config.producer.deliveryTimeoutMs,
    })
    const sources = new Map<string, Source>()
    for (const [name, group] of groups) sources.set(name, await this.#source(name, group))
    const engine = this.#engine(groups, sources, pool, database, publisher)
    this.#parts = { engine, pool, sources: [...sources.values()], publisher, database }
    await pool.start(engine.workersListener)
    engine.start()
    await Promise.all([...sources].map(([name, source]) => source.start(engine.listener(name))))
    log.info(
      'daemon.started',
      { groups: [...groups.keys()], actors: topology.actors.length, workers: pool.count },
      'The daemon has joined its groups.',
    )
    this.#started = true
  }

  /** Writes into the log what each thread does. While that is under way, another call does nothing. */
  async dumpThreads(): Promise<void> {
    if (this.#dumping || this.#parts === undefined) return
    this.#dumping = true
    const { clock, log } = this.#options
    const { engine, pool } = this.#parts
    try {
      await dumpThreads({ clock, log, threads: pool.threads, loads: engine.loads(), lingering: pool.lingering })
    } catch (error) {
      log.warn('threads.failed', { reason: messageOf(error) }, 'It could not be said what the threads do.')
    }
    this.#dumping = false
  }

  /** Drains within the configured deadline, commits, leaves the groups, ends the threads. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop()
    return this.#stopping
  }

  async #stop(): Promise<void> {
    this.#waiting.cancel()
    const parts = this.#parts
    if (parts) {
      const { log, config } = this.#options
      log.info(
        'daemon.draining',
        { deadlineMs: config.workers.drainDeadlineMs },
        'Draining: no more records are taken.',
      )
      const { abandoned } = await parts.engine.drain(config.workers.drainDeadlineMs)
      this.abandoned = abandoned
      await Promise.all(parts.sources.map((source) => source.stop()))
      parts.engine.stop()
      await Promise.all([parts.pool.stop(), parts.publisher.stop()])
      await parts.database.close()
      log.info('daemon.stopped', { abandoned }, 'The daemon has left its groups.')
    }
    await this.#http?.stop()
    await this.#metrics.stop()
  }

  /**
   * A group whose topic is missing joins all the same, is assigned nothing, and would call itself ready. Dead letters that
   * find theirs missing later wait in the outbox; a name that was never right is better said at once.
   */
  async #waitForTopics(consumed: ReadonlySet<string>): Promise<void> {
    const { config, clock } = this.#options
    const wait = (what: string, topic: string, otherwise: string) =>
      this.#waiting.until(what, new Set(), () => requireTopic(connectionOf(config), clock, topic, otherwise))
    const create = 'create it, or run "tenantry topics apply".'
    const waits = [...consumed].map((topic) => wait(`kafka.topic ${topic}`, topic, create))
    const { topic } = config.deadLetters
    if (topic !== null)
      waits.push(wait('kafka.dead_letters', topic, 'create it, run "tenantry topics apply", or set deadLetters.topic.'))
    await Promise.all(waits)
  }

  #protocolOf({ config: { protocol } }: GroupSettings) {
    return protocol ?? this.#options.config.consumer.protocol
  }

  #source(name: string, group: GroupSettings): Promise<Source> {
    const { config, clock, log } = this.#options
    const { consumer, kafka } = config
    return createSource({
      ...connectionOf(config),
      driver: kafka.driver,
      group: name,
      topics: group.roles.map(({ topic }) => topic),
      ...(group.config.instanceId !== undefined && { groupInstanceId: group.config.instanceId }),
      protocol: this.#protocolOf(group),
      sessionTimeoutMs: consumer.sessionTimeoutMs,
      releaseTimeoutMs: consumer.releaseTimeoutMs,
      maxFetchBytes: consumer.maxFetchBytes,
      passThrough: { ...kafka.confluent, ...consumer.confluent, ...group.config.confluent },
      clock,
      log,
    })
  }

  #engine(
    groups: ReadonlyMap<string, GroupSettings>,
    sources: ReadonlyMap<string, Source>,
    workers: WorkerPool,
    database: Database,
    publisher: KafkaPublisher,
  ): Engine {
    const { config, clock, random, log } = this.#options
    const options = [...groups].flatMap(([name, { roles, config: group }]): GroupOptions[] => {
      const source = sources.get(name)
      if (source === undefined) return []
      const { consumer } = config
      return [
        {
          name,
          source,
          actors: roles,
          start: group.start,
          onForeignOffset: group.onForeignOffset ?? consumer.onForeignOffset,
          onOutOfRange: group.onOutOfRange ?? consumer.onOutOfRange,
          tenantHeader: consumer.tenantHeader ?? null,
        },
      ]
    })
    const tables = database.watchCatalog((catalog) => workers.useCatalog(catalog))
    return new Engine({
      clock,
      random,
      log,
      metrics: this.#metrics,
      groups: options,
      workers,
      lanes: database.lanes,
      ledger: database.ledger,
      publisher,
      settings: engineSettings(config),
      tables,
      serverTime: database.serverTime,
      failed: this.#options.failed,
    })
  }

  #stuck(query: StuckQuery): StuckReport {
    const { clock } = this.#options
    const none = new Map<string, string>()
    const nothing = { partitions: [], mailboxes: [], troubles: none, paused: [], full: none, extraWorker: -1 }
    const at = { now: clock.now(), monotonic: clock.monotonic() }
    return this.#parts?.engine.stuck(query) ?? stuckOf({ ...nothing, reasons: this.reasons }, query, at)
  }

  #reading(): EngineReading {
    const status = this.#parts?.engine.status()
    return {
      ready: this.reasons.length === 0,
      mailboxes: status?.mailboxes ?? 0,
      queued: status?.queued ?? 0,
      inFlight: status?.inFlight ?? 0,
      bytes: status?.bytes ?? 0,
      bytesBudget: this.#options.config.backpressure.budgetBytes,
      outboxPending: status?.outboxPending ?? 0,
      blockedTenants: status?.blocked.length ?? 0,
      waitingTenants: status?.waitingTenants ?? noneWait,
      parkedRecords: status?.parkedRecords ?? 0,
      openBreakers: status?.breakers ?? [],
      partitions: status?.partitions ?? [],
      workerUtilisation: this.#parts?.pool.utilisation() ?? [],
    }
  }
}

type Parts = {
  readonly engine: Engine
  readonly pool: WorkerPool
  readonly sources: readonly Source[]
  readonly publisher: KafkaPublisher
  readonly database: Database
}

function engineSettings(config: Config): EngineSettings {
  const { commit, workers, backpressure, parking, consumer, limits, deadLetters } = config
  return {
    commitMaxRecords: commit.maxRecords,
    commitMaxBytes: commit.maxBytes,
    backoffMinMs: commit.backoffMinMs,
    backoffMaxMs: commit.backoffMaxMs,
    commitTargetMs: commit.answerDeadlineMs / 4,
    workerCreditRecords: workers.creditRecords,
    workerCreditBytes: workers.creditBytes,
    quantumRecords: 64,
    budgetBytes: backpressure.budgetBytes,
    budgetRecords: backpressure.budgetRecords,
    mailboxMaxRecords: backpressure.mailboxRecords,
    mailboxMaxBytes: backpressure.budgetBytes / 8,
    parkedMaxPerTenant: parking.maxPerTenant,
    parkedMaxRecords: parking.maxRecords,
    parkedPageRows: 1_000,
    parkAfterCommits: 500,
    parkAfterRanges: 2_000,
    parkAfterMs: 5_000,
    // More than are undone before the one that ends a process: about a commit of each lane.
    trustAfterRecords: 1_000,
    promptRaiseMs: 2_000,
    heldRetryMs: 1_000,
    heldLimitMs: 60_000,
    systemicWindowMs: 60_000,
    systemicLimitMs: 600_000,
    systemicRetryMs: 5_000,
    breaker: config.breaker,
    maxIdLength: limits.maxIdLength,
    offsetIntervalMs: consumer.offsetIntervalMs,
    releaseMs: Math.floor(consumer.releaseTimeoutMs * 0.8),
    idleMailboxes: 100_000,
    // Those of all workers: together they stay far below one worker's heap.
    idleStateBytes: backpressure.budgetBytes / 2,
    outboxMaxPending: backpressure.outboxRows,
    deadLetterTopic: deadLetters.topic,
  }
}

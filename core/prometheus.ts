import { Counter, Gauge, Registry } from 'prom-client'
import { BucketHistogram } from './bucket-histogram.ts'
import type { Clock } from './clock.ts'
import { EventLoopWatch } from './event-loop.ts'
import type { Lifecycle } from './lifecycle.ts'
import { catalogue, type MetricKey, type MetricSpec } from './metric-catalogue.ts'
import type { CommitFigures, EngineMetrics, EngineReading, PartitionReading } from './metrics.ts'

export type PrometheusOptions = {
  readonly clock: Clock
  readonly version: string
}

/**
 * The engine's metrics in Prometheus' text format. Counters are raised per batch; gauges are read from the engine when
 * somebody asks (`text`). Event-loop figures are those since the last scrape: scrape from one place.
 */
export class PrometheusMetrics implements EngineMetrics, Lifecycle {
  readonly #registry = new Registry()
  readonly #clock: Clock
  readonly #loop = new EventLoopWatch()
  readonly #counters = new Map<MetricKey, Counter>()
  readonly #gauges = new Map<MetricKey, Gauge>()
  readonly #latency: BucketHistogram
  readonly #commitDuration: BucketHistogram
  readonly #commitRecords: BucketHistogram
  #read: (() => EngineReading) | undefined
  #cpuSeconds = 0

  constructor({ clock, version }: PrometheusOptions) {
    this.#clock = clock
    const histogram = ({ name, help, buckets = [] }: MetricSpec) =>
      new BucketHistogram(this.#registry, name, help, buckets)
    for (const key of keysOf(catalogue)) {
      const { name, help, labels, type } = catalogue[key]
      const common = { name, help, labelNames: [...labels], registers: [this.#registry] }
      if (type === 'counter') this.#counters.set(key, new Counter(common))
      else if (type === 'gauge') this.#gauges.set(key, new Gauge(common))
    }
    this.#latency = histogram(catalogue.latency)
    this.#commitDuration = histogram(catalogue.commitDuration)
    this.#commitRecords = histogram(catalogue.commitRecords)
    this.#set('info', { version, runtime: runtimeName() }, 1)
    this.#set('started', {}, (clock.now() - process.uptime() * 1_000) / 1_000)
  }

  start(): Promise<void> {
    this.#loop.start()
    return Promise.resolve()
  }

  stop(): Promise<void> {
    this.#loop.stop()
    return Promise.resolve()
  }

  /** Where the gauges come from, once the engine is there. */
  observe(read: () => EngineReading): void {
    this.#read = read
  }

  /** Everything, as /metrics answers it. */
  async text(): Promise<string> {
    this.#readProcess()
    const reading = this.#read?.()
    if (reading) this.#readEngine(reading)
    else this.#set('ready', {}, 0)
    return this.#registry.metrics()
  }

  recordsConsumed(group: string, topic: string, partition: number, count: number): void {
    this.#add('consumed', { group, topic, partition: String(partition) }, count)
  }

  committed(groups: ReadonlyMap<string, CommitFigures>, elapsedMs: number): void {
    let records = 0
    for (const [group, { processed, duplicates, deadLettered, skipped, bytes }] of groups) {
      this.#add('done', { group, outcome: 'processed' }, processed)
      this.#add('done', { group, outcome: 'duplicate' }, duplicates)
      this.#add('done', { group, outcome: 'dead_lettered' }, deadLettered)
      this.#add('done', { group, outcome: 'skipped' }, skipped)
      this.#add('commitBytes', { group }, bytes)
      records += processed + duplicates + deadLettered + skipped
    }
    this.#commitRecords.observeMany(records, 1)
    this.#commitDuration.observeMany(elapsedMs / 1_000, 1)
  }

  latency(ms: number, count = 1): void {
    this.#latency.observeMany(ms > 0 ? ms / 1_000 : 0, count)
  }

  commitFailed(group: string, reason: string): void {
    this.#add('commitFailures', { group, reason }, 1)
  }

  fenced(group: string): void {
    this.#add('fences', { group }, 1)
  }

  parked(group: string): void {
    this.#add('parked', { group }, 1)
  }

  retried(group: string): void {
    this.#add('retries', { group }, 1)
  }

  tookOver(group: string): void {
    this.#add('takeovers', { group }, 1)
  }

  workerRestarted(): void {
    this.#add('workerRestarts', {}, 1)
  }

  published(count: number): void {
    this.#add('published', {}, count)
  }

  #readEngine(reading: EngineReading): void {
    this.#set('ready', {}, reading.ready ? 1 : 0)
    this.#set('mailboxes', {}, reading.mailboxes)
    this.#set('mailboxRecords', {}, reading.queued)
    this.#set('inFlight', {}, reading.inFlight)
    this.#set('bytes', {}, reading.bytes)
    this.#set('bytesBudget', {}, reading.bytesBudget)
    this.#set('outboxPending', {}, reading.outboxPending)
    this.#set('blockedTenants', {}, reading.blockedTenants)
    for (const [reason, tenants] of Object.entries(reading.waitingTenants))
      this.#set('waitingTenants', { reason }, tenants)
    this.#set('parkedRecords', {}, reading.parkedRecords)
    // One that has closed must not stay behind.
    this.#clear('breakersOpen')
    for (const { group, actor, dependency, scope, count } of reading.openBreakers)
      this.#set('breakersOpen', { group, actor, dependency, scope }, count)
    this.#readPartitions(reading.partitions)
    this.#clear('workerUtilisation')
    reading.workerUtilisation?.forEach((share, worker) =>
      this.#set('workerUtilisation', { worker: String(worker) }, share),
    )
  }

  #readPartitions(partitions: readonly PartitionReading[]): void {
    // What was given up must not stay behind with its last value.
    for (const key of ['lagRecords', 'lagSeconds', 'partitions', 'partitionsPaused'] as const) this.#clear(key)
    for (const { group, topic, partition, phase, paused, watermark, end, committedTimestamp } of partitions) {
      const labels = { group, topic, partition: String(partition) }
      const lag = end < 0 ? undefined : Math.max(0, end - watermark)
      if (lag !== undefined) this.#set('lagRecords', labels, lag)
      if (lag === 0) this.#set('lagSeconds', labels, 0)
      else if (committedTimestamp !== undefined)
        this.#set('lagSeconds', labels, Math.max(0, (this.#clock.now() - committedTimestamp) / 1_000))
      this.#gauges.get('partitions')?.inc({ group, phase }, 1)
      this.#gauges.get('partitionsPaused')?.inc({ group }, paused ? 1 : 0)
    }
  }

  #readProcess(): void {
    const { p50, p99, max, utilisation } = this.#loop.read()
    this.#set('loopDelay', { quantile: '0.5' }, p50)
    this.#set('loopDelay', { quantile: '0.99' }, p99)
    this.#set('loopDelay', { quantile: '1' }, max)
    this.#clear('loopUtilisation')
    if (utilisation !== undefined) this.#set('loopUtilisation', {}, utilisation)
    const { user, system } = process.cpuUsage()
    const seconds = (user + system) / 1e6
    this.#add('cpu', {}, seconds - this.#cpuSeconds)
    this.#cpuSeconds = seconds
    const { rss, heapUsed } = process.memoryUsage()
    this.#set('resident', {}, rss)
    this.#set('heap', {}, heapUsed)
  }

  #add(key: MetricKey, labels: Record<string, string>, count: number): void {
    this.#counters.get(key)?.inc(labels, count)
  }

  #set(key: MetricKey, labels: Record<string, string>, value: number): void {
    this.#gauges.get(key)?.set(labels, value)
  }

  #clear(key: MetricKey): void {
    this.#gauges.get(key)?.reset()
    // prom-client puts a zero for a gauge without labels; take that away, too.
    this.#gauges.get(key)?.remove({})
  }
}

function keysOf<K extends string>(table: Readonly<Record<K, unknown>>): K[] {
  const keys: K[] = []
  for (const key in table) keys.push(key)
  return keys
}

function runtimeName(): string {
  const { bun } = process.versions
  return bun === undefined ? `node ${process.versions.node}` : `bun ${bun}`
}

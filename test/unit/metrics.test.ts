import * as assert from 'uvu/assert'
import { systemClock } from '../../core/clock.ts'
import { catalogue, type MetricSpec } from '../../core/metric-catalogue.ts'
import { type EngineReading, silentMetrics } from '../../core/metrics.ts'
import { PrometheusMetrics } from '../../core/prometheus.ts'
import { eventually } from '../services.ts'
import { test } from '../harness.ts'

const specs: readonly MetricSpec[] = Object.values(catalogue)

const reading: EngineReading = {
  ready: true,
  mailboxes: 7,
  queued: 20,
  inFlight: 3,
  bytes: 4_096,
  bytesBudget: 8_192,
  outboxPending: 2,
  openBreakers: [{ group: 'g', actor: 'a', dependency: 'api', scope: 'all', count: 1 }],
  blockedTenants: 1,
  waitingTenants: { retrying: 4, held: 3, dependency: 3, blocked: 1, parked: 2 },
  parkedRecords: 5,
  partitions: [
    {
      group: 'g',
      topic: 't',
      partition: 0,
      phase: 'owned',
      paused: true,
      watermark: 90,
      end: 100,
      committedTimestamp: systemClock.now() - 30_000,
    },
    {
      group: 'g',
      topic: 't',
      partition: 1,
      phase: 'owned',
      paused: false,
      watermark: 50,
      end: 50,
      committedTimestamp: 1,
    },
    { group: 'g', topic: 't', partition: 2, phase: 'claiming', paused: false, watermark: 0, end: -1 },
  ],
  workerUtilisation: [0.5, 0.25],
}

/** The samples of a text, by name and labels. */
function samples(text: string): ReadonlyMap<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
  )
}

function created(): PrometheusMetrics {
  return new PrometheusMetrics({ clock: systemClock, version: '1.2.3' })
}

test('names are ours, in base units, and no label can hold a tenant', () => {
  const labels = new Set([
    'group',
    'topic',
    'partition',
    'outcome',
    'reason',
    'phase',
    'worker',
    'quantile',
    'version',
    'runtime',
    'actor',
    'dependency',
    'scope',
  ])
  assert.is(new Set(specs.map(({ name }) => name)).size, specs.length)
  for (const { name, type, labels: own, help, buckets } of specs) {
    assert.match(name, /^tenantry_[a-z_]+$/)
    assert.is(name.endsWith('_total'), type === 'counter', name)
    assert.not(/_(ms|milliseconds|kb|mb|percent)$/.test(name), name)
    for (const label of own) assert.ok(labels.has(label), `${name}: ${label}`)
    assert.match(help, /\.$/)
    assert.is(buckets !== undefined, type === 'histogram', name)
  }
})

test('what is registered is the catalogue, no more and no less', async () => {
  const text = await created().text()
  const registered = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => `${name} ${type}`)
  assert.equal(registered.toSorted(), specs.map(({ name, type }) => `${name} ${type}`).toSorted())
})

test('counters count per batch', async () => {
  const metrics = created()
  metrics.recordsConsumed('g', 't', 3, 500)
  metrics.recordsConsumed('g', 't', 3, 20)
  const some = { processed: 10, duplicates: 2, deadLettered: 1, skipped: 4, bytes: 1_000 }
  const more = { processed: 5, duplicates: 0, deadLettered: 0, skipped: 0, bytes: 500 }
  metrics.committed(new Map([['g', some]]), 7)
  metrics.committed(
    new Map([
      ['g', more],
      ['h', { ...more, processed: 1 }],
    ]),
    7,
  )
  metrics.commitFailed('g', 'unknown')
  metrics.fenced('g')
  metrics.tookOver('g')
  metrics.workerRestarted()
  metrics.published(9)
  const found = samples(await metrics.text())
  const expected: Readonly<Record<string, number>> = {
    'tenantry_records_consumed_total{group="g",topic="t",partition="3"}': 520,
    'tenantry_records_done_total{group="g",outcome="processed"}': 15,
    'tenantry_records_done_total{group="g",outcome="duplicate"}': 2,
    'tenantry_records_done_total{group="g",outcome="dead_lettered"}': 1,
    'tenantry_records_done_total{group="g",outcome="skipped"}': 4,
    'tenantry_commit_bytes_total{group="g"}': 1_500,
    'tenantry_records_done_total{group="h",outcome="processed"}': 1,
    'tenantry_commit_bytes_total{group="h"}': 500,
    tenantry_commit_records_count: 2,
    tenantry_commit_records_sum: 23,
    'tenantry_commit_records_bucket{le="5"}': 0,
    'tenantry_commit_records_bucket{le="10"}': 1,
    'tenantry_commit_records_bucket{le="50"}': 2,
    tenantry_commit_duration_seconds_count: 2,
    'tenantry_commit_failures_total{group="g",reason="unknown"}': 1,
    'tenantry_partition_fences_total{group="g"}': 1,
    'tenantry_partition_takeovers_total{group="g"}': 1,
    tenantry_worker_restarts_total: 1,
    tenantry_outbox_published_total: 9,
  }
  for (const [name, value] of Object.entries(expected)) assert.is(found.get(name), value, name)
})

test('latencies fall into the bucket whose bound they do not pass', async () => {
  const metrics = created()
  metrics.latency(5)
  metrics.latency(5.1)
  metrics.latency(200, 10)
  metrics.latency(60_000)
  metrics.latency(-50)
  const found = samples(await metrics.text())
  const bucket = (le: string) => found.get(`tenantry_record_latency_seconds_bucket{le="${le}"}`)
  assert.equal([bucket('0.005'), bucket('0.01'), bucket('0.2'), bucket('10'), bucket('+Inf')], [2, 3, 13, 13, 14])
  assert.is(found.get('tenantry_record_latency_seconds_count'), 14)
})

test('a hundred thousand latencies a second cost next to nothing', () => {
  const metrics = created()
  const started = process.cpuUsage()
  for (let i = 0; i < 1_000_000; i++) metrics.latency(i % 400)
  const { user, system } = process.cpuUsage(started)
  assert.ok(user + system < 1_000_000, `${(user + system) / 1_000} ms of CPU for a million`)
})

test('gauges are read when somebody asks, and what was given up is gone', async () => {
  const metrics = created()
  let current = reading
  metrics.observe(() => current)
  const found = samples(await metrics.text())
  const expected: Readonly<Record<string, number>> = {
    tenantry_ready: 1,
    tenantry_mailboxes: 7,
    tenantry_mailbox_records: 20,
    tenantry_records_in_flight: 3,
    tenantry_bytes_in_flight: 4_096,
    tenantry_bytes_budget: 8_192,
    tenantry_outbox_pending: 2,
    tenantry_tenants_blocked: 1,
    'tenantry_tenants_waiting{reason="retrying"}': 4,
    'tenantry_tenants_waiting{reason="held"}': 3,
    'tenantry_tenants_waiting{reason="dependency"}': 3,
    'tenantry_tenants_waiting{reason="blocked"}': 1,
    'tenantry_tenants_waiting{reason="parked"}': 2,
    tenantry_parked_records: 5,
    'tenantry_breakers_open{group="g",actor="a",dependency="api",scope="all"}': 1,
    'tenantry_consumer_lag_records{group="g",topic="t",partition="0"}': 10,
    'tenantry_consumer_lag_records{group="g",topic="t",partition="1"}': 0,
    'tenantry_consumer_lag_seconds{group="g",topic="t",partition="1"}': 0,
    'tenantry_partitions{group="g",phase="owned"}': 2,
    'tenantry_partitions{group="g",phase="claiming"}': 1,
    'tenantry_partitions_paused{group="g"}': 1,
    'tenantry_worker_utilisation_ratio{worker="1"}': 0.25,
  }
  for (const [name, value] of Object.entries(expected)) assert.is(found.get(name), value, name)
  const age = found.get('tenantry_consumer_lag_seconds{group="g",topic="t",partition="0"}') ?? 0
  assert.ok(age >= 30 && age < 90, String(age))
  assert.is(found.has('tenantry_consumer_lag_records{group="g",topic="t",partition="2"}'), false)

  current = { ...reading, ready: false, partitions: [], workerUtilisation: [], openBreakers: [] }
  const later = samples(await metrics.text())
  assert.is(later.get('tenantry_ready'), 0)
  for (const name of later.keys())
    assert.not(/^tenantry_(consumer_lag|partitions|worker_utilisation|breakers)/.test(name), name)
})

test("the supervisor's event loop is watched while it runs", async () => {
  const metrics = created()
  await metrics.start()
  await eventually(async () => {
    const until = systemClock.monotonic() + 50
    while (systemClock.monotonic() < until);
    await new Promise((resolve) => setTimeout(resolve, 20))
    return (samples(await metrics.text()).get('tenantry_event_loop_delay_seconds{quantile="1"}') ?? 0) > 0.02
  })
  await metrics.stop()
})

test('the silent metrics take everything', () => {
  silentMetrics.recordsConsumed('g', 't', 0, 1)
  silentMetrics.committed(new Map(), 1)
  silentMetrics.latency(1)
})

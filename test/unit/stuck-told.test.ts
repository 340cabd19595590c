import * as assert from 'uvu/assert'
import { toldDaemon } from '../../cli/stuck/told.ts'
import { type StuckReport, stuckDefaults, type StuckTenant } from '../../core/stuck-report.ts'
import { test } from '../harness.ts'

const tenant: StuckTenant = {
  group: 'greeter',
  topic: 'greetings.v1',
  partition: 0,
  tenant: 'acme',
  stuckForMs: 0,
  waitsFor: 'running',
  reason: '',
  until: null,
  forMs: null,
  worker: 1,
  oldest: null,
  attempts: 0,
  lastError: null,
  queued: 0,
  inFlight: 1,
  uncommitted: 0,
  parked: 0,
}

function told(longerThanMs: number, ...tenants: readonly StuckTenant[]): string {
  const report: StuckReport = {
    at: '2026-11-01T00:00:00.000Z',
    reasons: [],
    longerThanMs,
    tenants: [...tenants],
    moreTenants: 0,
    partitions: [],
    morePartitions: 0,
    assigned: 1,
  }
  return toldDaemon({ url: 'http://127.0.0.1:9464', report }, { ...stuckDefaults, longerThanMs })
}

test('ages are told in two units from seconds on, and below a second in milliseconds', () => {
  const ages = [0.4, 350.9, 1_999, 200_500, 7_500_000, 273_600_000]
  const text = told(1, ...ages.map((stuckForMs) => ({ ...tenant, stuckForMs, forMs: stuckForMs })))
  assert.equal(
    [...text.matchAll(/ {2}(\S+) +runs on worker 1 for (\S+)$/gm)].map(([, first, second]) => [first, second]),
    ['0ms', '350ms', '1s', '3m20s', '2h5m', '3d4h'].map((age) => [age, age]),
  )
})

test('what is asked for is told as it was asked', () => {
  assert.match(told(1), '0 tenants with records that wait for longer than 1ms.')
  assert.match(told(1_500), 'longer than 1500ms.')
  assert.match(told(5_000), 'longer than 5s.')
})

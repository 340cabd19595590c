import { randomUUID } from 'node:crypto'
import * as assert from 'uvu/assert'
import type { Failure } from '../../core/effects.ts'
import { longestId } from '../../core/limits.ts'
import type { Traceability } from '../../core/postgres/group-commit.ts'
import type { Outcome } from '../../core/postgres/transactions.ts'
import { after, before, test } from '../harness.ts'
import { blocksOf } from '../pages.ts'
import { LaneStage } from './lane-stage.ts'

// What people and tools look at in PostgreSQL: traces of messages, the log of offsets, and the views over them.

let stage: LaneStage

before(async () => {
  stage = await LaneStage.create(async () => {})
})

after(() => stage.end())

const failure: Failure = { reason: 'handler', errorClass: 'Error', message: 'no', stack: '', kind: 'permanent' }

/** What a lane with this mode leaves of these outcomes. */
async function traced(traceability: Traceability, outcomes: readonly Outcome[]) {
  const lane = await stage.lane({ traceability })
  await stage.sql`truncate sys.message_traceability`
  assert.is((await stage.run(lane, outcomes)).kind, 'committed')
  const rows = await stage.sql`
    select topic, partition, tenant_id, actor, message_id, message_type, outcome, reason, attempts
    from sys.message_traceability
    order by record_offset`
  return rows.map((row) => ({ ...row }))
}

test('the longest ids that configuration allows fit every index', async () => {
  // Three bytes each, and nothing that can be compressed.
  const id = Array.from({ length: longestId }, (_, i) => String.fromCharCode(0x4e00 + ((i * 7_919) % 20_000))).join('')
  const tenant = Buffer.from(id)
    .subarray(0, longestId - 2)
    .toString()
  const parked: Outcome = { ...stage.done({ tenant }), result: { kind: 'parked', since: 0 } }
  const failed = stage.failed({ tenant, id: randomUUID() }, failure)
  const rows = await traced({ mode: 'all', sampleRate: 0 }, [stage.done({ tenant, id }), failed, parked])
  assert.ok(rows.some((row) => row['message_id'] === id))
})

test('traceability keeps a row of every message, of those that failed, of a share, or of none', async () => {
  const [good, bad] = [randomUUID(), randomUUID()]
  const outcomes = () => [stage.done({ id: good }), stage.failed({ id: bad, partition: 1 }, failure)]
  const common = { topic: 't', tenant_id: 'acme', actor: 'a', message_type: 'go', attempts: 1 }
  const ofGood = { ...common, partition: 0, message_id: good, outcome: 'processed', reason: '' }
  const ofBad = { ...common, partition: 1, message_id: bad, outcome: 'dead_lettered', reason: 'handler' }
  assert.equal(await traced({ mode: 'all', sampleRate: 0 }, outcomes()), [ofGood, ofBad])
  await stage.sql`truncate sys.request_keys`
  assert.equal(await traced({ mode: 'failures', sampleRate: 1 }, outcomes()), [ofBad])
  await stage.sql`truncate sys.request_keys`
  assert.equal(await traced({ mode: 'sampled', sampleRate: 0 }, outcomes()), [ofBad])
  await stage.sql`truncate sys.request_keys`
  assert.equal(await traced({ mode: 'sampled', sampleRate: 1 }, outcomes()), [ofGood, ofBad])
  await stage.sql`truncate sys.request_keys`
  assert.equal(await traced({ mode: 'off', sampleRate: 1 }, outcomes()), [])
})

test('a sample is the share that was asked for, and of the same messages each time', async () => {
  const ids = Array.from({ length: 4_000 }, (_, number) => `order-${number}`)
  const sample = async () => {
    await stage.sql`truncate sys.request_keys`
    const rows = await traced(
      { mode: 'sampled', sampleRate: 0.05 },
      ids.map((id) => stage.done({ id })),
    )
    return rows.map((row) => String(row['message_id']))
  }
  const first = await sample()
  assert.ok(first.length > 120 && first.length < 280, `${first.length} of 4,000 at a rate of 0.05`)
  assert.equal(await sample(), first)
})

test('text that PostgreSQL cannot store does not keep a trace from being written', async () => {
  const [row] = await traced({ mode: 'all', sampleRate: 1 }, [stage.failed({}, { ...failure, reason: 'a\0b' })])
  assert.is(row?.['reason'], 'a\u{fffd}b')
})

test('the lag of a group is what it lacked of the log when its offset was last written', async () => {
  await stage.ledger.recordOffsets('g', [
    { topic: 't', partition: 0, offset: 10, end: 25 },
    { topic: 't', partition: 1, offset: 7, end: -1 },
  ])
  await stage.ledger.recordOffsets('g', [{ topic: 't', partition: 0, offset: 20, end: 26 }])
  await stage.sql`select sys.fn_record_consumer_offset('other', 't', 0, 5, 4)`
  const rows = await stage.sql`
    select group_name, partition, committed_offset::int, log_end::int, lag_records::int
    from sys.vw_consumer_lag
    order by group_name, partition`
  assert.equal(
    rows.map((row) => Object.values<unknown>(row)),
    [
      ['g', 0, 20, 26, 6],
      ['g', 1, 7, null, null],
      ['other', 0, 5, 4, 0],
    ],
  )
})

test('throughput is what partitions moved on by, a minute', async () => {
  const { watermark } = stage.partition(2)
  const lane = await stage.lane()
  await stage.sql`delete from sys.partition_progress where partition <> 2`
  for (let number = 0; number < 3; number++) await stage.run(lane, [stage.done({ partition: 2 })])
  const rows = await stage.sql<{ group_name: string; topic: string; messages: number; rate: number }[]>`
    select group_name, topic, sum(messages)::int as messages, sum(messages_per_second)::float8 as rate
    from sys.vw_message_throughput
    group by 1, 2`
  assert.is(stage.partition(2).watermark, watermark + 3)
  assert.equal(
    [...rows].map((row) => ({ ...row })),
    [{ group_name: 'g', topic: 't', messages: 3, rate: 0.1 }],
  )
})

test("the standard topics' facts are in a table, as configuration has them", async () => {
  const rows = await stage.sql`
    select topic, partitions, extract(day from retention)::int as days, replication_factor as copies,
      min_in_sync_replicas as in_sync, partition_key as key
    from sys.kafka_topics_metadata
    order by topic`
  assert.equal(
    rows.map((row) => Object.values<unknown>(row)),
    [
      ['core.commands.v1', 12, 7, 3, 2, 'tenant_id'],
      ['core.events.v1', 12, 30, 3, 2, 'tenant_id'],
      ['sys.audit.v1', 12, 90, 3, 2, 'trace_id'],
      ['sys.deadletter.v1', 6, 30, 3, 2, 'tenant_id'],
    ],
  )
})

test('what docs/operations.md asks of the views and traces is answered', async () => {
  const asked = blocksOf('docs/operations.md').filter(({ text }) => /from sys\.(vw_|message_)/.test(text))
  assert.is(asked.length, 1)
  await stage.ledger.recordOffsets('g', [{ topic: 't', partition: 3, offset: 10, end: 20_000 }])
  const [lags] = await Promise.all(asked.map(({ text }) => stage.sql.unsafe<Record<string, unknown>[][]>(text)))
  assert.ok(lags?.[0]?.some((row) => row['partition'] === 3 && row['lag_records'] === '19990'))
})

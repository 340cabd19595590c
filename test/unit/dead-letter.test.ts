import * as assert from 'uvu/assert'
import { deadLetterHeaders, goesToTopic } from '../../core/dead-letter.ts'
import type { Effect } from '../../core/effects.ts'
import { outboxRows } from '../../core/postgres/outbox-rows.ts'
import type { Outcome, PartitionCommit, PartitionRef } from '../../core/postgres/transactions.ts'
import type { Done, Failed } from '../../core/workers.ts'
import { detachedRow } from '../../supervisors/detached-row.ts'
import { test } from '../harness.ts'

const ref: PartitionRef = { group: 'g', topic: 'orders', topicId: 'id', partition: 3 }
const failed: Failed = {
  kind: 'failed',
  failure: {
    reason: 'handler',
    errorClass: 'TypeError',
    message: 'no \u{1f600}',
    stack: 'at a\nat b',
    kind: 'transient',
  },
  key: null,
  type: 'go',
  traceId: 'trace-1',
  messageId: 'm-1',
}

function outcome(result: Outcome['result'], offset: number, partition = 0): Outcome {
  const record = {
    offset,
    timestamp: 1_700_000_000_123,
    key: Buffer.from('acme'),
    value: Buffer.from('v'),
    headers: [],
  }
  const failedAt = Date.UTC(2026, 1, 3, 4, 5, 6, 7)
  return {
    partition,
    tenant: 'acme',
    record,
    actor: 'billing',
    result,
    attempts: 2,
    firstFailedAt: 0,
    failedAt,
    retried: false,
    row: null,
    knownSince: null,
  }
}

function publishing(...ids: readonly string[]): Done {
  const effects = ids.map(
    (messageId): Effect => ({
      kind: 'publish',
      topic: 'events',
      messageId,
      key: Buffer.from('acme'),
      value: Buffer.from('{}'),
      headers: [['a', 'b']],
    }),
  )
  return {
    kind: 'done',
    key: null,
    effects,
    publishes: ids.length > 0,
    packed: null,
    stateful: false,
    state: null,
    type: 'go',
    traceId: '',
    messageId: '',
    bytes: 0,
    served: 0,
  }
}

test("a dead letter's headers are the record's, untouched, and then ours, which say where it was and why", () => {
  const own = [
    [Buffer.from('tenantry-reason'), Buffer.from('of an earlier life')],
    [Buffer.from([0xff, 0]), null],
    [Buffer.from([0xff, 0]), Buffer.from([0xc3, 0x28])],
  ] as const
  const { record, ...rest } = outcome(failed, 42)
  const headers = deadLetterHeaders({ ...rest, record: { ...record, headers: own } }, failed, ref)
  assert.equal(headers.slice(0, 3), own)
  assert.equal(
    headers.slice(3).map(([name, value]) => [name.toString(), value?.toString()]),
    [
      ['tenantry-origin-topic', 'orders'],
      ['tenantry-origin-partition', '3'],
      ['tenantry-origin-offset', '42'],
      ['tenantry-origin-timestamp', '1700000000123'],
      ['tenantry-origin-group', 'g'],
      ['tenantry-reason', 'handler'],
      ['tenantry-error-class', 'TypeError'],
      ['tenantry-error-message', 'no \u{1f600}'],
      ['tenantry-error-stack', 'at a\nat b'],
      ['tenantry-attempts', '3'],
      ['tenantry-first-failed-at', '2026-02-03T04:05:06.007Z'],
      ['tenantry-failed-at', '2026-02-03T04:05:06.007Z'],
      ['tenantry-actor', 'billing'],
      ['tenantry-tenant', 'acme'],
      ['tenantry-trace-id', 'trace-1'],
      ['tenantry-replay-count', '0'],
    ],
  )
  const long = {
    ...failed,
    failure: { ...failed.failure, message: `${'x'.repeat(8_191)}\u{1f600}`, stack: 'y'.repeat(1_000_000) },
  }
  const cut = deadLetterHeaders(outcome(long, 42), long, ref).slice(7, 9)
  assert.equal(
    cut.map(([, value]) => value?.toString()),
    [`${'x'.repeat(8_191)}\ufffd`, 'y'.repeat(8_192)],
  )
  const later = deadLetterHeaders({ ...outcome(failed, 42), firstFailedAt: Date.UTC(2026, 0, 1) }, failed, ref)
  const first = later.find(([name]) => name.toString() === 'tenantry-first-failed-at')
  assert.is(first?.[1]?.toString(), '2026-01-01T00:00:00.000Z')
})

test('messages are numbered over actors and dead letters in the order of outcomes, for each partition by itself', () => {
  const at = (partition: number, seq: number): PartitionCommit => ({
    ref: { ...ref, partition },
    epoch: 1,
    follows: '',
    seq,
    watermark: 0,
    ahead: [],
    kafkaOffset: -1,
    published: null,
    breakers: [],
  })
  const skipped = { kind: 'skipped', reason: 'tombstone' } as const
  const duplicate = { kind: 'duplicate', messageId: 'd', type: '', traceId: '' } as const
  const commit = {
    partitions: [at(3, 10), at(5, 20)],
    outcomes: [
      outcome(publishing('a', 'b'), 1),
      outcome(failed, 2),
      outcome(failed, 1, 1),
      outcome(skipped, 3),
      outcome(duplicate, 4),
      outcome(publishing(), 5),
      outcome(publishing('c'), 6),
      outcome(failed, 7),
    ],
  }
  const rows = (topic: string | null) =>
    [...outboxRows(commit, topic)].map(({ partition, row }) => {
      const { position, topic: to, messageId, deadLetterOf } = row
      return [partition, position.seq, position.index, to, messageId, deadLetterOf?.offset ?? null]
    })
  assert.equal(rows('dead'), [
    [0, 11, 0, 'events', 'a', null],
    [0, 11, 1, 'events', 'b', null],
    [0, 11, 2, 'dead', 'm-1', 2],
    [1, 21, 0, 'dead', 'm-1', 1],
    [0, 11, 3, 'events', 'c', null],
    [0, 11, 4, 'dead', 'm-1', 7],
  ])
  assert.equal(
    rows(null).map(([, , index, , id]) => [index, id]),
    [
      [0, 'a'],
      [1, 'b'],
      [2, 'c'],
    ],
  )
  assert.equal(rows('orders'), rows(null), 'what comes from the topic does not go there again')
})

test('the message of a dead letter is the very record', () => {
  const { record } = outcome(failed, 2)
  const commit = {
    partitions: [
      { ref, epoch: 1, seq: 0, follows: '', watermark: 0, ahead: [], kafkaOffset: -1, published: null, breakers: [] },
    ],
    outcomes: [{ ...outcome(failed, 2), record: { ...record, key: null, value: null } }, outcome(failed, 3)],
  }
  const [empty, full] = [...outboxRows(commit, 'dead')].map(({ row }) => row)
  assert.equal([empty?.key, empty?.value], [null, null])
  assert.equal([full?.key, full?.value], [record.key, record.value])
})

test('what was parked is the dead letter of where it was read, an earlier topic perhaps, with its replays', () => {
  const row = { generation: -1, topicId: 'earlier', partition: 9, replays: 2 }
  const commit = {
    partitions: [
      { ref, epoch: 1, seq: 0, follows: '', watermark: 0, ahead: [], kafkaOffset: -1, published: null, breakers: [] },
    ],
    outcomes: [{ ...outcome(failed, 2), row }],
  }
  const [letter] = [...outboxRows(commit, 'dead')].map(({ row: message }) => message)
  assert.equal(letter?.deadLetterOf, { topicId: 'earlier', partition: 9, offset: 2 })
  const header = (name: string) =>
    letter?.headers.find(([own]) => Buffer.from(own).toString() === `tenantry-${name}`)?.[1]?.toString()
  assert.equal([header('origin-partition'), header('replay-count')], ['9', '2'])
})

test('dead letters of the topic itself do not go round', () => {
  assert.equal([goesToTopic(ref, 'dead'), goesToTopic(ref, 'orders'), goesToTopic(ref, null)], [true, false, false])
})

test('a dead letter that waits keeps its own bytes, and nothing of the batch that they came in', () => {
  const batch = Buffer.alloc(10_000, 'x')
  const view = (from: number, to: number) => batch.subarray(from, to)
  const row = {
    position: { seq: 1, index: 0 },
    tenant: 'acme',
    topic: 'dead',
    messageId: 'm',
    key: view(0, 3),
    value: null,
    headers: [
      [view(3, 5), view(5, 7)],
      [view(7, 9), null],
      ['text', 'text'],
    ],
    deadLetterOf: { topicId: 'id', partition: 3, offset: 7 },
  } as const
  const detached = detachedRow(row)
  const plain = (bytes: string | Uint8Array | null) => (bytes === null ? null : Buffer.from(bytes).toString())
  assert.equal(
    detached.headers.map(([name, value]) => [plain(name), plain(value)]),
    [
      ['xx', 'xx'],
      ['xx', null],
      ['text', 'text'],
    ],
  )
  assert.equal([plain(detached.key), detached.value, detached.deadLetterOf], ['xxx', null, row.deadLetterOf])
  for (const bytes of [detached.key, ...detached.headers.flat()])
    if (bytes instanceof Uint8Array) assert.is(bytes.buffer.byteLength, bytes.length)
})

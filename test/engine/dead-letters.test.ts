import * as assert from 'uvu/assert'
import type { Effect } from '../../core/effects.ts'
import { outboxRows } from '../../core/postgres/outbox-rows.ts'
import type { OutboxRow } from '../../core/postgres/ownership.ts'
import { test } from '../harness.ts'
import { EngineStage } from './engine-stage.ts'

// What goes out from memory has the numbers that the lane gives the same messages.

const event: Effect = {
  kind: 'publish',
  topic: 'events',
  messageId: 'e',
  key: new Uint8Array(0),
  value: new Uint8Array(0),
  headers: [],
}

function numbers(rows: readonly OutboxRow[]) {
  return rows.map(({ position, topic, deadLetterOf }) => [
    position.seq,
    position.index,
    topic,
    deadLetterOf?.offset ?? null,
  ])
}

test('a dead letter goes out after its commit, among the other messages of its tenant, as the lane numbers them', async () => {
  const stage = new EngineStage({ settings: { deadLetterTopic: 'dead' } })
  stage.effects = () => ({ effects: [event, event], publishes: true })
  stage.failsAt = 1
  const written: OutboxRow[] = []
  const sent: OutboxRow[] = []
  stage.answer = (commit) => {
    written.push(...[...outboxRows(commit, 'dead')].map(({ row }) => row))
    return { kind: 'committed', commit }
  }
  stage.deliver = async (messages) => {
    sent.push(...messages)
    return messages.map(() => ({ kind: 'delivered' }))
  }
  await stage.assign()
  await stage.send(['acme', 'acme', 'acme'])
  await stage.clock.pass(2_000)
  assert.equal(stage.committed, ['acme/0:done', 'acme/1:failed', 'acme/2:done'])
  assert.equal(numbers(sent), numbers(written))
  assert.equal(
    sent.map(({ topic }) => topic),
    ['events', 'events', 'dead', 'events', 'events'],
  )
  const letter = sent[2]
  assert.equal(letter?.deadLetterOf, { topicId: stage.description.id, partition: 0, offset: 1 })
  assert.equal(
    [letter?.key, letter?.value].map((bytes) => Buffer.from(bytes ?? []).toString()),
    ['acme', '{}'],
  )
  const failedAt = letter?.headers.find(([name]) => Buffer.from(name).toString() === 'tenantry-failed-at')?.[1] ?? ''
  assert.match(Buffer.from(failedAt).toString(), /^2023-11-15T22:13:2\d\.\d{3}Z$/, 'by PostgreSQL’s clock')
})

test('what a commit has of two groups is counted for each', async () => {
  const stage = new EngineStage({ partitions: 2, others: [1] })
  await stage.assign()
  stage.silent.add('acme')
  await stage.send(['acme', 'acme'], 0)
  await stage.send(['acme', 'acme', 'acme'], 1)
  stage.failsAt = 2
  stage.speak()
  await stage.clock.pass(0)
  assert.equal(stage.sizes, [5])
  const sums = Object.groupBy(stage.counted, ([group]) => group)
  const of = (group: string) =>
    (sums[group] ?? []).map(([, { processed, deadLettered }]) => processed * 10 + deadLettered).filter((sum) => sum > 0)
  assert.equal([of('g'), of('h')], [[20], [21]])
})

test('a dead letter that Kafka refuses is said to be so, and is no message any more', async () => {
  const stage = new EngineStage({ settings: { deadLetterTopic: 'dead' } })
  stage.failsAt = 0
  stage.deliver = async (messages) => messages.map(() => ({ kind: 'refused', reason: 'MESSAGE_TOO_LARGE' }))
  await stage.assign()
  await stage.send(['acme'])
  await stage.clock.pass(2_000)
  const refused = stage.lines.filter(({ event: name }) => name === 'outbox.refused')
  assert.equal(
    refused.map(({ sentence }) => sentence),
    ['Kafka refuses the message of a dead letter; it is a row alone, which says so.'],
  )
  assert.is(stage.engine.status().outboxPending, 0)
})

test('the log has a line for each record that was given up, once it is, and nothing of what is in it', async () => {
  const stage = new EngineStage()
  stage.failsAt = 1
  const given = () => stage.lines.filter(({ event: name }) => name === 'record.dead_lettered')
  const before: number[] = []
  stage.answer = (commit) => {
    if (commit.outcomes.some(({ result }) => result.kind === 'failed')) before.push(given().length)
    return { kind: 'committed', commit }
  }
  await stage.assign()
  await stage.send(['acme', 'acme', 'acme'])
  await stage.clock.pass(2_000)
  assert.equal(stage.committed, ['acme/0:done', 'acme/1:failed', 'acme/2:done'])
  assert.equal(before, [0])
  assert.equal(
    given().map(({ fields }) => fields),
    [
      {
        ...{ group: 'g', topic: 't', partition: 0, offset: 1, tenant: 'acme', type: 'go', messageId: '' },
        ...{ reason: 'handler', errorClass: 'Error', attempts: 1 },
      },
    ],
  )
})

test('without a topic nothing goes out', async () => {
  const stage = new EngineStage()
  stage.failsAt = 0
  let sends = 0
  stage.deliver = async (messages) => {
    sends++
    return messages.map(() => ({ kind: 'delivered' }))
  }
  await stage.assign()
  await stage.send(['acme'])
  await stage.clock.pass(2_000)
  assert.equal(stage.committed, ['acme/0:failed'])
  assert.is(sends, 0)
})

import * as assert from 'uvu/assert'
import { test } from '../harness.ts'
import { Checker } from './checker.ts'
import { EventLoop } from './event-loop.ts'
import { KafkaCluster } from './kafka-cluster.ts'
import type { Applied, Change } from './postgres-tables.ts'
import { SeededRandom } from './seeded-random.ts'

const ref = { group: 'group', topic: 'orders', topicId: 'topic id', partition: 0 }

function stage() {
  const loop = new EventLoop((error) => {
    throw error
  })
  const violated: string[] = []
  const checker = new Checker({
    cluster: new KafkaCluster(loop, new SeededRandom('cluster')),
    violate: (rule) => violated.push(rule),
    offsetMode: false,
    flaky: false,
    impatient: false,
    unlucky: false,
    mended: new Set(),
    excused: () => false,
  })
  return { checker, violated }
}

/** What the record at `offset` publishes. */
function outbox(messageId: string, offset: number, seq: number): Change & { kind: 'outbox' } {
  const row = { topic: 'output', messageId, key: null, value: null, headers: [], deadLetterOf: null }
  return { kind: 'outbox', ref, origin: ref, offset, row: { ...row, tenant: 'a', position: { seq, index: 0 } } }
}

function commit(...changes: readonly Change[]): Applied {
  return { by: 'daemon1', at: 0, begun: 0, changes }
}

test('what a failover has lost is in order where a copy of its record commits it', () => {
  const { checker, violated } = stage()
  checker.applied(commit(outbox('lost', 1, 1)))
  checker.restart([])
  const [other, again] = [outbox('other', 11, 1), outbox('lost', 15, 2)]
  for (const one of [other, again]) checker.applied(commit(one))
  for (const { row } of [other, again]) checker.delivered(row)
  assert.equal(violated, [])
})

test('what a failover has left keeps the order of the record that committed it first', () => {
  const { checker, violated } = stage()
  const first = commit(outbox('left', 1, 1))
  checker.applied(first)
  checker.restart([first])
  const [other, again] = [outbox('other', 11, 2), outbox('left', 15, 3)]
  for (const one of [other, again]) checker.applied(commit(one))
  for (const { row } of [other, again]) checker.delivered(row)
  assert.equal(violated, ['G6 published out of order'])
})

import * as assert from 'uvu/assert'
import { type ActualTopic, checkSpecs, type TopicSpec } from '../../core/kafka/topic-spec.ts'
import { planTopics } from '../../core/kafka/topics.ts'
import { test } from '../harness.ts'

const day = 86_400_000

const spec: TopicSpec = {
  name: 'core.commands.v1',
  partitions: 12,
  retentionMs: 7 * day,
  replicationFactor: 3,
  minInSyncReplicas: 2,
}
const actual: ActualTopic = {
  name: 'core.commands.v1',
  id: '8e7a8b0a-0000-4000-8000-000000000001',
  partitions: 12,
  replicationFactor: 3,
  configs: { 'retention.ms': String(7 * day), 'min.insync.replicas': '2' },
}

test('a topic that is as specified makes no difference', () => {
  assert.equal(planTopics([spec], [actual]), [])
})

test('a topic that is missing is to be created', () => {
  assert.equal(planTopics([spec], []), [{ kind: 'create', topic: spec.name, spec }])
})

test('a setting that Kafka does not have is refused, with the nearest name, also of a topic that is missing', () => {
  const wrong = { ...spec, configs: { 'retention.mss': '5' } }
  const missing = { ...wrong, name: 'new' }
  for (const difference of planTopics([wrong, missing], [actual])) {
    if (difference.kind !== 'refused') throw new Error(difference.kind)
    assert.is(difference.setting, 'retention.mss')
    assert.match(difference.reason, 'no such setting (did you mean retention.ms?)')
  }
  assert.is(planTopics([wrong, missing], [actual]).length, 2)
  assert.equal(planTopics([wrong], []), [{ kind: 'create', topic: spec.name, spec: wrong }])
})

test('topics that nobody specified are left alone', () => {
  assert.equal(planTopics([], [actual]), [])
})

test('partitions are added and never taken away', () => {
  assert.equal(planTopics([{ ...spec, partitions: 24 }], [actual]), [
    { kind: 'partitions', topic: spec.name, from: 12, to: 24 },
  ])
  assert.equal(
    planTopics([{ ...spec, partitions: 6 }], [actual]).map(({ kind }) => kind),
    ['refused'],
  )
})

test('a longer retention is set, a shorter one refused, and endless is the longest', () => {
  const kinds = (retentionMs: number, from: number) =>
    planTopics(
      [{ ...spec, retentionMs }],
      [{ ...actual, configs: { ...actual.configs, 'retention.ms': String(from) } }],
    ).map(({ kind }) => kind)
  assert.equal(kinds(30 * day, 7 * day), ['config'])
  assert.equal(kinds(7 * day, 30 * day), ['refused'])
  assert.equal(kinds(-1, 7 * day), ['config'])
  assert.equal(kinds(7 * day, -1), ['refused'])
})

test('no way to delete records is added to a topic that has some', () => {
  const kind = (to: string, from: string) =>
    planTopics(
      [{ ...spec, configs: { 'cleanup.policy': to } }],
      [{ ...actual, configs: { ...actual.configs, 'cleanup.policy': from } }],
    ).map((difference) => difference.kind)
  assert.equal(kind('compact', 'delete'), ['refused'])
  assert.equal(kind('compact,delete', 'delete'), ['refused'])
  assert.equal(kind('delete', 'compact'), ['refused'])
  assert.equal(kind('delete', 'compact,delete'), ['config'])
})

test('another replication factor is refused, as it needs a plan of its own', () => {
  const [difference] = planTopics([{ ...spec, replicationFactor: 1, minInSyncReplicas: 2 }], [actual])
  assert.is(difference?.kind, 'refused')
})

test('more copies in sync than there are copies is refused, as nothing could be written any more', () => {
  const differences = (replicationFactor: number) =>
    planTopics(
      [spec],
      [{ ...actual, replicationFactor, configs: { ...actual.configs, 'min.insync.replicas': '1' } }],
    ).map(({ kind, ...difference }) => [kind, 'setting' in difference && difference.setting])
  const copies = ['refused', 'replication factor']
  assert.equal(differences(1), [copies, ['refused', 'min.insync.replicas']])
  assert.equal(differences(2), [copies, ['config', 'min.insync.replicas']])
})

test('a setting of its own is compared with the value in force', () => {
  const wanted = { ...spec, configs: { 'max.message.bytes': '2097152' } }
  assert.equal(planTopics([wanted], [{ ...actual, configs: { ...actual.configs, 'max.message.bytes': '1048588' } }]), [
    { kind: 'config', topic: spec.name, setting: 'max.message.bytes', from: '1048588', to: '2097152' },
  ])
})

test('specifications that cannot be right are refused', () => {
  assert.throws(() => checkSpecs([spec, spec]), /specified twice/)
  assert.throws(() => checkSpecs([{ ...spec, replicationFactor: 1 }]), /nothing could ever be written/)
  checkSpecs([spec])
})

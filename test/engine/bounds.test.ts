import * as assert from 'uvu/assert'
import { test } from '../harness.ts'
import { EngineStage, refusal } from './engine-stage.ts'

// What the daemon holds is bounded, and what is stuck takes its own part of it only.

const times = (count: number, tenant: string) => Array.from({ length: count }, () => tenant)

const none = new Uint8Array(0)

test('a tenant that is stuck and may not be parked pauses its own partition and no other', async () => {
  const stage = new EngineStage({
    stateful: true,
    partitions: 2,
    settings: { budgetRecords: 400, mailboxMaxRecords: 50, parkedMaxPerTenant: 0 },
  })
  stage.state = (tenant) => (tenant === 'stuck' ? { tenant, version: 1, json: '{}', partition: 7 } : undefined)
  await stage.assign()
  for (let i = 0; i < 6; i++) await stage.send(times(10, 'stuck'), 0)
  assert.equal([...stage.paused], [0])
  await stage.send(times(300, 'well'), 1)
  await stage.clock.pass(1_000)
  assert.equal([...stage.paused], [0])
  assert.is(stage.committed.length, 300)
})

test('a tenant whose records are large pauses its partition before it has many', async () => {
  const stage = new EngineStage({ partitions: 2, settings: { mailboxMaxBytes: 3_000 } })
  await stage.assign()
  stage.mute = true
  await stage.send(times(20, 'large'), 0)
  assert.equal([...stage.paused], [0])
})

test('a partition that was paused for one tenant resumes when that one has caught up', async () => {
  const stage = new EngineStage({ settings: { mailboxMaxRecords: 50, parkedMaxPerTenant: 0 } })
  await stage.assign()
  stage.answer = (commit) =>
    commit.outcomes.some(({ tenant }) => tenant === 'slow')
      ? { kind: 'refused', step: 'effect', blame: 'held', failure: refusal('55P03') }
      : { kind: 'committed', commit }
  await stage.send(times(60, 'slow'))
  assert.equal([...stage.paused], [0])
  stage.answer = (commit) => ({ kind: 'committed', commit })
  await stage.clock.pass(10_000)
  assert.equal([...stage.paused], [])
  assert.is(stage.committed.length, 60)
})

test('a record that waits for long does not keep the batch that it came in', async () => {
  const stage = new EngineStage()
  await stage.assign()
  stage.answer = (commit) =>
    commit.outcomes.length > 0
      ? { kind: 'refused', step: 'effect', blame: 'held', failure: refusal('55P03') }
      : { kind: 'committed', commit }
  await stage.send(['waits'])
  const [first] = stage.dispatched
  assert.ok((first?.value?.buffer.byteLength ?? 0) >= 1 << 20)
  await stage.clock.pass(10_000)
  const last = stage.dispatched.at(-1)
  assert.is.not(last, first)
  assert.ok((last?.value?.buffer.byteLength ?? Number.NaN) < 1 << 20)
  assert.equal([last?.key?.toString(), last?.value?.toString()], ['waits', '{}'])
})

test('what decisions want written counts: intake and workers wait until it has been', async () => {
  const stage = new EngineStage({ settings: { budgetBytes: 1_000_000, workerCreditRecords: 10 } })
  await stage.assign()
  stage.weight = 100_000
  stage.answer = () => new Promise(() => {})
  await stage.send(times(200, 'a'))
  assert.ok(stage.engine.status().bytesToWrite < 1_700_000, `${stage.engine.status().bytesToWrite} bytes to be written`)
  assert.equal([...stage.paused], [0])
})

test('one that hangs with much at its worker does not keep out the others', async () => {
  const stage = new EngineStage({ settings: { workerCreditRecords: 800 } })
  await stage.assign()
  await stage.send(times(200, 'hangs'))
  stage.silent.add('hangs')
  await stage.send(times(2_000, 'hangs'))
  assert.is(stage.dispatched.length, 300)
  await stage.send(times(500, 'well'))
  assert.is(stage.committed.length, 700)
  stage.speak()
  await stage.clock.pass(0)
  assert.is(stage.committed.length, 2_700, 'and goes on by itself when it has answered')
})

test('nor does one whose records are large', async () => {
  const stage = new EngineStage({ settings: { workerCreditBytes: 16_000 } })
  await stage.assign()
  stage.silent.add('hangs')
  await stage.send(times(200, 'hangs'))
  await stage.send(times(50, 'well'))
  assert.is(stage.committed.length, 50)
})

test('a commit has no more bytes than it may, effects included', async () => {
  const stage = new EngineStage({ settings: { commitMaxBytes: 1_000_000 } })
  await stage.assign()
  stage.weight = 100_000
  await stage.send(times(200, 'a'))
  assert.is(stage.committed.length, 200)
  assert.ok(Math.max(...stage.sizes) <= 10, `commits of ${stage.sizes.join()}`)
  assert.is(stage.engine.status().bytes, 0)
})

test('instances that wait for their next message have a bound in bytes of state', async () => {
  const stage = new EngineStage({ stateful: true, settings: { idleStateBytes: 1_000_000 } })
  await stage.assign()
  stage.weight = 100_000
  await stage.send(Array.from({ length: 100 }, (_, i) => `t${i}`))
  assert.is(stage.committed.length, 100)
  assert.is(stage.engine.status().mailboxes, 10)
})

test('a lost thread’s idle instances are not read anew before somebody needs them', async () => {
  const stage = new EngineStage({ stateful: true })
  await stage.assign()
  await stage.send(Array.from({ length: 100 }, (_, i) => `t${i}`))
  const asked = stage.statesAsked
  stage.engine.workersListener.lost(0, new Error('gone'), [])
  stage.engine.workersListener.ready(0)
  await stage.clock.pass(1_000)
  assert.is(stage.statesAsked, asked)
  await stage.send(['t1'])
  assert.is(stage.statesAsked, asked + 1)
  assert.is(stage.committed.length, 101)
})

test('what Kafka is asked to write while it does not answer does not queue up', async () => {
  const stage = new EngineStage()
  await stage.assign()
  let asked = 0
  const silence = Promise.withResolvers<'unavailable'>()
  stage.commitOffsets = () => {
    asked++
    return silence.promise
  }
  for (let seconds = 0; seconds < 30; seconds++) {
    await stage.send(['a'])
    await stage.clock.pass(1_000)
  }
  assert.is(asked, 1)
  stage.commitOffsets = async () => {
    asked++
    return 'unavailable'
  }
  silence.resolve('unavailable')
  await stage.clock.pass(1_000)
  assert.is(asked, 2)
  stage.commitOffsets = async () => 'committed'
  await stage.clock.pass(1_000)
  assert.is(stage.engine.status().partitions[0]?.kafkaOffset, 30)
})

test('a partition that goes on past what the log has lost while memory is full stays paused', async () => {
  const stage = new EngineStage({ onOutOfRange: 'earliest', settings: { budgetRecords: 100 } })
  await stage.assign()
  stage.mute = true
  await stage.send(times(100, 'a'))
  assert.equal([...stage.paused], [0])
  // What it asked for before the pause is answered now.
  stage.outOfRange(100, 150, 1_000)
  await stage.clock.pass(0)
  assert.equal([...stage.paused], [0])
})

test('past so many messages that Kafka has not taken, all of a group wait, and go on when it has', async () => {
  const stage = new EngineStage({ partitions: 2, settings: { outboxMaxPending: 3 } })
  const event = { kind: 'publish', topic: 'events', messageId: 'e', key: none, value: none, headers: [] } as const
  stage.effects = () => ({ effects: [event], publishes: true })
  const answers: (() => void)[] = []
  stage.deliver = (messages) =>
    new Promise((resolve) => answers.push(() => resolve(messages.map(() => ({ kind: 'delivered' })))))
  await stage.assign()
  await stage.send(times(3, 'a'))
  assert.equal([...stage.paused], [])
  await stage.send(['b'])
  assert.equal([...stage.paused], [0, 1])
  assert.is(stage.committed.length, 4, 'what is here is committed all the same')
  for (let answer = answers.shift(); answer !== undefined; answer = answers.shift()) {
    answer()
    await stage.clock.pass(0)
  }
  assert.equal([...stage.paused], [])
})

test('what a group cannot publish pauses that group alone, and keeps no other group’s messages', async () => {
  const stage = new EngineStage({ partitions: 2, others: [1], settings: { outboxMaxPending: 3 } })
  let to = 'away'
  stage.effects = () => ({
    effects: [{ kind: 'publish', topic: to, messageId: to, key: none, value: none, headers: [] }],
    publishes: true,
  })
  const taken: string[] = []
  let away = true
  stage.deliver = async (messages) =>
    messages.map(({ topic, tenant }) => {
      if (topic === 'away' && away) return { kind: 'failed', reason: 'it does not exist' }
      taken.push(tenant)
      return { kind: 'delivered' }
    })
  await stage.assign()
  await stage.send(times(10, 'a'))
  assert.equal([...stage.paused], [0])
  to = 'events'
  await stage.send(['b', 'c'], 1)
  await stage.send(['d'], 1)
  assert.equal(taken, ['b', 'c', 'd'])
  assert.equal([...stage.paused], [0], 'the other group goes on')
  assert.is(stage.engine.status().outboxPending, 10)
  away = false
  await stage.clock.pass(5_000)
  assert.equal([...stage.paused], [])
})

test('a position outside the log is gone on from as configured, but never to one that was passed before', async () => {
  for (const [onOutOfRange, position, start, end, goesTo] of [
    ['earliest', 5, 50, 90, 50],
    ['latest', 5, 50, 90, 90],
    ['latest', 5, 0, 3, null],
    ['earliest', 5, 0, 3, null],
    ['stop', 5, 50, 90, null],
  ] as const) {
    const stage = new EngineStage({ onOutOfRange })
    await stage.assign()
    await stage.send(times(5, 'a'))
    stage.outOfRange(position, start, end)
    await stage.clock.pass(0)
    await stage.send(['b'])
    const went = stage.committed.slice(5)
    assert.equal(went, goesTo === null ? [] : [`b/${goesTo}:done`], `${onOutOfRange} of ${start} to ${end}`)
    assert.is(
      stage.reasons.some((reason) => reason.includes('outside the log')),
      goesTo === null,
    )
  }
})

import * as assert from 'uvu/assert'
import { test } from '../harness.ts'
import { CallingWorkers } from './calling-workers.ts'
import { EngineStage } from './engine-stage.ts'

// Records of a tenant that cannot go on wait in PostgreSQL: neither memory, nor progress, nor anybody else waits for it.

const sick = 'sick'

function offsets(stage: EngineStage, tenant: string, kind = 'done'): number[] {
  return stage.committed.flatMap((one) => {
    const [, name, offset, outcome] = /^(.+)\/(\d+):(.+)$/.exec(one) ?? []
    return name === tenant && outcome === kind ? [Number(offset)] : []
  })
}

const times = (count: number, tenant: string) => Array.from({ length: count }, () => tenant)

test('a tenant that fails is parked past its bound, and its partition goes on', async () => {
  const stage = new EngineStage({ settings: { mailboxMaxRecords: 10 } })
  await stage.assign()
  stage.failures.set(0, 3)
  await stage.send(times(30, sick))
  await stage.send(['well'])
  assert.not.ok(stage.paused.has(0))
  assert.equal(offsets(stage, 'well'), [30])
  assert.is(stage.parked.length, 30, 'with the record that failed')
  assert.is(stage.parked[0]?.attempts, 1)
  assert.is(stage.engine.status().bytes, 0, 'and nothing of it is in memory')
  await stage.send([sick])
  await stage.clock.pass(10_000)
  assert.equal(
    offsets(stage, sick),
    Array.from({ length: 32 }, (_, i) => i).filter((i) => i !== 30),
  )
  assert.is(stage.parked.length, 0)
  assert.equal(stage.engine.status().reasons, [])
})

test('a record that fails is counted on while it is parked', async () => {
  const stage = new EngineStage({ settings: { mailboxMaxRecords: 2 } })
  await stage.assign()
  stage.failures.set(0, 9)
  await stage.send([sick, sick, sick, sick])
  await stage.clock.pass(1_000 + 2_000)
  assert.is(stage.parked[0]?.attempts, 1, 'as it was parked: the stage does not count')
  await stage.clock.pass(5_000)
  assert.equal(offsets(stage, sick, 'failed'), [0])
  assert.equal(offsets(stage, sick), [1, 2, 3])
})

test('a handler that takes long does not hold its partition back', async () => {
  const stage = new EngineStage({ settings: { parkAfterCommits: 5 } })
  await stage.assign()
  stage.silent.add(sick)
  await stage.send([sick, sick])
  for (let i = 0; i < 12; i++) await stage.send(['well'])
  assert.is(stage.engine.status().partitions[0]?.watermark, 14)
  assert.equal(
    stage.parked.map(({ record }) => record.offset),
    [0, 1],
  )
  stage.speak()
  await stage.clock.pass(0)
  assert.equal(offsets(stage, sick), [0, 1], 'what it decides in the end is committed')
  assert.is(stage.parked.length, 0)
})

test('nor does it when nothing comes after that would be committed', async () => {
  const stage = new EngineStage({ settings: { parkAfterMs: 5_000 } })
  await stage.assign()
  stage.silent.add(sick)
  await stage.send(['well', sick, 'well', sick, 'well'])
  const watermark = () => stage.engine.status().partitions[0]?.watermark
  await stage.clock.pass(4_000)
  assert.is(watermark(), 1, 'it has its time')
  await stage.clock.pass(3_000)
  assert.is(watermark(), 5)
  assert.equal(
    stage.parked.map(({ record }) => record.offset),
    [1, 3],
  )
  stage.speak()
  await stage.clock.pass(0)
  assert.equal(offsets(stage, sick), [1, 3])
  assert.is(stage.parked.length, 0)
})

test('all that hold a partition that has become quiet are parked together', async () => {
  const stage = new EngineStage({ settings: { parkAfterMs: 5_000 } })
  await stage.assign()
  const many = Array.from({ length: 8 }, (_, i) => `sick${i}`)
  for (const tenant of many) stage.silent.add(tenant)
  await stage.send(many.flatMap((tenant) => [tenant, 'well']))
  await stage.clock.pass(7_000)
  assert.equal([stage.parked.length, stage.engine.status().partitions[0]?.watermark], [8, 16])
})

for (const settings of [{ parkAfterMs: 5_000 }, { parkAfterCommits: 5 }])
  test(`nor do records that come while it still hangs, once its first are parked (${JSON.stringify(settings)})`, async () => {
    const stage = new EngineStage({ settings })
    await stage.assign()
    stage.silent.add(sick)
    const watermark = () => stage.engine.status().partitions[0]?.watermark
    let sent = 0
    for (let round = 0; round < 3; round++) {
      await stage.send([sick, sick, sick, sick, sick, 'well'])
      for (let i = 0; i < 10; i++) await stage.send(['well'])
      sent += 16
      await stage.clock.pass(7_000)
      assert.is(watermark(), sent, `round ${round}`)
    }
    stage.speak()
    await stage.clock.pass(0)
    assert.equal(
      offsets(stage, sick),
      [0, 16, 32].flatMap((first) => [0, 1, 2, 3, 4].map((n) => first + n)),
    )
    assert.is(stage.parked.length, 0)
  })

test('what nobody has passed is not parked: that would move nothing', async () => {
  const stage = new EngineStage({ settings: { parkAfterMs: 5_000 } })
  await stage.assign()
  stage.silent.add(sick)
  await stage.send(['well', sick, sick])
  await stage.clock.pass(60_000)
  assert.is(stage.parked.length, 0)
})

test('a new owner goes on where the last one was, once what that one left undone has come again', async () => {
  const stage = new EngineStage()
  const from = new EngineStage()
  await from.assign()
  from.failures.set(0, 1)
  await from.send([sick, sick, sick])
  // The last owner had the first in flight, and the others parked.
  stage.parked = from.dispatched.slice(1).map((record) => ({
    tenant: sick,
    at: { generation: 0, topicId: '', partition: 0, replays: 0 },
    knownSince: null,
    record,
    attempts: 0,
    firstFailedAt: 0,
    since: 0,
  }))
  stage.ahead = [[1, 3]]
  await stage.assign()
  await stage.clock.pass(1_000)
  assert.equal(stage.committed, [], 'nothing is read back yet')
  await stage.send([sick, sick, sick, sick])
  await stage.clock.pass(0)
  assert.equal(offsets(stage, sick), [0, 1, 2, 3])
  assert.is(stage.parked.length, 0)
})

test('past the space for its parked records a tenant holds its partition, until there is room', async () => {
  const stage = new EngineStage({ settings: { mailboxMaxRecords: 5, parkedMaxPerTenant: 10 } })
  await stage.assign()
  stage.failures.set(0, 3)
  await stage.send(times(12, sick))
  assert.not.ok(stage.paused.has(0))
  await stage.send(times(12, sick))
  assert.ok(stage.paused.has(0))
  await stage.clock.pass(10_000)
  assert.not.ok(stage.paused.has(0))
  assert.is(offsets(stage, sick).length, 24)
})

test('and goes on when there is room, not only when all of it is done', async () => {
  const workers = new CallingWorkers()
  const settings = { mailboxMaxRecords: 20, parkedMaxPerTenant: 200, parkedPageRows: 10 }
  const stage = new EngineStage({ calls: true, workers, settings })
  workers.start(stage.clock, stage.engine.workersListener)
  await stage.assign()
  workers.serves = () => false
  const ten = Array.from({ length: 10 }, () => sick)
  await stage.send(ten)
  await stage.clock.pass(500)
  for (let i = 0; i < 22; i++) await stage.send(ten)
  await stage.clock.pass(4_500)
  for (let i = 0; i < 3; i++) await stage.send(ten)
  assert.ok(stage.paused.has(0))
  workers.serves = () => true
  // It is slow, and never stands still.
  await stage.clock.pass(13_000)
  assert.ok(offsets(stage, sick).length < 150, `${offsets(stage, sick).length} are done`)
  assert.not.ok(stage.paused.has(0))
  await stage.send(['well'])
  await stage.clock.pass(1_000)
  assert.equal(offsets(stage, 'well'), [260])
  await stage.clock.pass(60_000)
  assert.equal(
    offsets(stage, sick),
    Array.from({ length: 260 }, (_, i) => i),
  )
})

test('partitions take turns when parked records are read back, however many tenants one has', async () => {
  const stage = new EngineStage({ partitions: 3 })
  const tenantsOf = (partition: number) =>
    Array.from({ length: partition < 2 ? 1_000 : 1 }, (_, i) => `p${partition}t${i}`)
  const asked: number[] = []
  // Whoever has an answer wants the next page.
  stage.readParked = async ({ partition }, wanted) => {
    asked.push(partition)
    await new Promise<void>((resolve) => void stage.clock.after(10, resolve))
    const rows = wanted.map(({ tenant, after }) => ({
      tenant,
      at: { generation: 0, topicId: '', partition, replays: 0 },
      record: { offset: (after?.offset ?? -1) + 1, timestamp: 0, key: Buffer.from(tenant), value: null, headers: [] },
      attempts: 0,
      firstFailedAt: 0,
      since: 0,
      knownSince: null,
    }))
    stage.parked.push(...rows)
    return { rows, cut: false }
  }
  for (let partition = 0; partition < 3; partition++) {
    stage.parkedTenants = () => tenantsOf(partition).map((tenant) => ({ tenant, rows: 100, replayed: false, since: 0 }))
    await stage.assign(partition)
  }
  await stage.clock.pass(200)
  assert.ok(asked.length > 20)
  assert.ok(asked.slice(0, 10).includes(2), `asked of partitions ${asked.slice(0, 20).join()}`)
})

test('when memory runs short those that wait are parked, the largest first, before anything is paused', async () => {
  const stage = new EngineStage({ settings: { budgetRecords: 100 } })
  await stage.assign()
  stage.failures.set(0, 3)
  stage.failures.set(1, 3)
  await stage.send(['small', sick, 'small', ...times(60, sick)])
  await stage.clock.pass(300)
  await stage.send(times(10, sick))
  assert.not.ok(stage.paused.has(0))
  assert.equal([...new Set(stage.parked.map(({ tenant }) => tenant))], [sick])
  await stage.clock.pass(10_000)
  assert.equal(offsets(stage, 'small'), [0, 2])
  assert.is(offsets(stage, sick).length, 71)
})

test('a pause for want of memory ends though only tenants that wait are left in it', async () => {
  const stage = new EngineStage({
    retry: { delaysMs: [60_000], byType: new Map(), jitter: 0 },
    settings: { budgetRecords: 100 },
  })
  const stuck = (count: number, from: number) => Array.from({ length: count }, (_, i) => `stuck ${from + i}`)
  await stage.assign()
  for (let i = 0; i < 87; i++) stage.failures.set(i, 30)
  await stage.send(stuck(65, 0))
  await stage.send(stuck(7, 65))
  await stage.clock.pass(0)
  assert.is(stage.parked.length, 22, 'as many as are too many, and none for a while')
  await stage.send(stuck(15, 72))
  await stage.send(times(20, 'well'))
  assert.ok(stage.paused.has(0))
  assert.is(offsets(stage, 'well').length, 20)
  await stage.clock.pass(2_000)
  assert.not.ok(stage.paused.has(0))
})

test('while memory is full one parked record is read for somebody to go on, of one tenant at a time', async () => {
  const stage = new EngineStage({ partitions: 3, settings: { budgetRecords: 10 } })
  const key = Buffer.from(sick)
  stage.silent.add('full')
  await stage.assign(2)
  await stage.send(times(12, 'full'), 2)
  const at = { generation: 0, topicId: '', partition: 0, replays: 0 }
  const record = { offset: 0, timestamp: 0, key, value: null, headers: [] }
  stage.parked = [{ tenant: sick, at, record, attempts: 0, firstFailedAt: 0, since: 0, knownSince: null }]
  const asked: number[] = []
  const page = Promise.withResolvers<void>()
  const { readParked } = stage
  stage.readParked = async (ref, wanted, maxBytes) => {
    asked.push(ref.partition)
    await page.promise
    return readParked(ref, wanted, maxBytes)
  }
  await stage.assign(0, 1)
  await stage.clock.pass(2_000)
  assert.is(asked.length, 1)
  page.resolve()
  await stage.clock.pass(2_000)
  assert.equal([asked.length, new Set(asked)], [2, new Set([0, 1])], 'the other follows')
})

test('and not the next before that one is out of memory again, though it fails at once', async () => {
  const stage = new EngineStage({ partitions: 2, settings: { budgetRecords: 10 } })
  stage.silent.add('full')
  await stage.assign(1)
  await stage.send(times(12, 'full'), 1)
  stage.parked = ['a', 'b', 'c'].map((tenant, offset) => {
    stage.failures.set(offset, 30)
    const at = { generation: 0, topicId: '', partition: 0, replays: 0 }
    const record = { offset, timestamp: 0, key: Buffer.from(tenant), value: null, headers: [] }
    return { tenant, at, record, attempts: 0, firstFailedAt: 0, since: 0, knownSince: null }
  })
  const committing = Promise.withResolvers<void>()
  stage.answer = async (commit) => {
    await committing.promise
    return { kind: 'committed', commit }
  }
  const asked: string[] = []
  const { readParked } = stage
  stage.readParked = async (ref, wanted, maxBytes) => {
    asked.push(...wanted.map(({ tenant }) => tenant))
    return readParked(ref, wanted, maxBytes)
  }
  await stage.assign(0)
  await stage.clock.pass(900)
  assert.is(asked.length, 1, asked.join())
  committing.resolve()
  await stage.clock.pass(900)
  assert.equal(new Set(asked), new Set(['a', 'b', 'c']))
})

test('a flood that is not served soon is parked where the partition keeps up, and waits where it is behind', async () => {
  for (const [age, behind, parks] of [
    [0, 0, true],
    // Whoever wrote it has another clock, or none: the log's end is reached all the same.
    [3_600_000, 0, true],
    [60_000, 1, false],
  ] as const) {
    const stage = new EngineStage({ partitions: 2, settings: { mailboxMaxRecords: 5 } })
    await stage.assign()
    stage.mute = true
    await stage.send(['a'], 0, age, behind)
    await stage.send(times(20, 'flood'), 0, age, behind)
    assert.ok(stage.paused.has(0))
    await stage.clock.pass(900)
    await stage.send(['b'], 1)
    assert.is(stage.parked.length > 0, parks)
    assert.is(stage.paused.has(0), !parks)
  }
})

test('a flood that is served as it comes is not parked', async () => {
  const stage = new EngineStage({ settings: { mailboxMaxRecords: 5 } })
  await stage.assign()
  await stage.send(['a'])
  for (let i = 0; i < 10; i++) {
    await stage.send(times(20, 'flood'))
    await stage.clock.pass(100)
    assert.not.ok(stage.paused.has(0))
  }
  assert.equal([stage.parked.length, offsets(stage, 'flood').length], [0, 200])
})

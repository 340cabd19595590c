import * as assert from 'uvu/assert'
import type { KafkaRecord } from '../../core/kafka/source.ts'
import { test } from '../harness.ts'
import { EngineStage } from './engine-stage.ts'

// What an operator puts among the parked records is found there by the partition's owner, whatever the tenant is at.

const sick = 'sick'
/** An owner has looked, and worked on what it has found. */
const looked = 4_000

/** What became of the tenant's records, in order. */
function outcomes(stage: EngineStage): string[] {
  return stage.committed.flatMap((one) => (one.startsWith(`${sick}/`) ? [one.slice(sick.length + 1)] : []))
}

/** As the operator's transaction does: the records of these offsets are parked, brought back once. */
function bringBack(stage: EngineStage, ...offsets: readonly number[]): void {
  for (const offset of offsets) {
    const record = stage.dispatched.find((one) => one.offset === offset)
    if (record === undefined) throw new Error(`nobody has seen ${offset}`)
    const at = { generation: 0, topicId: stage.description.id, partition: 0, replays: 1, holdsKey: true }
    stage.parked.push({ tenant: sick, at, record, attempts: 0, firstFailedAt: 0, since: 0, knownSince: null })
  }
}

/** A stage whose tenant has given the first of its records up. */
async function withLetters(
  offsets: readonly number[],
  settings: ConstructorParameters<typeof EngineStage>[0] = {},
): Promise<EngineStage> {
  const stage = new EngineStage(settings)
  await stage.assign()
  for (const offset of offsets) stage.failures.set(offset, 4)
  await stage.send(Array.from({ length: Math.max(...offsets) + 1 }, () => sick))
  await stage.clock.pass(60_000 * offsets.length)
  assert.equal(
    outcomes(stage).filter((one) => one.endsWith(':failed')),
    offsets.map((offset) => `${offset}:failed`),
  )
  stage.committed.length = 0
  return stage
}

for (const stateful of [false, true]) {
  test(`a tenant at rest gets back what is brought back, in its order${stateful ? ', with its state' : ''}`, async () => {
    const stage = await withLetters([0, 1, 2], { stateful, settings: { idleMailboxes: stateful ? 0 : 1_000 } })
    bringBack(stage, 2, 0, 1)
    await stage.clock.pass(looked)
    assert.equal(outcomes(stage), ['0:done', '1:done', '2:done'])
    assert.equal(stage.parked, [])
    await stage.send([sick])
    await stage.clock.pass(0)
    assert.equal(outcomes(stage).at(-1), '3:done', 'and goes on')
    assert.is(stage.engine.status().bytes, 0)
  })
}

test('where somebody else was faster there is nothing, and the tenant goes on', async () => {
  const stage = await withLetters([0], { stateful: true, settings: { idleMailboxes: 0 } })
  bringBack(stage, 0)
  stage.readParked = async () => ({ rows: [], cut: false })
  await stage.clock.pass(looked)
  stage.parked = []
  await stage.send([sick])
  await stage.clock.pass(0)
  assert.equal(outcomes(stage), ['1:done'])
})

test('a new owner finds what was brought back', async () => {
  const stage = await withLetters([0, 1])
  bringBack(stage, 1)
  await stage.lose()
  bringBack(stage, 0)
  stage.ahead = [[0, 2]]
  await stage.assign()
  await stage.send([sick, sick])
  await stage.clock.pass(looked)
  assert.equal(outcomes(stage), ['0:done', '1:done'])
})

test('a tenant that is parked gets it back, too, although rows of higher offsets keep coming', async () => {
  const stage = await withLetters([0, 1], { settings: { mailboxMaxRecords: 4, parkedPageRows: 2 } })
  for (let offset = 2; offset < 42; offset++) stage.failures.set(offset, 1)
  await stage.send(Array.from({ length: 10 }, () => sick))
  assert.is(stage.parked.length, 10)
  await stage.clock.pass(2_000)
  bringBack(stage, 0, 1)
  for (let sent = 0; sent < 30; sent++) {
    await stage.send([sick])
    await stage.clock.pass(500)
  }
  await stage.clock.pass(60_000)
  assert.equal(stage.parked, [])
  const done = outcomes(stage).flatMap((one) => (one.endsWith(':done') ? [Number.parseInt(one, 10)] : []))
  assert.equal(
    done.filter((offset) => offset > 1),
    Array.from({ length: 40 }, (_, i) => i + 2),
    'newer ones in their order',
  )
  assert.ok(done.indexOf(0) >= 0 && done.indexOf(0) < done.indexOf(1))
  assert.ok(done.indexOf(0) < done.indexOf(20), 'and soon')
})

test('what is brought back is not counted as one of those that wait: none of those is left behind', async () => {
  const stage = await withLetters([0, 1], { settings: { parkedPageRows: 2 } })
  await stage.lose()
  const waiting = [2, 3, 4]
  bringBack(stage, 0)
  const [{ record, at } = fail()] = stage.parked.splice(0)
  for (const offset of waiting)
    stage.parked.push({ ...parkedAt(record, offset), at: { ...at, replays: 0, holdsKey: false } })
  stage.ahead = [[0, 5]]
  await stage.assign()
  // After the new owner has counted.
  bringBack(stage, 0, 1)
  await stage.send([...[0, 1, ...waiting].map(() => sick), sick])
  await stage.clock.pass(looked)
  assert.equal(
    outcomes(stage).filter((one) => one.endsWith(':done')),
    [0, 1, ...waiting, 5].map((offset) => `${offset}:done`),
  )
  assert.equal(stage.parked, [])
})

function parkedAt(record: KafkaRecord, offset: number) {
  return { tenant: sick, record: { ...record, offset }, attempts: 0, firstFailedAt: 0, since: 0, knownSince: null }
}

function fail(): never {
  throw new Error('missing')
}

test('one that fails again is a dead letter again, after attempts of its own', async () => {
  const stage = await withLetters([0])
  stage.failures.set(0, 4)
  bringBack(stage, 0)
  await stage.clock.pass(60_000)
  assert.equal(outcomes(stage), ['0:retried', '0:retried', '0:retried', '0:failed'])
  assert.is(stage.outcomes.at(-1)?.row?.replays, 1)
  assert.equal(stage.parked, [])
})

test('many that are brought back hold nobody’s partition up, and new records follow when they are done', async () => {
  const many = Array.from({ length: 40 }, (_, i) => i)
  const stage = await withLetters(many.slice(0, 3), { settings: { mailboxMaxRecords: 5, parkedPageRows: 4 } })
  stage.silent.add(sick)
  bringBack(stage, 0, 1, 2)
  await stage.clock.pass(looked)
  await stage.send(many.map(() => sick))
  assert.not.ok(stage.paused.has(0))
  stage.speak()
  await stage.clock.pass(looked)
  assert.equal(
    outcomes(stage).filter((one) => one.endsWith('done')),
    [...['0:done', '1:done', '2:done'], ...many.map((i) => `${i + 3}:done`)],
  )
  assert.equal([stage.parked.length, stage.engine.status().bytes], [0, 0])
})

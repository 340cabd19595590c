import * as assert from 'uvu/assert'
import { test } from '../harness.ts'
import { EngineStage } from './engine-stage.ts'

// What hangs at a worker takes none of what the others need.

const many = (count: number, name: string) => Array.from({ length: count }, (_, i) => `${name} ${i}`)
const times = (tenants: readonly string[], each: number) => Array.from({ length: each }, () => tenants).flat()
const others = many(20, 'well')

function done(stage: EngineStage): number {
  return stage.committed.filter((one) => one.startsWith('well ')).length
}

test('beside 100 tenants whose handlers never end the others go on at once', async () => {
  const stage = new EngineStage({ settings: { workerCreditRecords: 1_000 } })
  await stage.assign()
  const hanging = many(100, 'hangs')
  for (const tenant of hanging) stage.silent.add(tenant)
  await stage.send(times(hanging, 50))
  await stage.send(times(others, 20))
  assert.is(done(stage), 400)
})

test('beside 100 tenants whose handlers ended well, and then never do, the others go on in a moment', async () => {
  const stage = new EngineStage({ settings: { workerCreditRecords: 1_000 } })
  await stage.assign()
  const hanging = many(100, 'hangs')
  await stage.send(times(hanging, 200))
  for (const tenant of hanging) stage.silent.add(tenant)
  await stage.send(times(hanging, 200))
  await stage.send(times(others, 20))
  await stage.clock.pass(350)
  assert.is(done(stage), 400)
  // Also of what comes after that.
  await stage.send(times(hanging, 10))
  await stage.send(times(others, 20))
  await stage.clock.pass(0)
  assert.is(done(stage), 800)
})

test('what a worker has stays bounded, whoever hangs, and what was set aside counts again when it goes on', async () => {
  const stage = new EngineStage({ settings: { workerCreditRecords: 100, quantumRecords: 8 } })
  await stage.assign()
  const hanging = many(200, 'hangs')
  for (const tenant of hanging) stage.silent.add(tenant)
  for (let i = 0; i < 5; i++) {
    await stage.send(hanging)
    await stage.clock.pass(500)
  }
  assert.is(stage.engine.status().inFlight, 200)
  await stage.send(others)
  await stage.clock.pass(10_000)
  assert.is(done(stage), 0, 'there is no room for anybody')
  stage.speak()
  await stage.clock.pass(10_000)
  assert.is(stage.engine.status().inFlight, 0)
  assert.is(stage.committed.length, 1_020)
})

for (const drains of [true, false])
  test(`nobody looks for what hangs when the daemon ${drains ? 'has drained' : 'has stopped'}`, async () => {
    const stage = new EngineStage({ settings: { workerCreditRecords: 100, quantumRecords: 8 } })
    await stage.assign()
    const hanging = many(200, 'hangs')
    for (const tenant of hanging) stage.silent.add(tenant)
    await stage.send(times(hanging, 2))
    await stage.clock.pass(1_000)
    const draining = drains ? stage.engine.drain(1_000) : null
    await stage.clock.pass(2_000)
    assert.is((await draining)?.abandoned, drains ? 200 : undefined)
    stage.engine.stop()
    await stage.clock.pass(2_000)
    assert.is(stage.clock.timers, 0)
  })

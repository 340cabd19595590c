import * as assert from 'uvu/assert'
import type { Commit, CommitResult } from '../../core/postgres/transactions.ts'
import { test } from '../harness.ts'
import { EngineStage, refusal } from './engine-stage.ts'

// A commit that does not succeed: whoever is to blame is found, whoever is not goes on, and no message reaches a log.

const tenants = Array.from({ length: 64 }, (_, i) => `t${i}`)

/** Answers `otherwise` for every commit that `tenant` has a part in. */
function poison(tenant: string, otherwise: CommitResult): (commit: Commit) => CommitResult {
  return (commit) =>
    commit.outcomes.some((one) => one.tenant === tenant && one.result.kind === 'done')
      ? otherwise
      : { kind: 'committed', commit }
}

/** Answers `otherwise` for every commit that has effects. */
function everybody(otherwise: CommitResult): (commit: Commit) => CommitResult {
  return (commit) =>
    commit.outcomes.some(({ result }) => result.kind === 'done') ? otherwise : { kind: 'committed', commit }
}

const unanswered = { kind: 'unknown', reason: new Error('PostgreSQL did not answer a commit in time') } as const

for (const [what, result] of [
  ['is never answered in time', unanswered],
  ['uses up a limit of its own', refused('infrastructure', '53400')],
  ['is rolled back by a trigger each time', refused('again', '40001')],
] as const) {
  test(`an effect that ${what} holds up nobody but its own tenant`, async () => {
    const stage = new EngineStage()
    await stage.assign()
    stage.answer = poison('t40', result)
    await stage.send(tenants)
    await stage.clock.pass(60_000)
    assert.is(stage.committed.length, tenants.length - 1)
    assert.not.ok(stage.committed.some((one) => one.startsWith('t40/')))
    stage.answer = (commit) => ({ kind: 'committed', commit })
    await stage.clock.pass(60_000)
    assert.ok(
      stage.committed.some((one) => one.startsWith('t40/')),
      'it goes on as soon as it can',
    )
    assert.equal(stage.reasons, [])
  })
}

test('what fails alone although others commit is a failed attempt after its time, and a dead letter in the end', async () => {
  const stage = new EngineStage()
  await stage.assign()
  stage.answer = poison('t40', refused('infrastructure', '53400'))
  await stage.send(tenants)
  for (let half = 0; half < 12; half++) {
    await stage.send(['t1', 't2'])
    await stage.clock.pass(30_000)
  }
  stage.answer = (commit) => ({ kind: 'committed', commit })
  await stage.clock.pass(60_000)
  assert.equal(
    stage.committed.filter((one) => one.startsWith('t40/')),
    ['t40/40:retried', 't40/40:retried', 't40/40:retried', 't40/40:failed'],
  )
})

test('while nobody can commit, nobody is to blame', async () => {
  const stage = new EngineStage()
  await stage.assign()
  stage.answer = () => refused('infrastructure', '53100')
  await stage.send(tenants)
  await stage.clock.pass(600_000)
  assert.ok(stage.reasons.length > 0, 'and the daemon is not ready')
  stage.answer = (commit) => ({ kind: 'committed', commit })
  await stage.clock.pass(120_000)
  assert.equal(
    stage.committed.filter((one) => !one.endsWith(':done')),
    [],
  )
  assert.is(stage.committed.length, tenants.length)
  assert.equal(stage.reasons, [])
})

test('commits that take too long for their answer become smaller, and grow again', async () => {
  const stage = new EngineStage()
  await stage.assign()
  const slow = async (commit: Commit): Promise<CommitResult> => {
    const ms = commit.outcomes.length * 100
    if (ms > 4_000) return unanswered
    await new Promise<void>((resolve) => void stage.clock.after(ms, resolve))
    return { kind: 'committed', commit }
  }
  stage.answer = slow
  for (let i = 0; i < 8; i++) await stage.send(tenants)
  await stage.clock.pass(120_000)
  assert.is(stage.committed.length, 8 * tenants.length)
  assert.ok(stage.sizes.filter((size) => size > 40).length < 6, `sizes ${stage.sizes.join()}`)
  stage.answer = (commit) => ({ kind: 'committed', commit })
  for (let i = 0; i < 16; i++) await stage.send(tenants)
  assert.ok(Math.max(...stage.sizes.slice(-6)) > 40, 'and large again when they are quick')
})

test('a tenant whose state another partition has waits, and is named; nothing of it is a dead letter', async () => {
  const stage = new EngineStage({ stateful: true })
  await stage.assign()
  stage.answer = poison('t1', refused('statement', 'TY004'))
  await stage.send(['t0', 't1', 't2', 't1'])
  await stage.clock.pass(60_000)
  assert.equal(stage.committed.sort(), ['t0/0:done', 't2/2:done'])
  const said = stage.lines.find(({ event }) => event === 'tenant.blocked')
  assert.match(JSON.stringify(said?.fields), '"tenant":"t1","reason":"state_elsewhere"')
  assert.is(stage.engine.status().blocked[0]?.tenant, 't1')
})

test('what PostgreSQL quotes of a message stays out of log and readiness', async () => {
  const stage = new EngineStage()
  await stage.assign()
  const secret = '4111 1111 1111 1111'
  stage.answer = everybody(refused('statement', '22P02', `invalid input syntax for type integer: "${secret}"`))
  await stage.send(tenants)
  await stage.clock.pass(1_000)
  assert.match(stage.reasons.join(), 'SQLSTATE 22P02: 64 of 64 active tenants fail alike')
  assert.not.match(JSON.stringify([stage.lines, stage.reasons]), secret)
})

test('a failure of everybody ends with its cause: ready again, all processed, no dead letter', async () => {
  const stage = new EngineStage()
  await stage.assign()
  stage.answer = everybody(refused('statement', '42P01', 'no table'))
  await stage.send(tenants)
  await stage.clock.pass(20_000)
  assert.match(stage.reasons.join(), 'no table (SQLSTATE 42P01)')
  stage.answer = (commit) => ({ kind: 'committed', commit })
  await stage.clock.pass(20_000)
  assert.equal(stage.reasons, [])
  assert.is(stage.committed.filter((one) => one.endsWith(':done')).length, tenants.length)
})

function refused(blame: 'infrastructure' | 'again' | 'statement', sqlstate: string, message?: string) {
  return { kind: 'refused', step: 'effect', blame, failure: refusal(sqlstate, message) } as const
}

for (const perCommit of [1, 8]) {
  test(`a table that is dropped costs no dead letter, with commits of ${perCommit}`, async () => {
    const stage = new EngineStage({ settings: { commitMaxRecords: perCommit } })
    await stage.assign()
    const some = tenants.slice(0, 20)
    await stage.send(some)
    stage.answer = everybody(refused('statement', '42P01', 'no table'))
    for (let i = 0; i < 60; i++) {
      await stage.send(some)
      await stage.clock.pass(2_000)
    }
    assert.match(stage.reasons.join(), 'no table')
    assert.equal(
      stage.committed.filter((one) => !one.endsWith(':done')),
      [],
    )
    stage.answer = (commit) => ({ kind: 'committed', commit })
    await stage.clock.pass(30_000)
    assert.is(stage.committed.filter((one) => one.endsWith(':done')).length, 61 * some.length)
    assert.equal(stage.reasons, [])
  })
}

for (const [sqlstate, what, most] of [
  ['42P01', 'a table that one group misses costs it no dead letter', 0],
  ['23514', 'a constraint that all of one group break costs it two dead letters at most', 2],
] as const) {
  test(`${what}, while another has the same messages processed`, async () => {
    const stage = new EngineStage({ partitions: 2, others: [1] })
    await stage.assign()
    const ofOther = ({ outcomes, partitions }: Commit) =>
      outcomes.some(({ partition, result }) => result.kind === 'done' && partitions[partition]?.ref.group === 'h')
    stage.answer = (commit) => (ofOther(commit) ? refused('statement', sqlstate) : { kind: 'committed', commit })
    const some = tenants.slice(0, 20)
    for (let i = 0; i < 30; i++) {
      await stage.send(some, 0)
      if (i === 0) await stage.send(some, 1)
      await stage.clock.pass(1_000)
    }
    assert.ok(stage.deadLetters.length <= most, stage.deadLetters.join())
    assert.match(stage.reasons.join(), sqlstate)
    stage.answer = (commit) => ({ kind: 'committed', commit })
    await stage.clock.pass(30_000)
    assert.is(stage.committed.length, 31 * some.length)
    assert.equal(stage.reasons, [])
  })
}

test('a constraint that everybody breaks costs two dead letters at most, at a low rate, too', async () => {
  const stage = new EngineStage()
  await stage.assign()
  const some = tenants.slice(0, 20)
  await stage.send(some)
  stage.answer = everybody(refused('statement', '23514'))
  for (const tenant of some) {
    await stage.send([tenant])
    await stage.clock.pass(1_000)
  }
  assert.is(stage.committed.filter((one) => one.endsWith(':failed')).length, 2)
  stage.answer = (commit) => ({ kind: 'committed', commit })
  await stage.clock.pass(30_000)
  assert.is(stage.committed.length, 40)
  assert.equal(stage.reasons, [])
})

test('a statement that only one tenant gets wrong is its own failure as soon as another’s like it is processed', async () => {
  const stage = new EngineStage()
  await stage.assign()
  stage.answer = poison('t40', refused('statement', '42703', 'no column'))
  await stage.send(['t40'])
  await stage.clock.pass(30_000)
  assert.equal(stage.committed, [], 'nobody knows yet')
  await stage.send(['t1'])
  await stage.clock.pass(10_000)
  assert.equal(stage.committed, ['t1/1:done', 't40/0:failed'])
  assert.equal(stage.reasons, [])
})

test('a value that is too large for an index is its message’s own fault, also where nobody else sends the like', async () => {
  const stage = new EngineStage()
  await stage.assign()
  stage.answer = poison('t1', refused('statement', '54000', 'index row size 2712 exceeds btree version 4 maximum 2704'))
  await stage.send(['t1', 't1'])
  await stage.clock.pass(1_000)
  assert.equal(stage.committed, ['t1/0:failed', 't1/1:failed'])
  assert.equal(stage.reasons, [])
})

test('progress and dead letters do not show that effects can be written', async () => {
  const stage = new EngineStage({ partitions: 2 })
  await stage.assign()
  stage.answer = everybody(refused('infrastructure', '53100'))
  await stage.send(['t0'], 0)
  await stage.send(['t1'], 1)
  await stage.clock.pass(300_000)
  assert.equal(stage.committed, [])
  stage.answer = (commit) => ({ kind: 'committed', commit })
  await stage.clock.pass(120_000)
  assert.equal(stage.committed.sort(), ['t0/0:done', 't1/0:done'])
})

test('a statement of ours that takes too long is given less', async () => {
  const stage = new EngineStage()
  await stage.assign()
  const slow = { kind: 'refused', step: 'own', blame: 'held', failure: refusal('57014') } as const
  stage.answer = (commit) => (commit.outcomes.length > 20 ? slow : { kind: 'committed', commit })
  await stage.send(tenants)
  await stage.clock.pass(30_000)
  assert.is(stage.committed.length, tenants.length)
  assert.equal(stage.reasons, [])
})

test('who failed with the others and then cannot read its state keeps nobody from being ready', async () => {
  const stage = new EngineStage({ stateful: true })
  await stage.assign()
  const some = tenants.slice(0, 5)
  stage.answer = everybody(refused('statement', '42P01', 'no table'))
  await stage.send(some)
  stage.state = (tenant) => (tenant === 't0' ? { tenant, version: 1, json: '{}', partition: 7 } : undefined)
  stage.answer = (commit) => ({ kind: 'committed', commit })
  await stage.clock.pass(30_000)
  assert.is(stage.committed.length, 4)
  assert.is(stage.engine.status().blocked.length, 1)
  assert.equal(stage.reasons, [])
})

test('a blocked tenant has nothing in flight', async () => {
  const stage = new EngineStage({ stateful: true })
  await stage.assign()
  stage.unreadable = true
  await stage.send(['t0', 't0'])
  assert.is(stage.engine.status().inFlight, 0)
  let drained: { abandoned: number } | undefined
  void stage.engine.drain(5_000).then((result) => (drained = result))
  await stage.clock.pass(1_000)
  assert.equal(drained, { abandoned: 0 })
})

test('a table that workers were not told of is looked for before any message is blamed for it', async () => {
  const stage = new EngineStage()
  await stage.assign()
  stage.lacking.add('t1')
  stage.tables.away = true
  await stage.send(['t1', 't2', 't1'])
  await stage.clock.pass(120_000)
  assert.equal(stage.committed, ['t2/1:done'], 'nobody can say whether there is such a table')
  assert.ok(stage.tables.looks > 2)
  stage.tables.away = false
  await stage.clock.pass(30_000)
  stage.lacking.clear()
  await stage.clock.pass(30_000)
  assert.equal(stage.committed, ['t2/1:done', 't1/0:done', 't1/2:done'])
})

test('a message that names a table that never was is a dead letter, by itself', async () => {
  const stage = new EngineStage()
  await stage.assign()
  stage.lacking.add('t1')
  await stage.send(['t1', 't2'])
  await stage.clock.pass(5_000)
  assert.equal(stage.committed, ['t2/1:done', 't1/0:failed'])
  assert.equal(stage.deadLetters, ['0: effect, attempt 1'])
  assert.equal(stage.reasons, [])
})

test('a table that all workers miss costs nobody a dead letter, however long it is away', async () => {
  const stage = new EngineStage()
  await stage.assign()
  for (const tenant of tenants) stage.lacking.add(tenant)
  await stage.send(tenants)
  await stage.clock.pass(900_000)
  assert.equal(stage.committed, [])
  assert.match(stage.reasons.join(), /^effects: no table \(SQLSTATE 42P01\): nobody else has had the like/)
  stage.lacking.clear()
  await stage.clock.pass(10_000)
  assert.is(stage.committed.filter((one) => one.endsWith(':done')).length, tenants.length)
  assert.equal(stage.reasons, [])
})

test('a table that only some miss whose like others have processed is those messages’ own fault', async () => {
  const stage = new EngineStage()
  await stage.assign()
  for (const tenant of ['t1', 't2', 't3', 't4']) stage.lacking.add(tenant)
  await stage.send(tenants)
  for (let i = 0; i < 30; i++) {
    await stage.send(['t7', 't8'])
    await stage.clock.pass(1_000)
  }
  assert.equal(
    stage.deadLetters.sort(),
    [1, 2, 3, 4].map((offset) => `${offset}: effect, attempt 1`),
  )
  assert.equal(stage.reasons, [])
})

test('what all handlers find missing when they read is nobody’s fault, once their attempts are used up', async () => {
  const stage = new EngineStage()
  await stage.assign()
  stage.sqlstate = '42P01'
  tenants.forEach((_, offset) => stage.failures.set(offset, 1_000))
  await stage.send(tenants)
  await stage.clock.pass(300_000)
  assert.equal(stage.deadLetters, [])
  assert.match(stage.reasons.join(), /SQLSTATE 42P01.*: nobody else has had the like/)
  stage.failures.clear()
  await stage.clock.pass(10_000)
  assert.is(stage.committed.filter((one) => one.endsWith(':done')).length, tenants.length)
  assert.equal(stage.reasons, [])
})

test('what one handler alone finds missing when it reads is its message’s fault once others have read the like', async () => {
  const stage = new EngineStage()
  await stage.assign()
  stage.sqlstate = '42P01'
  stage.failures.set(0, 1_000)
  await stage.send(tenants)
  await stage.clock.pass(60_000)
  assert.equal(stage.deadLetters, [])
  await stage.send(['t5', 't6'])
  await stage.clock.pass(60_000)
  assert.equal(stage.deadLetters, ['0: handler, attempt 4'])
  assert.equal(stage.reasons, [])
})

test('a message that ran before its worker heard of the tables is not blamed for what they lacked', async () => {
  const stage = new EngineStage()
  await stage.assign()
  stage.lacking.add('t1')
  stage.tables.away = true
  await stage.send(['t1'])
  stage.silent.add('t1')
  const began = stage.clock.monotonic() + 1
  await stage.clock.pass(5_000)
  // The look has ended while the second run was under way with the tables of before.
  stage.looked(began)
  await stage.clock.pass(10)
  stage.speak()
  await stage.clock.pass(10)
  assert.equal(stage.committed, [])
  stage.lacking.clear()
  await stage.clock.pass(60_000)
  assert.equal(stage.committed, ['t1/0:done'])
})

test('a look from before a message was refused says nothing of it, whatever it was held for then', async () => {
  const stage = new EngineStage()
  await stage.assign()
  stage.answer = everybody({ kind: 'refused', step: 'effect', blame: 'held', failure: refusal('55P03') })
  await stage.send(['t1'])
  await stage.clock.pass(3_000)
  stage.looked(stage.clock.monotonic())
  stage.tables.away = true
  stage.lacking.add('t1')
  stage.answer = (commit) => ({ kind: 'committed', commit })
  await stage.clock.pass(60_000)
  assert.equal(stage.committed, [])
  stage.lacking.clear()
  await stage.clock.pass(60_000)
  assert.equal(stage.committed, ['t1/0:done'])
})

test('a value that no column takes is its message’s own fault as soon as the tables were looked at', async () => {
  const stage = new EngineStage()
  stage.lackingState = '22000'
  await stage.assign()
  for (const tenant of tenants) stage.lacking.add(tenant)
  await stage.send(tenants)
  await stage.clock.pass(10)
  assert.equal(stage.committed, [])
  await stage.clock.pass(500)
  assert.is(stage.deadLetters.length, tenants.length)
  assert.equal(stage.reasons, [])
})

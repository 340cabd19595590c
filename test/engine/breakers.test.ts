import * as assert from 'uvu/assert'
import type { BreakerRow } from '../../core/postgres/transactions.ts'
import { test } from '../harness.ts'
import { CallingWorkers } from './calling-workers.ts'
import { EngineStage, stageSettings, type StageOptions } from './engine-stage.ts'

// What an actor calls is away: no attempt is counted, no dead letter written, and nobody else waits.

const second = 1_000
const minute = 60 * second

function tenants(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `t${i}`)
}

/** An engine whose only actor calls a dependency, and the rows of its breakers as commits have left them. */
function begin(options: StageOptions = {}) {
  const workers = new CallingWorkers()
  const stage = new EngineStage({ ...options, calls: true, workers })
  workers.start(stage.clock, stage.engine.workersListener)
  const rows = new Map<string, BreakerRow>()
  const attempts: number[] = []
  stage.answer = (commit) => {
    for (const { result } of commit.outcomes) if (result.kind === 'retried') attempts.push(result.attempts)
    for (const { breakers } of commit.partitions) {
      for (const change of breakers) {
        if (change.state === 'closed') rows.delete(change.tenant)
        else rows.set(change.tenant, change)
      }
    }
    return { kind: 'committed', commit }
  }
  return { stage, workers, rows, attempts }
}

/** Lines of the log about breakers, as `event tenant`. */
function news(stage: EngineStage): string[] {
  return stage.lines.flatMap(({ event, fields }) =>
    event.startsWith('breaker.') && 'tenant' in fields ? [`${event} ${String(fields.tenant)}`] : [],
  )
}

/** What became of each record, per tenant. */
function outcomes(stage: EngineStage): Map<string, { offset: number; kind: string }[]> {
  const all = new Map<string, { offset: number; kind: string }[]>()
  for (const one of stage.committed) {
    const [, tenant = '', offset = '', kind = ''] = /^(.*)\/(\d+):(.*)$/.exec(one) ?? []
    if (kind !== 'retried' && kind !== 'parked')
      all.set(tenant, [...(all.get(tenant) ?? []), { offset: Number(offset), kind }])
  }
  return all
}

test('a dependency away for ten minutes costs 1,000 tenants no dead letter, and each its order', async () => {
  const { stage, workers, rows } = begin({ partitions: 4 })
  await stage.assign()
  const all = tenants(1_000)
  const send = async () => {
    for (let partition = 0; partition < 4; partition++)
      await stage.send(
        all.filter((_, i) => i % 4 === partition),
        partition,
      )
  }
  workers.serves = () => stage.clock.monotonic() > 10 * minute
  await send()
  await stage.clock.pass(10 * second)
  assert.ok(workers.calls.length <= 3_000, `${workers.calls.length} calls until it was known to be away`)

  workers.most = 0
  for (let i = 1; i < 10; i++) {
    await send()
    await stage.clock.pass(minute)
  }
  assert.is(workers.most, 1, 'one probe at a time')
  assert.is(workers.since(10 * second), 9)
  assert.is(new Set(workers.calls.slice(-9).map(({ tenant }) => tenant)).size, 9, 'each from another tenant')
  assert.equal(news(stage), ['breaker.opened '], 'one line')
  assert.equal([...rows.keys()], [''], 'one row')
  assert.equal(stage.engine.status().breakers, [{ group: 'g', actor: 'a', dependency: 'api', scope: 'all', count: 1 }])
  assert.is(stage.engine.status().waitingTenants.dependency, 1_000)

  await stage.clock.pass(3 * minute)
  const done = outcomes(stage)
  assert.is(done.size, 1_000)
  for (const records of done.values()) {
    assert.is(records.length, 10)
    assert.ok(records.every(({ kind }) => kind === 'done'))
    assert.equal(
      records,
      records.toSorted((a, b) => a.offset - b.offset),
    )
  }
  assert.equal(news(stage), ['breaker.opened ', 'breaker.closed '])
  assert.is(rows.size, 0)
  assert.is(stage.engine.status().waitingTenants.dependency, 0)
  const perSecond = new Map<number, number>()
  for (const { at } of workers.calls.filter(({ ok }) => ok))
    perSecond.set(Math.floor(at / second), (perSecond.get(Math.floor(at / second)) ?? 0) + 1)
  const [first = 0, next = 0] = [...perSecond.values()]
  assert.ok(first <= 130 && next <= 330, `they go on in steps: ${[...perSecond.values()].join(' ')}`)
})

test('a tenant whose calls fail waits alone, and the others do not', async () => {
  const { stage, workers, rows } = begin()
  await stage.assign()
  workers.serves = (tenant) => tenant !== 'sick'
  await stage.send(['sick', 'sick', ...tenants(5)])
  for (let i = 0; i < 10; i++) {
    await stage.send(tenants(5))
    await stage.clock.pass(minute)
  }
  assert.is(workers.since(0, 'sick'), 5 + 9, 'five until it opened, then one a minute')
  assert.is(outcomes(stage).get('t0')?.length, 11)
  assert.equal([...rows.keys()], ['sick'])
  assert.equal(news(stage), ['breaker.opened sick'])

  workers.serves = () => true
  await stage.clock.pass(2 * minute)
  assert.equal(outcomes(stage).get('sick'), [
    { offset: 0, kind: 'done' },
    { offset: 1, kind: 'done' },
  ])
  assert.equal(rows.size, 0)
})

test('in half-open one record goes, and the next only when it has succeeded', async () => {
  const { stage, workers } = begin()
  await stage.assign()
  workers.serves = (tenant) => tenant !== 'sick'
  await stage.send([...Array.from({ length: 50 }, () => 'sick'), 'well'])
  await stage.clock.pass(30 * second)
  workers.serves = () => true
  workers.callMs = 20 * second
  workers.most = 0
  const from = stage.clock.monotonic()
  await stage.clock.pass(75 * second)
  assert.is(workers.since(from, 'sick'), 2)
  await stage.clock.pass(minute)
  assert.ok(workers.since(from, 'sick') > 2)
  assert.is(workers.most, 1)
})

test('failures of a dependency are no attempts, and do not use up those of the handler', async () => {
  const { stage, workers, attempts } = begin()
  await stage.assign()
  workers.serves = () => stage.clock.monotonic() > 5 * minute
  await stage.send(['a'])
  await stage.clock.pass(10 * minute)
  assert.equal(outcomes(stage).get('a'), [{ offset: 0, kind: 'done' }])
  assert.ok(attempts.length > 5)
  assert.equal([...new Set(attempts)], [0])
})

test('a record that has waited too long since its own first failure is a dead letter', async () => {
  const { stage, workers } = begin()
  await stage.assign()
  workers.serves = () => false
  await stage.send(['a'])
  await stage.clock.pass(23 * 60 * minute)
  assert.equal(outcomes(stage).size, 0)
  await stage.send(['a'])
  await stage.clock.pass(70 * minute)
  assert.equal(outcomes(stage).get('a'), [{ offset: 0, kind: 'failed' }])
  await stage.clock.pass(22 * 60 * minute)
  assert.is(outcomes(stage).get('a')?.length, 1, 'the next has its own time')
  await stage.clock.pass(3 * 60 * minute)
  assert.is(outcomes(stage).get('a')?.length, 2)
})

test('since when a record waits outlives its owner', async () => {
  const { stage, workers } = begin()
  const day = 24 * 60 * minute
  stage.retries = [{ offset: 0, attempts: 0, firstFailedAt: stage.serverTime() - day + 30 * second }]
  await stage.assign()
  workers.serves = () => false
  await stage.send(['a'])
  await stage.clock.pass(5 * minute)
  assert.equal(outcomes(stage).get('a'), [{ offset: 0, kind: 'failed' }])
})

test('who waits for a dependency is told with what it waits for', async () => {
  const { stage, workers } = begin()
  await stage.assign()
  workers.serves = (tenant) => tenant !== 'sick'
  await stage.send(['sick', 'well'])
  await stage.clock.pass(20 * second)
  const told = (tenant: string) => stage.engine.stuck({ longerThanMs: 5_000, limit: 50, tenant }).tenants[0]
  const sick = told('sick')
  assert.equal([sick?.waitsFor, sick?.reason, sick?.attempts], ['dependency', 'api is away', 0])
  assert.equal(sick?.until, new Date(stage.clock.now() + 53_500).toISOString())
  assert.match(sick?.lastError ?? '', /dependency/)

  workers.serves = () => false
  await stage.send(tenants(20))
  await stage.clock.pass(20 * second)
  assert.is(told('t3')?.reason, 'api is away for most tenants')
  stage.requests = { trips: [{ id: 1, group: 'g', actor: 'a', dependency: 'api', tenant: 'new' }], resets: [] }
  await stage.clock.pass(2 * second)
  await stage.send(['new'])
  await stage.clock.pass(20 * second)
  assert.is(told('new')?.reason, 'an operator keeps it from api')
})

test('what is parked while a dependency is away comes back for its turn, in order', async () => {
  const { stage, workers, rows } = begin({ settings: { mailboxMaxRecords: 4 } })
  await stage.assign()
  workers.serves = () => stage.clock.monotonic() > 5 * minute
  const all = tenants(20)
  for (let i = 0; i < 12; i++) {
    await stage.send(all)
    await stage.clock.pass(10 * second)
  }
  assert.ok(stage.parked.length > 100, `${stage.parked.length} parked`)
  assert.equal([...stage.paused], [], 'and nothing is paused')
  const from = stage.clock.monotonic()
  workers.most = 0
  await stage.clock.pass(3 * minute)
  assert.is(workers.since(from), 3)
  assert.is(workers.most, 1)
  await stage.clock.pass(3 * minute)
  for (const records of outcomes(stage).values()) {
    assert.is(records.length, 12)
    assert.ok(records.every(({ kind }) => kind === 'done'))
    assert.equal(
      records,
      records.toSorted((a, b) => a.offset - b.offset),
    )
  }
  assert.is(stage.parked.length, 0)
  assert.is(rows.size, 0)
})

test('a tenant whose records are all parked when its partition is taken over waits for its breaker, too', async () => {
  const { stage, workers } = begin()
  const row = { actor: 'a', tenant: 'sick', dependency: 'api', state: 'open', failures: 5, successes: 0 } as const
  stage.breakers = [{ ...row, probeAt: stage.clock.now() + 40 * second }]
  stage.parked = [0, 1, 2].map((offset) => ({
    tenant: 'sick',
    at: { generation: 0, topicId: stage.description.id, partition: 0, replays: 0 },
    record: { offset, timestamp: 0, key: Buffer.from('sick'), value: Buffer.from('{}'), headers: [] },
    attempts: 0,
    firstFailedAt: 0,
    since: 0,
    knownSince: null,
  }))
  stage.ahead = [[0, 3]]
  await stage.assign()
  await stage.send(['sick', 'sick', 'sick'])
  await stage.clock.pass(39 * second)
  assert.is(workers.since(0), 0)
  await stage.clock.pass(10 * second)
  assert.equal(
    workers.calls.map(({ offset }) => offset),
    [0, 1, 2],
  )
})

test('a breaker that an earlier owner has left keeps the tenant, whatever comes first', async () => {
  for (const stateful of [false, true]) {
    const { stage, workers, rows } = begin({ stateful })
    const row = { actor: 'a', tenant: 'sick', dependency: 'api', state: 'open', failures: 5, successes: 0 } as const
    stage.breakers = [{ ...row, probeAt: stage.clock.now() + 40 * second }]
    await stage.assign()
    await stage.send(['well', 'sick', 'sick', 'sick'])
    await stage.clock.pass(39 * second)
    assert.is(workers.since(0, 'sick'), 0)
    assert.is(workers.since(0, 'well'), 1)
    await stage.clock.pass(10 * second)
    assert.is(outcomes(stage).get('sick')?.length, 3)
    assert.is(rows.size, 0)
  }
})

for (const [days, mailboxMaxRecords] of [
  [2, 1_000],
  [2, 1],
  [-2, 1],
] as const)
  test(`a clock that is set by ${days} days makes nobody wait for too long${mailboxMaxRecords === 1 ? ', parked or not' : ''}`, async () => {
    const breaker = { ...stageSettings.breaker, maxWaitMs: 60 * minute }
    const { stage, workers } = begin({ settings: { mailboxMaxRecords, breaker } })
    await stage.assign()
    workers.serves = () => false
    await stage.send([...tenants(10), ...tenants(10), ...tenants(10)])
    await stage.clock.pass(10 * minute)
    stage.clock.step(days * 24 * 60 * minute)
    await stage.clock.pass(40 * minute)
    assert.equal([...outcomes(stage)], [], 'nobody is given up')
    workers.serves = (tenant) => tenant !== 't3'
    await stage.clock.pass(30 * minute)
    assert.is(outcomes(stage).get('t0')?.length, 3)
    assert.equal(outcomes(stage).get('t3')?.[0], { offset: 3, kind: 'failed' }, 'but who has waited so long')
  })

test('a mailbox that is forgotten while nothing is in it does not forget its breaker', async () => {
  const breaker = { ...stageSettings.breaker, maxWaitMs: 15 * second }
  const { stage, workers } = begin({ settings: { idleMailboxes: 0, breaker } })
  await stage.assign()
  workers.serves = (tenant) => tenant !== 'sick'
  await stage.send(['sick', 'well'])
  await stage.clock.pass(80 * second)
  assert.equal(outcomes(stage).get('sick'), [{ offset: 0, kind: 'failed' }])
  assert.is(stage.engine.status().mailboxes, 0)
  workers.serves = () => true
  const from = stage.clock.monotonic()
  await stage.send(['sick', 'sick', 'sick'])
  await stage.clock.pass(50 * second)
  assert.is(workers.since(from, 'sick'), 0)
  await stage.clock.pass(15 * second)
  assert.is(workers.since(from, 'sick'), 3)
})

for (const idleMailboxes of [0, 1_000]) {
  test(`a dead letter that is brought back while its tenant's breaker is open waits for it, and goes then${idleMailboxes === 0 ? ', although its mailbox was forgotten' : ''}`, async () => {
    const breaker = { ...stageSettings.breaker, maxWaitMs: 15 * second }
    const { stage, workers } = begin({ settings: { idleMailboxes, breaker } })
    await stage.assign()
    workers.serves = (tenant) => tenant !== 'sick'
    await stage.send(['sick', 'well'])
    await stage.clock.pass(80 * second)
    assert.equal(outcomes(stage).get('sick'), [{ offset: 0, kind: 'failed' }])
    workers.serves = () => true
    const from = stage.clock.monotonic()
    const at = { generation: 0, topicId: stage.description.id, partition: 0, replays: 1, holdsKey: true }
    const record = { offset: 0, timestamp: 0, key: Buffer.from('sick'), value: Buffer.from('{}'), headers: [] }
    stage.parked = [{ tenant: 'sick', at, record, attempts: 0, firstFailedAt: 0, since: 0, knownSince: null }]
    await stage.clock.pass(50 * second)
    assert.is(workers.since(from, 'sick'), 0)
    await stage.clock.pass(20 * second)
    assert.is(workers.since(from, 'sick'), 1)
    assert.equal(outcomes(stage).get('sick')?.at(-1), { offset: 0, kind: 'done' })
    assert.equal(stage.parked, [])
  })
}

test('a probe that never answers is given up, and the next goes a minute later', async () => {
  const { stage, workers } = begin()
  await stage.assign()
  workers.serves = (tenant) => tenant !== 'sick'
  await stage.send(['sick', 'well'])
  await stage.clock.pass(20 * second)
  workers.serves = () => null
  await stage.clock.pass(2.5 * minute)
  assert.is(workers.since(0, 'sick'), 6)
  workers.serves = () => true
  await stage.clock.pass(2 * minute)
  assert.equal(outcomes(stage).get('sick'), [{ offset: 0, kind: 'done' }])
})

test('a trip keeps an actor’s records, and a reset lets them go', async () => {
  const { stage, workers } = begin()
  await stage.assign()
  await stage.send(tenants(20))
  await stage.clock.pass(second)
  const of = { group: 'g', actor: 'a', dependency: 'api' }
  stage.requests = { trips: [{ id: 1, ...of, tenant: '' }], resets: [] }
  await stage.clock.pass(2 * second)
  await stage.send(tenants(20))
  await stage.clock.pass(10 * minute)
  assert.is(workers.calls.length, 20)
  assert.is(stage.engine.status().waitingTenants.dependency, 20)
  stage.requests = { trips: [], resets: [{ id: 2, ...of, tenant: '' }] }
  await stage.clock.pass(10 * second)
  assert.is(workers.calls.length, 40)
  assert.equal(news(stage), ['breaker.tripped ', 'breaker.reset '])
})

test('a trip that is in force when a daemon begins keeps the first records, too', async () => {
  const trip = { id: 1, group: 'g', actor: 'a', dependency: 'api', tenant: '' }
  const { stage, workers } = begin({ requests: { trips: [trip], resets: [] } })
  await stage.assign()
  await stage.send(tenants(20))
  await stage.clock.pass(10 * second)
  assert.is(workers.calls.length, 0)
  assert.is(stage.engine.status().waitingTenants.dependency, 20)
})

test('a reset lets a tenant go before its time, once', async () => {
  const of = { group: 'g', actor: 'a', dependency: 'api' }
  const old = { id: 1, ...of, tenant: 'sick' }
  const { stage, workers } = begin({ requests: { trips: [], resets: [old] } })
  await stage.assign()
  workers.serves = (tenant) => tenant !== 'sick'
  await stage.send(['sick', 'well'])
  await stage.clock.pass(20 * second)
  assert.is(workers.since(0, 'sick'), 5, 'an old one is done already')
  workers.serves = () => true
  stage.requests = { trips: [], resets: [old, { ...old, id: 2 }] }
  await stage.clock.pass(3 * second)
  assert.is(workers.since(0, 'sick'), 6)
  assert.equal(news(stage), ['breaker.opened sick', 'breaker.reset sick', 'breaker.closed sick'])
})

test('a reset while a probe is under way lets what comes after it go', async () => {
  const { stage, workers } = begin()
  await stage.assign()
  workers.serves = (tenant) => tenant !== 'sick'
  await stage.send(['sick', 'sick', 'sick', 'well'])
  await stage.clock.pass(20 * second)
  workers.serves = () => true
  workers.callMs = 10 * second
  await stage.clock.pass(55 * second)
  assert.is(workers.running, 1, 'the probe')
  stage.requests = { trips: [], resets: [{ id: 1, group: 'g', actor: 'a', dependency: 'api', tenant: '' }] }
  await stage.clock.pass(35 * second)
  assert.is(outcomes(stage).get('sick')?.length, 3)
  await stage.clock.pass(2 * minute)
  assert.is(workers.since(0, 'sick'), 5 + 3, 'and nothing is called twice')
})

test('what is away when a partition is given up is left for its next owner', async () => {
  const { stage, workers, rows } = begin()
  await stage.assign()
  workers.serves = () => false
  await stage.send(tenants(20))
  await stage.clock.pass(20 * second)
  assert.equal([...rows.keys()], [''])
  await stage.revoke()
  await stage.clock.pass(5 * minute)
  assert.equal([...rows.keys()], [''])
})

test('a drain leaves breakers as they are', async () => {
  const { stage, workers, rows } = begin()
  await stage.assign()
  workers.serves = () => false
  await stage.send(tenants(20))
  await stage.clock.pass(30 * second)
  workers.callMs = 10 * second
  await stage.clock.pass(35 * second)
  const drained = stage.engine.drain(60 * second)
  await stage.clock.pass(2 * minute)
  await drained
  assert.equal([...rows.keys()], [''])
})

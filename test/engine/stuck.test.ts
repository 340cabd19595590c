import * as assert from 'uvu/assert'
import { noneWait } from '../../core/metrics.ts'
import type { StuckQuery } from '../../core/stuck-report.ts'
import { Item } from '../../supervisors/item.ts'
import { Mailbox } from '../../supervisors/mailbox.ts'
import { stuckOf } from '../../supervisors/stuck.ts'
import { test } from '../harness.ts'
import { partition } from '../unit/engine-ports.ts'
import { CallingWorkers } from './calling-workers.ts'
import { EngineStage, refusal } from './engine-stage.ts'

// Which tenants do not go on, and what each of them waits for, said from memory while it is so.

const none = new Uint8Array(0)

const usual: StuckQuery = { longerThanMs: 5_000, limit: 50 }

function ask(stage: EngineStage, query: Partial<StuckQuery> = {}) {
  return stage.engine.stuck({ ...usual, ...query })
}

/** The one tenant that is stuck. */
function only(stage: EngineStage) {
  const { tenants } = ask(stage)
  assert.is(tenants.length, 1, JSON.stringify(tenants))
  const [one] = tenants
  if (one === undefined) throw new Error('nobody is stuck')
  return one
}

test('a tenant that goes on is not stuck, but is shown to whoever asks for it', async () => {
  const stage = new EngineStage()
  await stage.assign()
  stage.silent.add('slow')
  await stage.send(['slow', 'well'])
  await stage.clock.pass(4_000)
  assert.equal(ask(stage).tenants, [])
  const { tenants } = ask(stage, { tenant: 'slow' })
  assert.equal(
    tenants.map(({ tenant, waitsFor, stuckForMs }) => ({ tenant, waitsFor, stuckForMs })),
    [{ tenant: 'slow', waitsFor: 'running', stuckForMs: 4_000 }],
  )
  assert.equal(ask(stage, { tenant: 'well' }).tenants, [])
})

test('a handler that does not come to an end runs, on its worker, since it was sent there', async () => {
  const stage = new EngineStage()
  await stage.assign()
  stage.silent.add('slow')
  await stage.send(['well', 'slow', 'slow'], 0, 60_000)
  await stage.clock.pass(7_000)
  const { group, topic, partition: number, ...one } = only(stage)
  assert.equal([group, topic, number], ['g', 't', 0])
  assert.equal(one, {
    tenant: 'slow',
    stuckForMs: 7_000,
    waitsFor: 'running',
    reason: '',
    until: null,
    forMs: 7_000,
    worker: 0,
    oldest: { offset: 1, writtenForMs: 67_000, hereForMs: 7_000 },
    attempts: 0,
    lastError: null,
    queued: 0,
    inFlight: 2,
    uncommitted: 0,
    parked: 0,
  })
})

test('what was decided before does not count for how long the next one runs', async () => {
  const stage = new EngineStage()
  await stage.assign()
  stage.silent.add('a')
  await stage.send(['a', 'a'])
  await stage.clock.pass(6_000)
  stage.speakOnce()
  await stage.clock.pass(500)
  assert.equal([only(stage).waitsFor, only(stage).forMs, only(stage).stuckForMs], ['running', 500, 6_500])

  const again = new EngineStage({ retry: { delaysMs: [6_000], byType: new Map(), jitter: 0 } })
  await again.assign()
  again.failures.set(0, 1)
  await again.send(['a'])
  again.silent.add('a')
  await again.clock.pass(6_000 + 500)
  assert.equal([only(again).waitsFor, only(again).forMs, only(again).attempts], ['running', 500, 1])
  assert.is(only(again).lastError, 'handler: Error', 'of the attempt before')
})

test('one that is tried again says when, how often it has failed, and by what, but not the error’s own words', async () => {
  const stage = new EngineStage({ retry: { delaysMs: [60_000], byType: new Map(), jitter: 0 } })
  await stage.assign()
  stage.failures.set(0, 1)
  await stage.send(['sick', 'sick', 'well'])
  await stage.clock.pass(10_000)
  const { waitsFor, until, attempts, lastError, queued } = only(stage)
  assert.equal(
    { waitsFor, until, attempts, lastError, queued },
    {
      waitsFor: 'retry',
      until: new Date(stage.clock.now() + 50_000).toISOString(),
      attempts: 1,
      lastError: 'handler: Error',
      queued: 2,
    },
  )
})

test('one that is blocked says what to do, one that is held says what holds it', async () => {
  for (const [reason, remedy] of [
    ['state_unreadable', /^state_unreadable: .*release an actor that reads it/],
    ['outbox_in_offset_mode', /^outbox_in_offset_mode: .*release the actor in message-id mode/],
  ] as const) {
    const blocked = new EngineStage({ stateful: true })
    await blocked.assign()
    blocked.unreadable = true
    blocked.blockedBy = reason
    await blocked.send(['a'])
    await blocked.clock.pass(6_000)
    assert.is(only(blocked).waitsFor, 'blocked')
    assert.match(only(blocked).reason, remedy)
    assert.equal(blocked.outcomes, [])
  }

  const held = new EngineStage()
  await held.assign()
  held.answer = (commit) =>
    commit.outcomes.some(({ tenant }) => tenant === 'a')
      ? { kind: 'refused', step: 'effect', blame: 'held', failure: refusal('55P03', 'lock not available') }
      : { kind: 'committed', commit }
  await held.send(['a', 'b'])
  await held.clock.pass(6_000)
  assert.is(only(held).waitsFor, 'held')
  assert.match(only(held).reason, /lock not available \(SQLSTATE 55P03\)/)
  assert.ok(only(held).until !== null)
})

test('one that a breaker keeps says which, and when that lets a probe go', async () => {
  const workers = new CallingWorkers()
  const stage = new EngineStage({ calls: true, workers })
  workers.start(stage.clock, stage.engine.workersListener)
  workers.serves = (tenant) => tenant !== 'sick'
  await stage.assign()
  await stage.send(['sick', 'well'])
  await stage.clock.pass(60_000)
  const { waitsFor, reason, until, attempts, lastError } = only(stage)
  assert.equal(
    { waitsFor, reason, attempts, lastError },
    { waitsFor: 'dependency', reason: 'api is away', attempts: 0, lastError: 'dependency: Error' },
  )
  const leftMs = Date.parse(until ?? '') - stage.clock.now()
  assert.ok(leftMs > 0 && leftMs <= 60_000, `${leftMs} ms`)
})

test('those that may have ended a thread wait for their turn to run by themselves', async () => {
  const stage = new EngineStage()
  await stage.assign()
  stage.mute = true
  await stage.send(['a', 'b'])
  stage.engine.workersListener.lost(0, new Error('gone'), [
    { mailbox: 1, offset: 0 },
    { mailbox: 2, offset: 1 },
  ])
  stage.engine.workersListener.ready(0)
  await stage.clock.pass(6_000)
  assert.equal(
    ask(stage).tenants.map(({ tenant, waitsFor, worker }) => `${tenant} ${waitsFor} ${worker}`),
    ['a running 1', 'b turn 1'],
  )
  for (const { reason } of ask(stage).tenants) assert.match(reason, /may have ended a worker thread/)
})

test('where owners were lost, all wait for their turn to run by themselves, and no thread is said to have ended', async () => {
  const stage = new EngineStage()
  stage.lostOwners = { count: 3, givenUp: 0, suspects: [] }
  await stage.assign()
  stage.mute = true
  await stage.send(['a', 'b'])
  await stage.clock.pass(6_000)
  const { tenants, partitions } = ask(stage)
  assert.equal(
    tenants.map(({ tenant, waitsFor, worker }) => `${tenant} ${waitsFor} ${worker}`),
    ['a running 1', 'b turn 1'],
  )
  for (const { reason } of [...tenants, ...partitions]) assert.match(reason, /^its last 3 owners were lost/)
  assert.is(partitions.length, 1)
})

test('while PostgreSQL is away everybody waits for the commit, and the answer comes all the same', async () => {
  const stage = new EngineStage()
  await stage.assign()
  stage.answer = () => ({
    kind: 'refused',
    step: 'own',
    blame: 'infrastructure',
    failure: refusal('57P03', 'the database system is starting up'),
  })
  await stage.send(['a', 'b'])
  await stage.clock.pass(6_000)
  const report = ask(stage)
  assert.equal(
    report.tenants.map(({ tenant, waitsFor, uncommitted }) => `${tenant} ${waitsFor} ${uncommitted}`),
    ['a commit 1', 'b commit 1'],
  )
  assert.match(report.tenants[0]?.reason ?? '', /starting up \(SQLSTATE 57P03\)/)
  assert.match(report.reasons.join(), /postgres\.lane0: .*57P03/)
})

test('a state that cannot be read is waited for, and a turn at a worker that has its fill', async () => {
  const stage = new EngineStage({ stateful: true })
  await stage.assign()
  stage.state = () => {
    throw new Error('PostgreSQL is away')
  }
  await stage.send(['a'])
  await stage.clock.pass(6_000)
  assert.equal([only(stage).waitsFor, only(stage).reason], ['state', 'PostgreSQL is away'])

  const busy = new EngineStage({ settings: { workerCreditRecords: 1 } })
  await busy.assign()
  // The first does not count any more after a while, and the second has its place.
  busy.silent.add('slow').add('slower')
  await busy.send(['slow', 'slower', 'well'])
  await busy.clock.pass(6_000)
  assert.equal(
    ask(busy).tenants.map(({ tenant, waitsFor, worker }) => `${tenant} ${waitsFor} ${worker}`),
    ['slow running 0', 'slower running 0', 'well turn 0'],
  )
})

test('parked records count, for as long as there are any', async () => {
  const stage = new EngineStage({ settings: { mailboxMaxRecords: 10 } })
  await stage.assign()
  stage.failures.set(0, 3)
  await stage.send(Array.from({ length: 30 }, () => 'sick'))
  await stage.clock.pass(6_500)
  const { parked, queued, attempts, lastError, stuckForMs } = only(stage)
  assert.equal({ parked, attempts }, { parked: 30, attempts: 3 })
  assert.is(lastError, 'handler: Error')
  assert.ok(stuckForMs >= 6_000, `${stuckForMs} ms`)
  const { waitingTenants, parkedRecords } = stage.engine.status()
  assert.equal(waitingTenants, { ...noneWait, retrying: 1 })
  assert.is(parkedRecords, parked - queued, 'less those that are in memory, too')

  // Inherited, and not to be read yet: what the last owner left undone comes first.
  const heir = new EngineStage()
  heir.parked = stage.parked
  heir.ahead = [[5, 30]]
  await heir.assign()
  await heir.clock.pass(6_000)
  assert.equal([only(heir).waitsFor, only(heir).oldest], ['parked', null])
  assert.match(only(heir).reason, /last owner left undone/)
  assert.is(heir.engine.status().waitingTenants.parked, 1)
})

test('the oldest record is as old as it is, also once it is parked, and for whoever owns its partition next', async () => {
  const settings = { mailboxMaxRecords: 10 }
  const stage = new EngineStage({ settings })
  await stage.assign()
  stage.failures.set(0, 10)
  await stage.send(['sick'])
  await stage.clock.pass(4_000)
  await stage.send(Array.from({ length: 30 }, () => 'sick'))
  await stage.clock.pass(2_500)
  assert.is(only(stage).parked, 31)
  assert.is(only(stage).stuckForMs, 6_500)

  const heir = new EngineStage({ settings })
  heir.parked = stage.parked.map((row) => ({ ...row, since: row.since - 60_000, attempts: 0 }))
  heir.failures.set(0, 10)
  heir.ahead = [[0, 31]]
  await heir.assign()
  assert.equal([only(heir).oldest, only(heir).stuckForMs], [null, 60_000])
  await heir.send(Array.from({ length: 31 }, () => 'sick'))
  await heir.clock.pass(2_000)
  assert.is(only(heir).oldest?.offset, 0)
  assert.is(only(heir).stuckForMs, 62_000)

  // Never parked: what is known is when it failed first.
  const retried = new EngineStage()
  retried.retries = [{ offset: 0, attempts: 1, firstFailedAt: retried.clock.now() - 60_000 }]
  await retried.assign()
  retried.failures.set(0, 10)
  await retried.send(['sick'])
  assert.is(only(retried).stuckForMs, 60_000)
})

test('of a partition it says whose record holds the watermark, and since when that stands', async () => {
  const stage = new EngineStage()
  await stage.assign()
  await stage.send(['well'])
  stage.silent.add('slow')
  await stage.clock.pass(1_000)
  await stage.send(['slow', 'well', 'slow'])
  await stage.clock.pass(9_000)
  const { partitions, assigned } = ask(stage)
  assert.is(assigned, 1)
  assert.equal(partitions, [
    {
      group: 'g',
      topic: 't',
      partition: 0,
      phase: 'owned',
      paused: false,
      reason: '',
      watermark: 1,
      position: 4,
      end: 5,
      forMs: 9_000,
      holder: { tenant: 'slow', offset: 1, hereForMs: 9_000 },
    },
  ])
})

test('a partition that had nothing to do for long does not count as stuck when something has just come', async () => {
  const stage = new EngineStage()
  await stage.assign()
  await stage.send(['well'])
  stage.silent.add('slow')
  await stage.clock.pass(3_600_000)
  await stage.send(['slow', 'well'])
  await stage.clock.pass(100)
  assert.equal(ask(stage).partitions, [])
  await stage.clock.pass(6_000)
  assert.equal(
    ask(stage).partitions.map(({ forMs }) => forMs),
    [6_100],
  )
})

test('a record that is parked does not hold the watermark, though it is back', async () => {
  const stage = new EngineStage({ settings: { parkAfterCommits: 5 } })
  await stage.assign()
  stage.silent.add('sick')
  stage.silent.add('slow')
  await stage.send(['sick'])
  for (let i = 0; i < 12; i++) await stage.send(['well'])
  await stage.send(['slow'])
  await stage.clock.pass(6_000)
  assert.is(ask(stage).tenants[0]?.tenant, 'sick')
  assert.is(ask(stage).tenants[0]?.parked, 1)
  assert.equal(
    ask(stage).partitions.map(({ watermark, holder }) => [watermark, holder?.tenant, holder?.offset]),
    [[13, 'slow', 13]],
  )
})

test('partitions that are paused, stopped or still to be taken over are named with the reason', async () => {
  const paused = new EngineStage({ settings: { mailboxMaxRecords: 2, parkedMaxPerTenant: 2 } })
  await paused.assign()
  paused.failures.set(0, 3)
  await paused.send(Array.from({ length: 10 }, () => 'sick'))
  await paused.send(Array.from({ length: 10 }, () => 'sick'))
  const [first] = ask(paused).partitions
  assert.ok(first?.paused)
  assert.match(first?.reason ?? '', /^tenant sick has more waiting than its share .*parking\.maxPerTenant/)

  const outbox = new EngineStage({ settings: { outboxMaxPending: 2 } })
  const event = { kind: 'publish', topic: 'events', messageId: 'e', key: none, value: none, headers: [] } as const
  outbox.effects = () => ({ effects: [event], publishes: true })
  outbox.deliver = async (messages) => messages.map(() => ({ kind: 'failed', reason: 'it does not exist' }))
  await outbox.assign()
  await outbox.send(['a', 'a'])
  await outbox.send(['b'])
  assert.match(
    ask(outbox).partitions[0]?.reason ?? '',
    /^the outbox of its group is full .*: 2 for events: it does not/,
  )

  const stopped = new EngineStage()
  await stopped.assign()
  stopped.outOfRange(5, 9, 12)
  const [second] = ask(stopped).partitions
  assert.is(second?.phase, 'stopped')
  assert.match(second?.reason ?? '', /Position 5 is outside the log \(9 to 12\)/)

  const claiming = new EngineStage()
  claiming.description = { ...claiming.description, partitions: 0 }
  await claiming.assign(0)
  await claiming.clock.pass(6_000)
  const [third] = ask(claiming).partitions
  assert.equal([third?.phase, third?.forMs], ['claiming', 6_000])
  assert.match(third?.reason ?? '', /waiting until Kafka's metadata has it/)
})

test('the most stuck come first, no more than asked for, and of one group', async () => {
  const stage = new EngineStage()
  await stage.assign()
  stage.mute = true
  for (const tenant of ['c', 'a', 'b']) {
    await stage.send([tenant])
    await stage.clock.pass(1_000)
  }
  await stage.clock.pass(6_000)
  const report = ask(stage, { limit: 2 })
  assert.equal(
    report.tenants.map(({ tenant }) => tenant),
    ['c', 'a'],
  )
  assert.is(report.moreTenants, 1)
  assert.equal(ask(stage, { group: 'other' }).tenants, [])
})

test('a hundred thousand mailboxes are looked through in one pass', () => {
  const at = partition()
  at.phase = 'owned'
  const mailboxes = Array.from({ length: 100_000 }, (_, i) => {
    const mailbox = new Mailbox(i, `t${i}`, `t${i}`, at, at.actor)
    const record = { offset: i, timestamp: 1, key: null, value: null, headers: [] }
    mailbox.add(new Item(record, i, 200, i % 977))
    return mailbox
  })
  const facts = {
    partitions: [at],
    mailboxes,
    troubles: new Map<string, string>(),
    reasons: [],
    paused: [],
    full: new Map<string, string>(),
    extraWorker: 1,
  }
  const before = process.cpuUsage()
  const report = stuckOf(facts, usual, { now: 1e12, monotonic: 1e6 })
  const { user, system } = process.cpuUsage(before)
  assert.equal([report.tenants.length, report.moreTenants], [50, 99_950])
  assert.ok(report.tenants.every(({ stuckForMs }) => stuckForMs === 1e6))
  assert.ok(user + system < 1e6, `${(user + system) / 1e3} ms of CPU`)
})

import * as assert from 'uvu/assert'
import { type Circuit, type CircuitEvent, transition } from '../../core/circuit-breaker.ts'
import { Item } from '../../supervisors/item.ts'
import { OwnCircuits } from '../../supervisors/own-circuits.ts'
import { ManualClock } from '../manual-clock.ts'
import { collecting, collector } from '../garbage.ts'
import { test } from '../harness.ts'
import { breakerSettings, BreakersStage } from './breakers-stage.ts'

const minute = 60_000

function tenants(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `t${i}`)
}

test('a tenant that its dependency fails waits alone, and is probed once a minute', async () => {
  const stage = new BreakersStage()
  const partition = stage.partition()
  stage.serves = (tenant) => tenant !== 'sick'
  const sick = stage.mailbox('sick', partition, 3)
  for (const tenant of tenants(5)) stage.mailbox(tenant, partition, 100)
  await stage.clock.pass(10 * minute)
  const calls = stage.calls.filter(({ tenant }) => tenant === 'sick')
  // 5 until it opened, after 0, 1, 2, 5 and 5 s; then one a minute.
  assert.is(calls.length, 5 + 9)
  assert.is(stage.calls.length - calls.length, 500)
  assert.equal(stage.news, [{ group: 'g', actor: 'a', dependency: 'api', tenant: 'sick', partition: 0, open: true }])
  assert.is(stage.rows.size, 1)

  stage.serves = () => true
  await stage.clock.pass(2 * minute)
  assert.is(sick.queuedCount, 0)
  assert.is(stage.rows.size, 0, 'its row has gone')
  assert.is(stage.news.at(-1)?.open, false)
  assert.is(stage.changes.filter(({ state }) => state === 'half-open').length, 1, 'it closed after two')
})

test('a probe that does not answer is given up and counts as failed', async () => {
  const stage = new BreakersStage()
  stage.serves = () => false
  stage.mailbox('sick', stage.partition())
  await stage.clock.pass(20_000)
  stage.serves = () => null
  await stage.clock.pass(2 * minute)
  assert.equal(stage.overdue, ['sick'])
  assert.is(stage.calls.length, 6)
  await stage.clock.pass(minute)
  assert.is(stage.calls.length, 7)
})

test('a dependency that fails most tenants opens once for all, and each probe comes from another tenant', async () => {
  const stage = new BreakersStage()
  const partitions = [stage.partition(0), stage.partition(1)]
  stage.serves = () => false
  const mailboxes = tenants(1_000).map((tenant, i) => {
    const partition = partitions[i % 2]
    assert.ok(partition)
    return stage.mailbox(tenant, partition, 3)
  })
  await stage.clock.pass(10_000)
  assert.ok(stage.calls.length < 3_000, `${stage.calls.length} calls before it opened`)
  const before = stage.calls.length
  stage.most = 0
  await stage.clock.pass(10 * minute)
  const probes = stage.calls.slice(before)
  assert.is(stage.most, 1, 'one probe at a time')
  assert.is(probes.length, 10)
  assert.is(new Set(probes.map(({ tenant }) => tenant)).size, 10)
  assert.equal(
    stage.news.map(({ tenant, open }) => [tenant, open]),
    [['', true]],
    'one line, of the shared one',
  )
  assert.equal(
    [...stage.rows.values()].map(({ tenant, state }) => [tenant, state]),
    [['', 'open']],
  )

  stage.serves = () => true
  await stage.clock.pass(2 * minute)
  assert.is(
    mailboxes.reduce((sum, { queuedCount }) => sum + queuedCount, 0),
    0,
  )
  assert.is(stage.rows.size, 0)
  assert.is(stage.news.length, 2)
  assert.ok(stage.breakers.quiet, 'and nothing is remembered')
})

test('those that waited for a shared breaker go on in steps', async () => {
  const stage = new BreakersStage()
  const partition = stage.partition()
  stage.serves = () => false
  for (const tenant of tenants(500)) stage.mailbox(tenant, partition)
  await stage.clock.pass(minute)
  stage.serves = () => true
  const before = stage.calls.length
  await stage.clock.pass(minute)
  const perSecond = new Map<number, number>()
  for (const { at } of stage.calls.slice(before)) {
    const second = Math.floor(at / 1_000)
    perSecond.set(second, (perSecond.get(second) ?? 0) + 1)
  }
  assert.is(stage.calls.length - before, 500)
  assert.equal([...perSecond.values()], [12, 20, 40, 80, 100, 100, 100, 48], 'two probes and ten at first')
})

test('a dependency that goes away again while they are let go stops the rest', async () => {
  const stage = new BreakersStage()
  const partition = stage.partition()
  stage.serves = () => false
  for (const tenant of tenants(500)) stage.mailbox(tenant, partition, 2)
  await stage.clock.pass(minute)
  stage.serves = () => true
  const opened = stage.news.length
  while (stage.news.length === opened) await stage.clock.pass(100)
  stage.serves = () => false
  const before = stage.calls.length
  await stage.clock.pass(30_000)
  assert.equal(
    stage.news.map(({ open }) => open),
    [true, false, true],
  )
  assert.ok(stage.calls.length - before < 60, `${stage.calls.length - before} calls`)
})

test('a tenant that the dependency serves waits for nobody', async () => {
  const stage = new BreakersStage()
  const partition = stage.partition()
  const well = new Set(['t0', 't1', 't2'])
  stage.serves = (tenant) => well.has(tenant)
  const mailboxes = tenants(10).map((tenant) => stage.mailbox(tenant, partition, 1_000))
  await stage.clock.pass(3 * minute)
  assert.equal(
    stage.news.map(({ tenant }) => tenant),
    [''],
    'most are failed, so they share a breaker',
  )
  assert.equal(
    mailboxes.map(({ queuedCount }) => queuedCount),
    [0, 0, 0, ...Array.from({ length: 7 }, () => 1_000)],
  )
})

test('fewer than half of the tenants have a breaker each', async () => {
  const stage = new BreakersStage()
  const partition = stage.partition()
  const sick = new Set(['t0', 't1', 't2', 't3'])
  stage.serves = (tenant) => !sick.has(tenant)
  for (const tenant of tenants(10)) stage.mailbox(tenant, partition, 1_000)
  await stage.clock.pass(minute)
  assert.equal(stage.news.map(({ tenant }) => tenant).sort(), [...sick])
  assert.is(stage.rows.size, 4)
})

test('a moment of trouble opens nothing', async () => {
  const stage = new BreakersStage()
  const partition = stage.partition()
  stage.serves = () => stage.clock.monotonic() > 500
  for (const tenant of tenants(1_000)) stage.mailbox(tenant, partition)
  await stage.clock.pass(10_000)
  assert.equal(stage.news, [])
  assert.is(stage.calls.length, 2_000)
  assert.ok(stage.breakers.quiet)
})

test('a shared breaker for which nobody waits any more closes', async () => {
  const stage = new BreakersStage()
  const partition = stage.partition()
  stage.serves = () => false
  const mailboxes = tenants(5).map((tenant) => stage.mailbox(tenant, partition))
  await stage.clock.pass(30_000)
  assert.is(stage.news.length, 1)
  for (const mailbox of mailboxes) stage.breakers.left(mailbox)
  await stage.clock.pass(minute)
  assert.is(stage.news.at(-1)?.open, false)
  assert.is(stage.rows.size, 0)
})

test('its row moves to another partition when the first is given up', async () => {
  const stage = new BreakersStage()
  const [first, second] = [stage.partition(0), stage.partition(1)]
  stage.serves = () => false
  const mailboxes = tenants(4).map((tenant, i) => stage.mailbox(tenant, i < 3 ? first : second))
  await stage.clock.pass(30_000)
  assert.equal([...stage.rows.keys()], ['0  api'])
  for (const mailbox of mailboxes) if (mailbox.partition === first) stage.breakers.left(mailbox)
  stage.breakers.dropped(first)
  assert.equal([...stage.rows.keys()], ['0  api', '1  api'], 'the first is its next owner’s')
})

test('what an earlier owner left goes on where it was', async () => {
  const left = new BreakersStage()
  left.serves = (tenant) => tenant !== 'sick'
  left.mailbox('sick', left.partition())
  await left.clock.pass(30_000)
  const rows = [...left.rows.values()].flatMap((row) => (row.state === 'closed' ? [] : row))
  assert.is(rows.length, 1)

  const stage = new BreakersStage()
  const partition = stage.partition()
  await stage.clock.pass(30_000)
  stage.breakers.restore(partition, rows)
  const sick = stage.mailbox('sick', partition, 2)
  stage.mailbox('well', partition)
  await stage.clock.pass(40_000)
  assert.equal(
    stage.calls.map(({ tenant }) => tenant),
    ['well'],
  )
  await stage.clock.pass(10_000)
  assert.is(sick.queuedCount, 0)
  assert.ok(stage.breakers.quiet)
})

test('what an earlier owner left of a dependency that the actor does not have any more goes', async () => {
  const stage = new BreakersStage()
  const partition = stage.partition()
  const row = { actor: 'a', dependency: 'old', state: 'open', failures: 5, successes: 0, probeAt: 0 } as const
  const rows = ['sick', ''].map((tenant) => ({ ...row, tenant }))
  for (const one of rows) stage.rows.set(`0 ${one.tenant} old`, one)
  stage.breakers.restore(partition, rows)
  await stage.clock.pass(minute)
  assert.equal([[...stage.rows.values()], stage.breakers.open()], [[], []])
  assert.ok(stage.breakers.quiet)
})

test('a clock that is wrong keeps no breaker open for longer than one is', async () => {
  const stage = new BreakersStage()
  const partition = stage.partition()
  const row = { actor: 'a', tenant: 'sick', dependency: 'api', state: 'open', failures: 5, successes: 0 } as const
  stage.breakers.restore(partition, [{ ...row, probeAt: stage.clock.now() + 86_400_000 }])
  const sick = stage.mailbox('sick', partition)
  await stage.clock.pass(minute + 1_000)
  assert.is(sick.queuedCount, 0)
})

test('a shared breaker that was taken over is not due before anybody waits for it', async () => {
  const stage = new BreakersStage()
  const partition = stage.partition()
  stage.serves = () => false
  const row = {
    actor: 'a',
    tenant: '',
    dependency: 'api',
    state: 'open',
    failures: 9,
    successes: 0,
    probeAt: 0,
  } as const
  stage.breakers.restore(partition, [row])
  for (const tenant of tenants(100)) stage.mailbox(tenant, partition)
  await stage.clock.pass(30_000)
  assert.is(stage.calls.length, 101, 'each once, and a probe')
  assert.equal(stage.news, [])
})

test('a mailbox with two dependencies waits for each by itself', async () => {
  const stage = new BreakersStage()
  const partition = stage.partition(0, ['api', 'mail'])
  const away = new Set(['api'])
  stage.serves = (_tenant, dependency) => !away.has(dependency)
  const mailboxes = tenants(20).map((tenant) => stage.mailbox(tenant, partition, 2))
  await stage.clock.pass(2 * minute)
  away.delete('api')
  away.add('mail')
  await stage.clock.pass(5 * minute)
  assert.equal(
    stage.news.map(({ dependency, open }) => [dependency, open]),
    [
      ['api', true],
      ['api', false],
      ['mail', true],
    ],
  )
  away.clear()
  await stage.clock.pass(5 * minute)
  assert.is(
    mailboxes.reduce((sum, { queuedCount }) => sum + queuedCount, 0),
    0,
  )
  assert.ok(stage.breakers.quiet)
})

test('a dependency that serves one call of each message and fails the next opens its breaker, by a probe, too', async () => {
  const stage = new BreakersStage()
  const mailbox = stage.mailbox('sick', stage.partition(), 0)
  const fails = () => stage.breakers.failed(mailbox, 'api', ['api'])
  assert.equal([fails(), fails(), fails(), fails(), fails()], [1, 2, 3, 4, 0])
  mailbox.add(new Item({ offset: 0, timestamp: 0, key: null, value: null, headers: [] }, 0, 0))
  await stage.clock.pass(minute)
  assert.is(stage.breakers.gate(mailbox), 'probe')
  assert.is(fails(), 0)
  assert.is(stage.breakers.gate(mailbox), 'wait')
})

test('what an operator resets goes on at once', async () => {
  const stage = new BreakersStage()
  const partition = stage.partition()
  stage.serves = (tenant) => !['sick', 'sicker'].includes(tenant)
  const sick = stage.mailbox('sick', partition)
  const sicker = stage.mailbox('sicker', partition)
  await stage.clock.pass(20_000)
  stage.serves = () => true
  stage.breakers.reset({ id: 1, group: 'g', actor: 'a', dependency: 'api', tenant: 'sick' })
  await stage.clock.pass(1_000)
  assert.is(sick.queuedCount, 0)
  assert.is(sicker.queuedCount, 1)
  stage.breakers.reset({ id: 2, group: 'g', actor: 'a', dependency: 'api', tenant: '' })
  await stage.clock.pass(1_000)
  assert.is(sicker.queuedCount, 0)
  assert.is(stage.rows.size, 0)
})

test('a trip keeps every tenant that it names, whatever the dependency does, and they go on in steps', async () => {
  const stage = new BreakersStage()
  const partition = stage.partition()
  const all = { id: 1, group: 'g', actor: 'a', dependency: 'api', tenant: '' }
  assert.equal(stage.breakers.tripped([all]), [all])
  assert.equal(stage.breakers.tripped([all]), [], 'it is known')
  for (const tenant of tenants(500)) stage.mailbox(tenant, partition)
  await stage.clock.pass(10 * minute)
  assert.is(stage.calls.length, 0)

  stage.breakers.tripped([{ ...all, id: 2, tenant: 't7' }])
  await stage.clock.pass(1_000)
  assert.is(stage.calls.length, 29, 'ten, of which one waits for its own trip, and twenty')
  await stage.clock.pass(minute)
  assert.is(stage.calls.length, 499)
  stage.breakers.tripped([])
  await stage.clock.pass(minute)
  assert.is(stage.calls.length, 500)
  stage.breakers.tripped([])
  assert.ok(stage.breakers.quiet)
  assert.equal(stage.news, [])
})

test('a trip during an outage keeps the probes, too', async () => {
  const stage = new BreakersStage()
  const partition = stage.partition()
  stage.serves = () => false
  for (const tenant of tenants(50)) stage.mailbox(tenant, partition)
  await stage.clock.pass(30_000)
  const before = stage.calls.length
  stage.breakers.tripped([{ id: 1, group: 'g', actor: 'a', dependency: 'api', tenant: '' }])
  await stage.clock.pass(5 * minute)
  assert.is(stage.calls.length, before)
  stage.serves = () => true
  stage.breakers.tripped([])
  await stage.clock.pass(2 * minute)
  assert.is(stage.calls.length, before + 50)
})

/** Its timers are early by a fraction of a millisecond, as the runtimes' are. */
class HastyClock extends ManualClock {
  override after(ms: number, fn: () => void) {
    return super.after(ms > 1 ? ms - 0.6 : ms, fn)
  }
}

test('timers that are a little early keep nobody waiting', async () => {
  for (const count of [1, 20]) {
    const stage = new BreakersStage({}, new HastyClock())
    const partition = stage.partition()
    stage.serves = (tenant) => tenant === 'well'
    stage.mailbox('well', partition, 10)
    for (const tenant of tenants(count)) stage.mailbox(tenant, partition, 2)
    await stage.clock.pass(20_000)
    stage.serves = () => null
    await stage.clock.pass(3 * minute)
    const before = stage.calls.length
    await stage.clock.pass(10 * minute)
    assert.ok(stage.calls.length - before >= 8, `${stage.calls.length - before} probes of ${count} in ten minutes`)
    stage.serves = () => true
    await stage.clock.pass(3 * minute)
    assert.ok(stage.breakers.quiet)
  }
})

collecting('a circuit that is not closed takes less than 150 bytes, its place in the table included', () => {
  const collect = collector()
  const used = () => {
    collect()
    return process.memoryUsage().heapUsed
  }
  const partition = new BreakersStage().partition()
  const count = 100_000
  const names = new Map(tenants(count).map((tenant) => [tenant, tenant]))
  const probing: CircuitEvent = { kind: 'probe', probe: 1 }
  for (const events of [[{ kind: 'opened' }] as const, [{ kind: 'opened' }, probing] as const]) {
    const circuits = new OwnCircuits()
    const before = used()
    let now = 1_000_000.5
    for (const tenant of names.keys()) {
      let circuit: Circuit | null = null
      for (const event of events) circuit = transition(circuit, event, (now += minute + 0.3), breakerSettings)
      circuits.set({ partition, dependency: 'api', tenant }, circuit)
    }
    const each = (used() - before) / count
    assert.ok(circuits.size > 0 && each < 150, `${Math.round(each)} bytes`)
  }
})

import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { TenantryError } from '../../core/errors.ts'
import { afterEach, test } from '../harness.ts'
import { chaos, counter, does, Observed, opening, record } from './pool-stage.ts'

let current: Observed | undefined

async function started(count: number, changes: { maxHeapMiB?: number } = {}): Promise<Observed> {
  current = new Observed(count, changes)
  await current.start()
  return current
}

afterEach(async () => {
  await current?.pool.stop()
  current = undefined
})

test('records go to a thread and come back as decisions with effects, state and messages', async () => {
  const observed = await started(1)
  const { pool, decisions } = observed
  const records = [3, 7, 5].map((n, i) => record(2 ** 40 + i, 'add', { n }, 'ümlaut-✓'))
  pool.dispatch(0, [
    { mailbox: 9, run: 4, opening: opening(counter, 'ümlaut-✓', { version: 1, json: '{"sum":10}' }), records },
  ])
  await observed.until(() => decisions.length === 3)
  assert.equal(
    decisions.map(({ mailbox, run, offset }) => [mailbox, run, offset]),
    records.map(({ offset }) => [9, 4, offset]),
  )
  const outcomes = decisions.map(({ outcome }) => outcome)
  assert.equal(
    outcomes.map((outcome) => outcome.kind === 'done' && outcome.state?.json),
    ['{"sum":13}', '{"sum":20}', '{"sum":25}'],
  )
  const second = outcomes[1]
  assert.ok(second?.kind === 'done')
  const [row, message] = second.effects
  assert.ok(row?.kind === 'row' && message?.kind === 'publish')
  assert.equal(row.shape.columns, ['tenant_id', 'n', 'sum', 'note'])
  assert.equal(row.values, ['ümlaut-✓', '7', '20', null])
  assert.is(message.topic, 'counted.v1')
  assert.is(Buffer.from(message.key).toString(), 'ümlaut-✓')
  const envelope: unknown = JSON.parse(Buffer.from(message.value).toString())
  assert.equal(envelope, {
    ...Object(envelope),
    type: 'counted',
    tenant_id: 'ümlaut-✓',
    causation_id: `m-${2 ** 40 + 1}`,
    payload: { sum: 20 },
    message_id: message.messageId,
  })
})

test('a thousand mailboxes over two threads are each answered in order, and shapes are one object', async () => {
  const observed = await started(2)
  const { pool, decisions } = observed
  for (let mailbox = 0; mailbox < 1_000; mailbox++) {
    const records = Array.from({ length: 5 }, (_, i) => record(i, 'add', { n: 1 }, 'acme'))
    pool.dispatch(mailbox % 2, [{ mailbox, run: 1, opening: opening(counter, 'acme'), records }])
  }
  await observed.until(() => decisions.length === 5_000)
  const offsets = new Map<number, number[]>()
  for (const { mailbox, offset } of decisions) offsets.set(mailbox, [...(offsets.get(mailbox) ?? []), offset])
  for (const each of offsets.values()) assert.equal(each, [0, 1, 2, 3, 4])
  const shapes = new Set(
    decisions
      .flatMap(({ outcome }) => (outcome.kind === 'done' ? outcome.effects : []))
      .map((effect) => effect.kind === 'row' && effect.shape),
  )
  assert.is([...shapes].filter((shape) => shape !== false).length, 1)
})

for (const what of ['exit', 'throw-later', 'reject-later']) {
  test(`a thread that ends by ${what} is reported lost, replaced and reported ready`, async () => {
    const observed = await started(2)
    const { pool, decisions } = observed
    pool.dispatch(1, [{ mailbox: 1, run: 1, opening: opening(chaos, 'acme'), records: [does('nothing')(0)] }])
    await observed.until(() => decisions.length === 1)
    pool.dispatch(1, [{ mailbox: 1, run: 1, opening: null, records: [does(what)(1), does('wait', 60_000)(2)] }])
    await observed.until(() => observed.ready.length === 1)
    assert.equal(observed.lost, [1])
    assert.equal(observed.ready, [1])
    assert.not(decisions.some(({ offset }) => offset === 2))
    const before = decisions.length
    pool.dispatch(1, [{ mailbox: 1, run: 2, opening: opening(chaos, 'acme'), records: [does('nothing')(2)] }])
    pool.dispatch(0, [{ mailbox: 2, run: 1, opening: opening(chaos, 'acme'), records: [does('nothing')(0)] }])
    await observed.until(() => decisions.length === before + 2)
  })
}

// Bun has no limit for one thread's heap.
const heapTest = process.versions['bun'] === undefined ? test : test.skip
heapTest('a thread that runs out of heap is lost and replaced, and the process goes on', async () => {
  const observed = await started(2, { maxHeapMiB: 64 })
  observed.pool.dispatch(0, [{ mailbox: 1, run: 1, opening: opening(chaos, 'acme'), records: [does('heap')(0)] }])
  observed.pool.dispatch(1, [{ mailbox: 2, run: 1, opening: opening(chaos, 'acme'), records: [does('nothing')(0)] }])
  await observed.until(() => observed.ready.length === 1 && observed.decisions.length === 1)
  assert.equal(observed.lost, [0])
})

test('what a thread had decided before it ended is heard before its loss', async () => {
  const observed = await started(1)
  observed.pool.dispatch(0, [
    {
      mailbox: 1,
      run: 1,
      opening: opening(chaos, 'acme'),
      records: [does('nothing')(0), does('nothing')(1), does('exit')(2)],
    },
  ])
  await observed.until(() => observed.lost.length === 1)
  assert.equal(
    observed.decisions.map(({ offset }) => offset),
    [0, 1],
  )
})

test('dispatches to a thread that is lost are nobody’s, until its replacement is ready', async () => {
  const observed = await started(1)
  observed.pool.dispatch(0, [{ mailbox: 1, run: 1, opening: opening(chaos, 'acme'), records: [does('exit')(0)] }])
  await observed.until(() => observed.lost.length === 1)
  observed.pool.dispatch(0, [{ mailbox: 1, run: 2, opening: opening(chaos, 'acme'), records: [does('nothing')(0)] }])
  observed.pool.forget(0, [1])
  await observed.until(() => observed.ready.length === 1)
  observed.pool.dispatch(0, [{ mailbox: 1, run: 3, opening: opening(chaos, 'acme'), records: [does('nothing')(0)] }])
  await observed.until(() => observed.decisions.length === 1)
  assert.is(observed.decisions[0]?.run, 3)
})

test('a forgotten mailbox answers nothing more', async () => {
  const observed = await started(1)
  observed.pool.dispatch(0, [{ mailbox: 1, run: 1, opening: opening(chaos, 'acme'), records: [does('wait', 20)(0)] }])
  observed.pool.forget(0, [1])
  observed.pool.dispatch(0, [{ mailbox: 2, run: 1, opening: opening(chaos, 'acme'), records: [does('wait', 60)(0)] }])
  await observed.until(() => observed.decisions.length === 1)
  assert.is(observed.decisions[0]?.mailbox, 2)
})

test('one tenant’s message leaves nothing on prototypes for the next one’s', async () => {
  const observed = await started(1)
  observed.pool.dispatch(0, [
    { mailbox: 1, run: 1, opening: opening(chaos, 'acme'), records: [does('pollute')(0)] },
    { mailbox: 2, run: 1, opening: opening(chaos, 'acme'), records: [does('look')(0)] },
  ])
  await observed.until(() => observed.decisions.length === 2)
  assert.equal(
    observed.decisions.map(({ outcome }) => outcome.kind),
    ['done', 'done'],
  )
})

test('a thread has the environment that it is given, and a copy of it', async () => {
  process.env['NOT_FOR_ACTORS'] = 'secret'
  const environment: NodeJS.ProcessEnv = { ...process.env, KEPT: 'yes' }
  delete environment['NOT_FOR_ACTORS']
  const observed = new Observed(1, { environment })
  await observed.start()
  try {
    observed.pool.dispatch(0, [
      { mailbox: 1, run: 1, opening: opening(chaos, 'acme'), records: [does('environment')(0)] },
    ])
    await observed.until(() => observed.decisions.length === 1)
    assert.is(observed.decisions[0]?.outcome.kind, 'done')
    assert.equal([environment['KEPT'], process.env['KEPT']], ['yes', undefined])
  } finally {
    delete process.env['NOT_FOR_ACTORS']
    await observed.pool.stop()
  }
})

test('an actor’s lines of log arrive, and a flood of them is cut and counted', async () => {
  const observed = await started(1)
  observed.pool.dispatch(0, [
    { mailbox: 1, run: 1, opening: opening(chaos, 'acme'), records: [does('log', 100_000)(0)] },
  ])
  await observed.until(() => observed.lines.includes('worker.log_dropped'))
  assert.is(observed.lines.filter((event) => event === 'chaos.line').length, 1_000)
})

test('a line with what cannot cross between threads arrives as text, and its thread lives on', async () => {
  const observed = await started(1)
  observed.pool.dispatch(0, [{ mailbox: 1, run: 1, opening: opening(chaos, 'acme'), records: [does('odd-log')(0)] }])
  await observed.until(() => observed.lost.length > 0 || observed.lines.length === 7)
  assert.equal(observed.lost, [])
  assert.is(observed.lines.filter((event) => event === 'chaos.line').length, 6)
})

test('actors that cannot be loaded fail the start with the file’s name and leave nothing running', async () => {
  const folder = join(import.meta.dirname, '../fixtures/actors/broken')
  current = new Observed(2, { actors: folder })
  await current.start().then(
    () => assert.unreachable(),
    (error: unknown) => assert.match(String(error), 'missing-module.ts'),
  )
  assert.equal([current.lost, current.ready], [[], []])
})

test('stop may be called twice and before start', async () => {
  const observed = new Observed(1)
  await observed.pool.stop()
  await observed.pool.stop()
  const other = await started(1)
  await Promise.all([other.pool.stop(), other.pool.stop()])
  assert.equal(other.lost, [])
})

test('a pool of no threads is refused', () => {
  for (const count of [0, -1, 1.5, Number.NaN])
    assert.throws(
      () => new Observed(count),
      (error: unknown) => error instanceof TenantryError,
    )
})

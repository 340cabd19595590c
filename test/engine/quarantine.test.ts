import * as assert from 'uvu/assert'
import type { CommitResult } from '../../core/postgres/transactions.ts'
import type { Decision, Dispatch, Workers, WorkersListener } from '../../core/workers.ts'
import { test } from '../harness.ts'
import { EngineStage, refusal } from './engine-stage.ts'

// A record that ends its thread each time is found, alone, and given up on; nobody else pays for it.

async function staged(options: { stateful?: boolean } = {}): Promise<EngineStage> {
  const stage = new EngineStage(options)
  await stage.assign()
  return stage
}

for (const stateful of [false, true]) {
  test(`of many that executed when threads were lost, only the one that did it each time is given up on${stateful ? ', with state' : ''}`, async () => {
    const stage = await staged({ stateful })
    stage.killers.add(5)
    await stage.send(Array.from({ length: 10 }, (_, i) => `t${i}`))
    await stage.clock.pass(0)
    assert.is(stage.committed.length, 10)
    assert.equal(stage.deadLetters, ['5: worker_crash, attempt 3'])
    assert.equal(stage.losses, [0, 1, 1, 1, 1], 'once among others, and three times before any')
  })
}

test('what had not begun goes on elsewhere at once, while suspects run one at a time on the extra thread', async () => {
  const stage = await staged()
  stage.mute = true
  await stage.send(['a', 'b', 'c', 'a', 'b', 'c'])
  stage.sentTo.length = 0
  const suspects = [
    { mailbox: 1, offset: 0 },
    { mailbox: 2, offset: 1 },
  ]
  stage.engine.workersListener.lost(0, new Error('gone'), suspects)
  stage.engine.workersListener.ready(0)
  await stage.clock.pass(0)
  assert.equal(stage.sentTo, ['0:2', '0:5', '1:0'])
})

test('what waits for its turn on a thread that is lost goes to another that is there', async () => {
  const stage = new EngineStage({ threads: 2, settings: { workerCreditRecords: 2 } })
  await stage.assign()
  stage.mute = true
  await stage.send(['a', 'a', 'a'])
  stage.engine.workersListener.lost(0, new Error('gone'), [])
  await stage.clock.pass(0)
  assert.equal(stage.sentTo, ['0:0', '0:1', '1:0', '1:1'])
})

test('a tenant with a dead letter of that kind stays on the extra thread until a record of its has ended well', async () => {
  const stage = await staged()
  stage.killers.add(0)
  await stage.send(['a'])
  assert.equal(stage.committed, ['a/0:failed'])
  stage.sentTo.length = 0
  stage.failsAt = 1
  await stage.send(['a'])
  await stage.send(['a'])
  assert.equal(stage.sentTo, ['1:1', '1:2'])
  stage.sentTo.length = 0
  await stage.send(['b'])
  await stage.send(['a'])
  assert.equal(stage.sentTo, ['0:3', '0:4'])
  assert.equal(stage.committed, ['a/0:failed', 'a/1:failed', 'a/2:done', 'b/3:done', 'a/4:done'])
  assert.equal(stage.losses, [0, 1, 1, 1])
})

test('while it stays there, its next record has all its chances', async () => {
  const stage = await staged()
  stage.killers.add(0)
  stage.killers.add(1)
  await stage.send(['a', 'a', 'a'])
  await stage.clock.pass(0)
  assert.equal(stage.committed, ['a/0:failed', 'a/1:failed', 'a/2:done'])
  assert.equal(stage.losses, [0, 1, 1, 1, 1, 1, 1])
})

test('a record that ends on the extra thread is no suspect any more, and its tenant goes on elsewhere', async () => {
  const stage = await staged()
  stage.mute = true
  await stage.send(['a', 'a', 'a'])
  stage.engine.workersListener.lost(0, new Error('gone'), [{ mailbox: 1, offset: 1 }])
  stage.engine.workersListener.ready(0)
  stage.sentTo.length = 0
  stage.mute = false
  await stage.clock.pass(0)
  assert.equal(stage.sentTo, ['1:0', '1:1', '0:2'])
  assert.equal(stage.committed, ['a/0:done', 'a/1:done', 'a/2:done'])
})

test('a record whose run was taken back while it held its thread is a suspect all the same', async () => {
  const stage = await staged()
  const { promise, resolve } = Promise.withResolvers<CommitResult>()
  stage.answer = (commit) => (commit.outcomes.length > 0 ? promise : { kind: 'committed', commit })
  await stage.send(['a'])
  stage.mute = true
  await stage.send(['a'])
  stage.answer = (commit) => ({ kind: 'committed', commit })
  resolve({ kind: 'refused', step: 'effect', blame: 'held', failure: refusal('55P03') })
  await stage.clock.pass(0)
  stage.sentTo.length = 0
  stage.engine.workersListener.lost(0, new Error('gone'), [{ mailbox: 1, offset: 1 }])
  stage.engine.workersListener.ready(0)
  await stage.clock.pass(60_000)
  assert.equal(stage.sentTo, ['1:0'])
})

test('the extra thread is ended when it has had nothing to do for a while, and started when it is needed again', async () => {
  const stage = await staged()
  stage.killers.add(0)
  await stage.send(['a', 'a'])
  await stage.clock.pass(1_000)
  stage.extra.length = 0
  await stage.clock.pass(60_000)
  assert.equal(stage.extra, ['closed'])
  stage.killers.add(2)
  await stage.send(['a'])
  assert.is(stage.committed.at(-1), 'a/2:failed')
})

test('a loss that nobody is to blame for costs nobody a chance', async () => {
  const stage = await staged()
  stage.mute = true
  await stage.send(['a'])
  for (let i = 0; i < 5; i++) {
    stage.engine.workersListener.lost(0, new Error('gone'), [])
    stage.engine.workersListener.ready(0)
    await stage.clock.pass(0)
  }
  stage.mute = false
  stage.engine.workersListener.lost(0, new Error('gone'), [])
  stage.engine.workersListener.ready(0)
  await stage.clock.pass(0)
  assert.equal(stage.committed, ['a/0:done'])
})

/** Workers whose extra thread ends while it runs the record after one of a tenant `late…`, whose handler has returned. */
class LateEnds implements Workers {
  readonly count = 1
  /** Tenants whose records the extra thread has run to their end. */
  readonly ended: string[] = []
  losses = 0
  listener: WorkersListener | null = null
  readonly #tenants = new Map<number, string>()
  #first = true
  #armed = false
  #open = false

  dispatch(worker: number, dispatches: readonly Dispatch[]): void {
    for (const { mailbox, opening } of dispatches) if (opening) this.#tenants.set(mailbox, opening.tenant)
    queueMicrotask(() => {
      if (this.#first || (worker === 1 && this.#armed)) this.#lose(worker, dispatches)
      else this.#answer(worker, dispatches)
    })
  }

  forget(): void {}

  openExtra(): void {
    if (this.#open) return
    this.#open = true
    queueMicrotask(() => this.listener?.ready(1))
  }

  closeExtra(): void {
    this.#open = false
  }

  #lose(worker: number, dispatches: readonly Dispatch[]): void {
    this.#first = false
    if (worker === 1) {
      this.losses++
      this.#armed = false
      this.#open = false
    }
    const executing = dispatches.map(({ mailbox, records }) => ({ mailbox, offset: records[0]?.offset ?? -1 }))
    this.listener?.lost(worker, new Error('nobody awaited it'), executing)
    if (worker === 0) this.listener?.ready(0)
  }

  #answer(worker: number, dispatches: readonly Dispatch[]): void {
    const [tenant = ''] = dispatches.map(({ mailbox }) => this.#tenants.get(mailbox) ?? '')
    if (worker === 1) {
      this.ended.push(tenant)
      this.#armed = tenant.startsWith('late')
    }
    this.listener?.decided(
      worker,
      dispatches.flatMap(({ mailbox, run, records }) => records.map(({ offset }) => doneOf(mailbox, run, offset))),
    )
  }
}

function doneOf(mailbox: number, run: number, offset: number): Decision {
  const known = { key: null, type: 'go', traceId: '', messageId: `m${offset}` }
  const wants = { effects: [], publishes: false, packed: null, stateful: false, state: null, bytes: 0, served: 0 }
  return { mailbox, run, offset, outcome: { kind: 'done', ...known, ...wants } }
}

test('nobody pays for what a handler has left behind that returned before', async () => {
  const workers = new LateEnds()
  const stage = new EngineStage({ workers })
  workers.listener = stage.engine.workersListener
  await stage.assign()
  await stage.send([...Array.from({ length: 40 }, (_, i) => `late${i}`), 'well'])
  await stage.clock.pass(1_000)
  assert.equal(
    stage.committed.filter((one) => !one.endsWith(':done')),
    [],
  )
  assert.is(stage.committed.length, 41)
  assert.ok(workers.ended.includes('well'))
  assert.ok(workers.losses <= 41, `${workers.losses} losses`)
})

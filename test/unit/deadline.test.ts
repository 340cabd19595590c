import * as assert from 'uvu/assert'
import type { ContextServices } from '../../actors/context.ts'
import { type Actor, type BaseContext, defineActor } from '../../actors/define-actor.ts'
import { incoming } from '../../actors/dispatch-frame.ts'
import { Instances } from '../../actors/instances.ts'
import { Running } from '../../actors/running.ts'
import { Tables } from '../../actors/tables.ts'
import { Vitals } from '../../actors/vitals.ts'
import { defaultLimits } from '../../core/limits.ts'
import { silentLog } from '../../core/log.ts'
import type { Decision, Opening } from '../../core/workers.ts'
import { test } from '../harness.ts'
import { ManualClock } from '../manual-clock.ts'
import { anything } from '../schemas.ts'
import { settled } from './engine-ports.ts'

const beatMs = 100
const timeoutMs = 1_000
/** What a handler that is told to end gets to do so. */
const graceMs = 1_000

/** A thread in virtual time, and what it decides. */
class Thread {
  readonly clock = new ManualClock()
  readonly decisions: Decision[] = []
  readonly vitals: Vitals
  readonly #instances: Instances

  constructor(
    actor: Actor,
    { places = 8, services = {} }: { places?: number; services?: Partial<ContextServices> } = {},
  ) {
    this.vitals = new Vitals(Vitals.memoryFor(places))
    const running = new Running(this.vitals, this.clock, beatMs)
    const all: ContextServices = {
      clock: this.clock,
      log: silentLog,
      limits: defaultLimits,
      tables: new Tables({ tables: [] }, { tenantColumn: 'tenant_id', maxDepth: 64 }),
      reader: { query: async () => [] },
      ...services,
    }
    this.#instances = new Instances([actor], all, (decision) => this.decisions.push(decision), { running, timeoutMs })
    running.start()
  }

  send(mailbox: number, offset = 0, { run = 1, state = null }: { run?: number; state?: Opening['state'] } = {}): void {
    const value = Buffer.from(JSON.stringify({ message_id: `m-${offset}`, type: 'go', tenant_id: 't', payload: 0 }))
    const record = incoming({ offset, timestamp: 1_000, key: null, value, headers: [] }, 10)
    const opening = { actor: 0, topic: 't', partition: 0, tenant: 't', lane: 0, state }
    this.#instances.dispatch({ mailbox, run, opening, records: [record] })
  }

  forget(mailbox: number): void {
    this.#instances.forget([mailbox])
  }

  async pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += beatMs) await this.clock.pass(beatMs)
  }

  /** Reasons of failures, `done` for what was done. */
  get outcomes(): readonly string[] {
    return this.decisions.map(({ outcome }) => (outcome.kind === 'failed' ? outcome.failure.reason : outcome.kind))
  }
}

const actorOf = (receive: (ctx: BaseContext) => void | Promise<void>, own?: number) =>
  defineActor({
    group: 'g',
    topic: 't',
    messages: { go: anything },
    ...(own !== undefined && { timeoutMs: own }),
    receive: (_message, ctx) => receive(ctx),
  })

const never = () => new Promise<void>(() => {})

test('at its deadline a handler’s signal aborts, and the message has failed when it has ended', async () => {
  let reason: unknown
  const ends = Promise.withResolvers<void>()
  const thread = new Thread(
    actorOf((ctx) => {
      ctx.signal.addEventListener('abort', (event) => {
        reason = Reflect.get(Object(event.target), 'reason')
      })
      return ends.promise
    }),
  )
  thread.send(1)
  await thread.pass(timeoutMs)
  assert.is(reason, undefined)
  await thread.pass(2 * beatMs)
  assert.is(Reflect.get(Object(reason), 'code'), 'TENANTRY_HANDLER_TIMEOUT')
  await thread.pass(graceMs / 2)
  assert.equal(thread.outcomes, [])
  ends.resolve()
  await settled()
  assert.equal(thread.outcomes, ['timeout'])
  assert.is(thread.vitals.abandoned, 0)
})

test('one that does not end then is given up on, and nothing that it still does is heard', async () => {
  const ends = Promise.withResolvers<void>()
  const refused: unknown[] = []
  const thread = new Thread(
    actorOf(async (ctx) => {
      await ends.promise
      try {
        ctx.sql`select 1`
      } catch (error) {
        refused.push(error)
      }
    }),
  )
  thread.send(1)
  await thread.pass(timeoutMs + graceMs + 3 * beatMs)
  assert.equal(thread.outcomes, ['timeout'])
  assert.is(thread.vitals.abandoned, 1)
  assert.equal(thread.vitals.executing(), [])
  ends.resolve()
  await settled()
  assert.is(refused.length, 1)
  assert.equal(thread.outcomes, ['timeout'])
  assert.is(thread.vitals.abandoned, 0)
})

test('a dependency that is called when the time is over is not blamed for it', async () => {
  const thread = new Thread(
    defineActor({
      group: 'g',
      topic: 't',
      messages: { go: anything },
      dependencies: { slow: { timeoutMs: 60_000 } },
      async receive(_message, ctx) {
        await ctx.call('slow', never)
      },
    }),
  )
  thread.send(1)
  await thread.pass(timeoutMs + 3 * beatMs)
  assert.equal(thread.outcomes, ['timeout'])
  assert.is(thread.vitals.abandoned, 0)
})

test('an actor’s own time goes before the configured one', async () => {
  const thread = new Thread(actorOf(never, 3_000))
  thread.send(1)
  await thread.pass(timeoutMs + graceMs + 500)
  assert.equal(thread.outcomes, [])
  await thread.pass(2_000)
  assert.equal(thread.outcomes, ['timeout'])
})

test('the time that ctx.query waits is not the handler’s', async () => {
  const answer = Promise.withResolvers<readonly object[]>()
  let aborted = false
  const thread = new Thread(
    defineActor({
      group: 'g',
      topic: 't',
      messages: { go: anything },
      consistency: 'serial',
      async receive(_message, ctx) {
        ctx.signal.addEventListener('abort', () => {
          aborted = true
        })
        await ctx.query`select 1`
        await never()
      },
    }),
    { services: { reader: { query: () => answer.promise } } },
  )
  thread.send(1)
  await thread.pass(60_000)
  assert.equal(thread.outcomes, [])
  answer.resolve([])
  await thread.pass(timeoutMs / 2)
  assert.is(aborted, false)
  await thread.pass(timeoutMs / 2 + graceMs + 3 * beatMs)
  assert.equal(thread.outcomes, ['timeout'])
})

test('a process that was frozen does not hold it against its handlers', async () => {
  const ends = Promise.withResolvers<void>()
  const thread = new Thread(actorOf(() => ends.promise))
  thread.send(1)
  await thread.pass(beatMs)
  await thread.clock.freeze(600_000)
  await thread.clock.freeze(600_000)
  assert.equal(thread.outcomes, [])
  ends.resolve()
  await settled()
  assert.equal(thread.outcomes, ['done'])
})

test('a state whose migration never ends is unreadable', async () => {
  const thread = new Thread(
    defineActor({
      group: 'g',
      topic: 't',
      messages: { go: anything },
      state: { version: 2, schema: anything, initial: 0, migrate: never },
      receive() {},
    }),
  )
  thread.send(1, 7, { state: { version: 1, json: '1' } })
  assert.equal(thread.vitals.executing(), [{ mailbox: 1, offset: -1 }])
  await thread.pass(timeoutMs + graceMs + 3 * beatMs)
  assert.equal(thread.outcomes, ['state_unreadable'])
  assert.equal(thread.vitals.executing(), [])
})

test('what executes is to be seen from outside: what has begun and not ended, and whose code has the thread', async () => {
  const ends = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const seen: unknown[] = []
  let next = 0
  const thread: Thread = new Thread(
    actorOf(() => {
      seen.push(thread.vitals.executingNow)
      return ends[next++]?.promise
    }),
  )
  thread.send(1, 10)
  thread.send(2, 20)
  thread.send(3, 30)
  assert.equal(seen, [
    { mailbox: 1, offset: 10 },
    { mailbox: 2, offset: 20 },
    { mailbox: 3, offset: 30 },
  ])
  assert.is(thread.vitals.executingNow, undefined)
  const both = [
    { mailbox: 1, offset: 10 },
    { mailbox: 2, offset: 20 },
  ]
  assert.equal(thread.vitals.executing(), both)
  thread.forget(1)
  assert.equal(thread.vitals.executing(), both.slice(1))
  ends[1]?.resolve()
  await settled()
  assert.equal(thread.vitals.executing(), [])
  assert.equal(thread.outcomes, ['done', 'done'])
})

test('the next run of a mailbox begins anew while a handler of the last one still runs', async () => {
  const ends = Promise.withResolvers<void>()
  let runs = 0
  const thread = new Thread(actorOf(() => (runs++ === 0 ? ends.promise : undefined)))
  thread.send(1)
  await thread.pass(timeoutMs + graceMs + 3 * beatMs)
  thread.send(1, 0, { run: 2 })
  ends.resolve()
  await settled()
  assert.equal(
    thread.decisions.map(({ run, outcome }) => [run, outcome.kind]),
    [
      [1, 'failed'],
      [2, 'done'],
    ],
  )
})

test('each record counts as a sign of life', () => {
  const signs = new Set<number>()
  const thread: Thread = new Thread(actorOf(() => void signs.add(thread.vitals.signOfLife)))
  thread.send(1, 5)
  thread.send(1, 6)
  assert.is(signs.size, 2)
})

import fc from 'fast-check'
import * as assert from 'uvu/assert'
import { z } from 'zod'
import type { ContextServices, IncomingRecord } from '../../actors/context.ts'
import { type Actor, type AnyContext, defineActor, TenantryError } from '../../actors/define-actor.ts'
import { incoming } from '../../actors/dispatch-frame.ts'
import { Rejected } from '../../actors/failure.ts'
import { Instances } from '../../actors/instances.ts'
import type { KnownKeys } from '../../actors/known-keys.ts'
import { Tables } from '../../actors/tables.ts'
import { Turns } from '../../actors/turns.ts'
import { type Clock, systemClock } from '../../core/clock.ts'
import type { Facts } from '../../core/errors.ts'
import { defaultLimits } from '../../core/limits.ts'
import { type Log, silentLog } from '../../core/log.ts'
import { messageKey } from '../../core/message-id.ts'
import type { AskedKey } from '../../core/postgres/keys.ts'
import type { Decision, Opening } from '../../core/workers.ts'
import { afterYear9999 } from '../../core/timestamp.ts'
import { collecting, collector } from '../garbage.ts'
import { test } from '../harness.ts'
import { anything, slowly } from '../schemas.ts'

const services: ContextServices = {
  clock: systemClock,
  log: silentLog,
  limits: defaultLimits,
  tables: new Tables({ tables: [] }, { tenantColumn: 'tenant_id', maxDepth: 64 }),
  reader: { query: async () => [] },
}

function record(offset: number, payload: unknown, tenant = 'acme'): IncomingRecord {
  const envelope = { message_id: `m-${offset}`, type: 'go', tenant_id: tenant, payload }
  return incoming(
    { offset, timestamp: 1_000, key: null, value: Buffer.from(JSON.stringify(envelope)), headers: [] },
    10,
  )
}

const open = (tenant = 'acme', state: Opening['state'] = null): Opening => ({
  actor: 0,
  topic: 't',
  partition: 0,
  tenant,
  lane: 0,
  state,
})

/** For turns: no slice ends before its work does, however slow the machine. */
const still: Clock = { ...systemClock, monotonic: () => 0 }

/** Instances of one actor, with a way to wait for the n-th decision. */
function running(actor: Actor): {
  instances: Instances
  decisions: Decision[]
  decided: (count: number) => Promise<void>
} {
  const decisions: Decision[] = []
  let wake = () => {}
  const take = (decision: Decision) => {
    decisions.push(decision)
    wake()
  }
  const instances = new Instances([actor], services, take, { turns: new Turns(still) })
  const decided = async (count: number) => {
    while (decisions.length < count) {
      const { promise, resolve } = Promise.withResolvers<void>()
      wake = resolve
      await promise
    }
  }
  return { instances, decisions, decided }
}

const turns = async (count: number) => {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

/** An actor that waits `payload.turns` turns of the loop (0: does not wait at all) and keeps what it saw as its state. */
const recorder = defineActor({
  group: 'g',
  topic: 't',
  messages: { go: anything },
  state: { version: 1, schema: anything, initial: [] },
  receive(message, ctx) {
    const wait = Number(Reflect.get(Object(message.payload), 'turns'))
    const note = () => {
      if (Reflect.get(Object(message.payload), 'fail') === true) throw new Error('told to')
      ctx.state = [...listOf(ctx.state), message.message_id]
    }
    return wait === 0 ? note() : turns(wait).then(note)
  },
})

test('one mailbox is handled strictly in order whatever its handlers wait for, and several run at once', async () => {
  const mailboxes = fc.array(fc.array(fc.nat(3), { minLength: 1, maxLength: 8 }), { minLength: 1, maxLength: 5 })
  await fc.assert(
    fc.asyncProperty(mailboxes, fc.integer({ min: 1, max: 3 }), async (waits, chunk) => {
      const { instances, decisions, decided } = running(recorder)
      const total = waits.reduce((sum, each) => sum + each.length, 0)
      for (const [mailbox, each] of waits.entries()) {
        for (let from = 0; from < each.length; from += chunk) {
          const records = each.slice(from, from + chunk).map((wait, i) => record(from + i, { turns: wait }))
          instances.dispatch({ mailbox, run: 1, opening: from === 0 ? open() : null, records })
        }
      }
      await decided(total)
      for (const [mailbox, each] of waits.entries()) {
        const own = decisions.filter((decision) => decision.mailbox === mailbox)
        assert.equal(
          own.map(({ offset }) => offset),
          each.map((_, offset) => offset),
        )
        for (const [i, { outcome }] of own.entries()) {
          assert.ok(outcome.kind === 'done' && outcome.state !== null)
          assert.equal(
            JSON.parse(outcome.state.json),
            each.slice(0, i + 1).map((_, offset) => `m-${offset}`),
          )
        }
      }
    }),
    { numRuns: 60 },
  )
})

test('handlers of other mailboxes run while one waits', async () => {
  const { instances, decisions, decided } = running(recorder)
  instances.dispatch({ mailbox: 1, run: 1, opening: open(), records: [record(0, { turns: 50 })] })
  instances.dispatch({ mailbox: 2, run: 1, opening: open('other'), records: [record(0, { turns: 0 }, 'other')] })
  assert.equal(
    decisions.map(({ mailbox }) => mailbox),
    [2],
  )
  await decided(2)
})

test('a handler that returns no promise has answered before dispatch returns', () => {
  const { instances, decisions } = running(recorder)
  instances.dispatch({
    mailbox: 1,
    run: 1,
    opening: open(),
    records: [record(0, { turns: 0 }), record(1, { turns: 0 })],
  })
  assert.is(decisions.length, 2)
})

test('after a failure the rest of the run is not handled, until a new run opens with the committed state', async () => {
  const { instances, decisions, decided } = running(recorder)
  const records = [record(0, { turns: 0 }), record(1, { turns: 1, fail: true }), record(2, { turns: 0 })]
  instances.dispatch({ mailbox: 1, run: 1, opening: open(), records })
  instances.dispatch({ mailbox: 1, run: 1, opening: null, records: [record(3, { turns: 0 })] })
  await decided(2)
  await turns(3)
  assert.equal(
    decisions.map(({ offset, outcome }) => [offset, outcome.kind]),
    [
      [0, 'done'],
      [1, 'failed'],
    ],
  )
  instances.dispatch({
    mailbox: 1,
    run: 2,
    opening: open('acme', { version: 1, json: '["m-0"]' }),
    records: [record(2, { turns: 0 })],
  })
  const last = decisions.at(-1)
  assert.ok(last?.run === 2 && last.outcome.kind === 'done')
  assert.is(last.outcome.state?.json, '["m-0","m-2"]')
})

test('records of a run that is not open are dropped, and a forgotten mailbox answers nothing more', async () => {
  const { instances, decisions } = running(recorder)
  instances.dispatch({ mailbox: 1, run: 1, opening: null, records: [record(0, { turns: 0 })] })
  instances.dispatch({
    mailbox: 1,
    run: 2,
    opening: open(),
    records: [record(0, { turns: 2 }), record(1, { turns: 0 })],
  })
  instances.dispatch({ mailbox: 1, run: 1, opening: null, records: [record(5, { turns: 0 })] })
  instances.forget([1])
  await turns(6)
  assert.equal(decisions, [])
  assert.is(instances.size, 0)
})

test('a run that is opened anew no longer hears the handler of the old one', async () => {
  const { instances, decisions, decided } = running(recorder)
  instances.dispatch({ mailbox: 1, run: 1, opening: open(), records: [record(0, { turns: 5 })] })
  instances.dispatch({ mailbox: 1, run: 2, opening: open(), records: [record(0, { turns: 0 })] })
  await decided(1)
  await turns(10)
  assert.equal(
    decisions.map(({ run }) => run),
    [2],
  )
})

collecting('what has been handled is let go, also where more is always waiting', async () => {
  const collect = collector()
  const handled: WeakRef<IncomingRecord>[] = []
  const next = () => {
    const made = record(handled.length, { turns: 1 })
    handled.push(new WeakRef(made))
    return made
  }
  const reached = Promise.withResolvers<void>()
  const never = Promise.withResolvers<void>()
  const actor = actorOf(async () => {
    if (handled.length < 5_000) return
    reached.resolve()
    await never.promise
  })
  const instances = new Instances([actor], services, () =>
    // As the supervisor does: for each that is decided one more is sent.
    instances.dispatch({ mailbox: 1, run: 1, opening: null, records: [next()] }),
  )
  instances.dispatch({ mailbox: 1, run: 1, opening: open(), records: Array.from({ length: 10 }, next) })
  await reached.promise
  // A turn keeps what it has made a WeakRef of.
  await turns(1)
  collect()
  const alive = handled.filter((each) => each.deref() !== undefined).length
  assert.ok(alive < 100, `${alive} of ${handled.length} records are kept`)
})

test('whatever an actor gives a line of log, the line says whose it is and has no field a character', async () => {
  const lines: Facts[] = []
  const log: Log = { ...silentLog, info: (_event, fields) => void lines.push(fields) }
  // Without types, as an actor in JavaScript is.
  const untyped = (info: unknown, fields: unknown) => {
    assert.ok(typeof info === 'function')
    Reflect.apply(info, undefined, ['got', fields, 'It came.'])
  }
  const actor = defineActor({
    group: 'g',
    topic: 't',
    messages: { go: anything },
    receive(_message, ctx) {
      untyped(ctx.log.info, 'x'.repeat(1_000))
      untyped(ctx.log.info, {
        ...Object.fromEntries(Array.from({ length: 1_000 }, (_, i) => [i, i])),
        tenant: 'another',
      })
      untyped(ctx.log.info, null)
    },
  })
  const instances = new Instances([actor], { ...services, log }, () => {})
  instances.dispatch({ mailbox: 1, run: 1, opening: open(), records: [record(0, {})] })
  await turns(1)
  assert.is(lines.length, 3)
  for (const line of lines) {
    assert.is(line['tenant'], 'acme')
    assert.ok(Object.keys(line).length < 110, `${Object.keys(line).length} fields`)
  }
})

test('an actor without dependencies handles a copy: only its commit knows', async () => {
  const { instances, decisions, decided } = running(recorder)
  instances.dispatch({
    mailbox: 1,
    run: 1,
    opening: open(),
    records: [record(0, { turns: 0 }), record(0, { turns: 0 })],
  })
  await decided(2)
  assert.equal(
    decisions.map(({ outcome }) => outcome.kind),
    ['done', 'done'],
  )
})

test('records that are looked up keep their order, and the answers for a mailbox that has gone are dropped', async () => {
  const asked: { readonly ids: number; readonly answer: (known: readonly boolean[]) => void }[] = []
  const keys: KnownKeys = {
    known(all) {
      const { promise, resolve } = Promise.withResolvers<readonly boolean[]>()
      asked.push({ ids: all.length, answer: resolve })
      return promise
    },
  }
  const decisions: Decision[] = []
  const actor: Actor = { ...recorder, dependencies: { outside: { timeoutMs: 1 } } }
  const instances = new Instances([actor], services, (decision) => decisions.push(decision), {
    keys,
    turns: new Turns(still),
  })
  const go = (offset: number) => record(offset, { turns: 0 })
  instances.dispatch({ mailbox: 1, run: 1, opening: open(), records: [go(0), go(1)] })
  instances.dispatch({ mailbox: 1, run: 1, opening: null, records: [go(2)] })
  instances.dispatch({ mailbox: 2, run: 1, opening: open(), records: [go(7)] })
  instances.forget([2])
  assert.equal([decisions, asked.map(({ ids }) => ids)], [[], [2, 1, 1]])
  for (const { ids, answer } of asked) answer(Array.from({ length: ids }, (_, i) => i === 1))
  await turns(1)
  assert.equal(
    decisions.map(({ offset, outcome }) => [offset, outcome.kind]),
    [
      [0, 'done'],
      [1, 'duplicate'],
      [2, 'done'],
    ],
  )
  const last = decisions.at(-1)?.outcome
  assert.is(last?.kind === 'done' && last.state?.json, '["m-0","m-2"]', 'a copy leaves no trace in the state')
})

test('of two records with one offset, as an earlier topic may have left one, each has its own answer', async () => {
  const asked: AskedKey[] = []
  const ofM5 = messageKey('m-5').uuid
  const keys: KnownKeys = {
    known: (all) => {
      asked.push(...all)
      return Promise.resolve(all.map(({ key }) => key.uuid === ofM5))
    },
  }
  const decisions: Decision[] = []
  const actor: Actor = { ...recorder, dependencies: { outside: { timeoutMs: 1 } } }
  const instances = new Instances([actor], services, (decision) => decisions.push(decision), {
    keys,
    turns: new Turns(still),
  })
  const old = { ...record(4, { turns: 0 }), offset: 5 }
  const again = new Map([[0, 'infinity']])
  instances.dispatch({ mailbox: 1, run: 1, opening: open(), records: [old, record(5, { turns: 0 })], again })
  await turns(1)
  assert.equal(
    decisions.map(({ outcome }) => [outcome.kind, outcome.messageId]),
    [
      ['done', 'm-4'],
      ['duplicate', 'm-5'],
    ],
  )
  assert.equal(
    asked.map(({ since }) => since),
    ['infinity', null],
    'what was brought back is asked for by its own key, and nothing else is',
  )
})

function actorOf(
  receive: (message: { readonly payload: unknown }, ctx: AnyContext) => unknown,
  schema = anything,
): Actor {
  return { ...defineActor({ group: 'g', topic: 't', messages: { go: schema }, receive() {} }), receive }
}

/** What one record of an actor comes to. */
async function outcomeOf(actor: Actor, payload: unknown = {}): Promise<Decision['outcome']> {
  const { instances, decisions, decided } = running(actor)
  instances.dispatch({ mailbox: 1, run: 1, opening: open(), records: [record(0, payload)] })
  await decided(1)
  const [decision] = decisions
  assert.ok(decision)
  return decision.outcome
}

async function failureOf(actor: Actor, payload: unknown = {}) {
  const outcome = await outcomeOf(actor, payload)
  assert.ok(outcome.kind === 'failed')
  return outcome.failure
}

test('whatever a handler throws is a failure with a usable text', async () => {
  class Odd {
    toString(): string {
      throw new Error('no')
    }
  }
  const { proxy: revoked, revoke } = Proxy.revocable({}, {})
  revoke()
  const refusing = new Proxy(new Error('no'), {
    getPrototypeOf() {
      throw new Error('no')
    },
  })
  const thrown: readonly unknown[] = [
    revoked,
    refusing,
    new TypeError('oops'),
    null,
    undefined,
    7,
    'text',
    {},
    new Odd(),
    Object.create(null),
    Symbol('s'),
    ...[undefined, null, { code: 1 }, ['x'], 5].map((message) => Object.assign(new Error(), { message })),
  ]
  for (const value of thrown) {
    for (const actor of [
      actorOf(() => {
        throw value
      }),
      actorOf(async () => {
        throw value
      }),
    ]) {
      const failure = await failureOf(actor)
      assert.is(failure.reason, 'handler')
      assert.is(failure.kind, 'transient')
      assert.ok(failure.message.length > 0)
    }
  }
})

test('calls have the same keys whenever the record was sent, and all has when it is brought back', async () => {
  const made: string[][] = []
  const actor: Actor = {
    ...actorOf(async (_, ctx) => {
      const key = await ctx.call('api', ({ idempotencyKey }) => idempotencyKey)
      made.push([key, ctx.id(0), ctx.now.toISOString()])
    }),
    dependencies: { api: { timeoutMs: 1_000 } },
  }
  const microseconds = 1_790_000_000_000_000
  for (const timestamp of [1_000, 2_000, microseconds, afterYear9999 - 1]) {
    const { instances, decided } = running(actor)
    instances.dispatch({ mailbox: 1, run: 1, opening: open(), records: [{ ...record(0, {}), timestamp }] })
    await decided(1)
  }
  const [first, later, unkept, kept] = made
  assert.is(new Set(made.map(([key]) => key)).size, 1)
  assert.is.not(first?.[1], later?.[1])
  assert.equal(unkept, kept, 'a dead letter keeps no later time')
})

test('a dependency gets the keys that it had from a version of the actor that called no other', async () => {
  const keysOf = async (...calls: readonly ('check' | 'charge')[]) => {
    const keys: string[] = []
    const receive = async (_: unknown, ctx: AnyContext) => {
      for (const dependency of calls) keys.push(await ctx.call(dependency, ({ idempotencyKey }) => idempotencyKey))
    }
    const dependencies = { check: { timeoutMs: 1_000 }, charge: { timeoutMs: 1_000 } }
    await outcomeOf({ ...actorOf(receive), dependencies })
    return keys
  }
  const [first, second] = await keysOf('charge', 'charge')
  assert.is.not(first, second)
  const [check, ...charges] = await keysOf('check', 'charge', 'charge')
  assert.equal(charges, [first, second])
  assert.is.not(check, first)
})

type Then = (done: (value?: unknown) => void, failed: (error: unknown) => void) => void

/** What `await` takes for a promise, and is none. */
function thenable(answer: Then): object {
  const made = {}
  Reflect.set(made, 'then', answer)
  return made
}

test('what is no promise and answers more than once is heard once', async () => {
  const thens: readonly Then[] = [
    (done) => [done(), done()],
    (done) => setImmediate(() => [done(), done()]),
    (done, failed) => [done(), failed(new Error('no'))],
    (done) => {
      done()
      throw new Error('no')
    },
  ]
  for (const then of thens) {
    const { instances, decisions, decided } = running(actorOf(() => thenable(then)))
    instances.dispatch({ mailbox: 1, run: 1, opening: open(), records: [record(0, {}), record(1, {})] })
    await decided(2)
    await turns(2)
    assert.equal(
      decisions.map(({ offset, outcome }) => [offset, outcome.kind]),
      [
        [0, 'done'],
        [1, 'done'],
      ],
    )
  }
  const failure = await failureOf(
    actorOf(() =>
      thenable(() => {
        throw new Error('no then')
      }),
    ),
  )
  assert.equal([failure.reason, failure.message], ['handler', 'no then'])
})

test('an error is judged by its code, whichever copy of the package it is of', async () => {
  const other = (code: unknown) => Object.assign(new Error('no'), { code })
  const cases: readonly [thrown: unknown, reason: string, kind: string][] = [
    [other('TENANTRY_REJECTED'), 'rejected', 'permanent'],
    [other('TENANTRY_BAD_VALUE'), 'effect', 'permanent'],
    [other('ECONNREFUSED'), 'handler', 'transient'],
    [other({}), 'handler', 'transient'],
    [{ code: 'TENANTRY_REJECTED' }, 'handler', 'transient'],
    [
      Object.defineProperty(new Error('no'), 'code', {
        get() {
          throw new Error('no code either')
        },
      }),
      'handler',
      'transient',
    ],
  ]
  for (const [thrown, reason, kind] of cases) {
    const failure = await failureOf(
      actorOf(() => {
        throw thrown
      }),
    )
    assert.equal([failure.reason, failure.kind], [reason, kind])
  }
})

test('an error’s text is bounded and can be stored', async () => {
  const failure = await failureOf(
    actorOf(() => {
      throw new Error(`${'x\0'.repeat(5_000_000)}\ud800`)
    }),
  )
  assert.ok(failure.message.length <= 8_192 && !failure.message.includes('\0') && failure.message.isWellFormed())
  assert.ok(failure.stack.length <= 8_192 && !failure.stack.includes('\0'))
})

test('nothing of a context works once its handler has returned', async () => {
  let kept: AnyContext | undefined
  const outcome = await outcomeOf(
    actorOf((_, ctx) => {
      kept = ctx
    }),
  )
  assert.is(outcome.kind, 'done')
  const ctx = kept
  assert.ok(ctx)
  const uses: (() => unknown)[] = [
    () => ctx.insert('t', { a: 1 }),
    () => ctx.upsert('t', { a: 1 }, { conflict: 'a' }),
    () => ctx.sql`select 1`,
    () => ctx.publish('t', { type: 'x', payload: 1 }),
    () => ctx.state,
    () => {
      ctx.state = 1
    },
    () => ctx.now,
    () => ctx.raw,
    () => ctx.tenantId,
    () => ctx.log,
    () => ctx.signal,
    () => ctx.id(0),
  ]
  for (const use of uses)
    assert.throws(use, (error: unknown) => error instanceof TenantryError && error.code === 'TENANTRY_CONTEXT_CLOSED')
  for (const use of [() => ctx.query`select 1`, () => ctx.call('x', () => 1)]) {
    await use().then(
      () => assert.unreachable(),
      (error: unknown) => assert.ok(error instanceof TenantryError && error.code === 'TENANTRY_CONTEXT_CLOSED'),
    )
  }
})

test('a context closes when its handler fails or its mailbox is taken away, and the signal says so', async () => {
  const seen: AnyContext[] = []
  const { instances } = running(
    actorOf((_, ctx) => {
      seen.push(ctx)
      const { signal } = ctx
      return new Promise((resolve) => signal.addEventListener('abort', resolve))
    }),
  )
  instances.dispatch({ mailbox: 1, run: 1, opening: open(), records: [record(0, {})] })
  const signal = seen[0]?.signal
  instances.forget([1])
  assert.ok(signal?.aborted)
  assert.is(Reflect.get(Object(signal.reason), 'code'), 'TENANTRY_MAILBOX_GONE')
  assert.throws(() => seen[0]?.id(0))
})

test('a schema that answers with a promise is waited for', async () => {
  const outcome = await outcomeOf(actorOf(() => {}, slowly))
  assert.is(outcome.kind, 'done')
})

test('a payload that breaks its schema is a bad record that names places, not values', async () => {
  const strict = {
    '~standard': {
      version: 1 as const,
      vendor: 'test',
      validate: () => ({ issues: [{ message: 'expected hunter2', path: ['a', { key: 0 }] }] }),
    },
  }
  const failure = await failureOf(actorOf(() => {}, strict))
  assert.equal([failure.kind, failure.reason], ['bad-record', 'schema'])
  assert.match(failure.message, 'payload.a.0')
  assert.not.match(failure.message, 'hunter2')
})

test('a bad record claims no key, whoever finds it bad; what fails for another reason does', async () => {
  const issues = [{ message: 'no' }]
  const standard = { version: 1, vendor: 'test' } as const
  const refusing = { '~standard': { ...standard, validate: () => ({ issues }) } }
  const slowlyRefusing = { '~standard': { ...standard, validate: async () => ({ issues }) } }
  const of = (messages: Record<string, typeof anything>) =>
    defineActor({ group: 'g', topic: 't', messages, receive() {} })
  for (const [reason, actor] of [
    ['schema', of({ go: refusing })],
    ['schema', of({ go: slowlyRefusing })],
    ['unknown_type', of({ come: anything })],
    ['unknown_version', of({ 'go@2': anything })],
  ] as const) {
    const outcome = await outcomeOf(actor)
    assert.ok(outcome.kind === 'failed')
    assert.equal([outcome.failure.reason, outcome.key, outcome.messageId], [reason, null, 'm-0'])
  }
  const outcome = await outcomeOf(actorOf(() => Promise.reject(new Rejected('no'))))
  assert.ok(outcome.kind === 'failed')
  assert.equal([outcome.failure.kind, outcome.key], ['permanent', messageKey('m-0')])
})

test('more effects than the limit fail the message, even when the handler swallows the error', async () => {
  const failure = await failureOf(
    actorOf((_, ctx) => {
      for (let i = 0; i < 1_001; i++) {
        try {
          ctx.sql`select ${i}`
        } catch {}
      }
    }),
  )
  assert.equal([failure.kind, failure.reason], ['permanent', 'effect'])
  const large = await failureOf(actorOf((_, ctx) => ctx.sql`select ${'x'.repeat(9_000_000)}`))
  assert.equal([large.kind, large.reason], ['permanent', 'effect'])
})

test('a state past its limit, or that JSON cannot hold, fails the message', async () => {
  const stateful = (value: unknown) =>
    defineActor({
      group: 'g',
      topic: 't',
      messages: { go: anything },
      state: { version: 1, schema: anything, initial: 0 },
      receive(_, ctx) {
        ctx.state = value
      },
    })
  const unreadable = [Object.fromEntries([['__proto__', 1]]), { constructor: { prototype: 1 } }, -(10n ** 1_000n)]
  for (const value of ['x'.repeat(2_000_000), Number.NaN, () => 1, '\0', ...unreadable]) {
    const failure = await failureOf(stateful(value))
    assert.equal([failure.kind, failure.reason], ['permanent', 'effect'])
  }
})

test('a state is migrated from an older version and never read from a newer one', async () => {
  const actor = defineActor({
    group: 'g',
    topic: 't',
    messages: { go: anything },
    state: {
      version: 2,
      schema: anything,
      initial: { n: 0 },
      migrate: (old, version) => ({ n: Number(old) + version }),
    },
    receive() {},
  })
  const opened = async (state: Opening['state']) => {
    const { instances, decisions, decided } = running(actor)
    instances.dispatch({ mailbox: 1, run: 1, opening: open('acme', state), records: [record(0, {})] })
    await decided(1)
    return decisions[0]?.outcome
  }
  const migrated = await opened({ version: 1, json: '41' })
  assert.ok(migrated?.kind === 'done')
  assert.equal(migrated.state, { version: 2, json: '{"n":42}' })
  for (const state of [
    { version: 3, json: '{}' },
    { version: 2, json: '{' },
  ]) {
    const outcome = await opened(state)
    assert.ok(outcome?.kind === 'failed')
    assert.equal([outcome.failure.kind, outcome.failure.reason], ['permanent', 'state_unreadable'])
    assert.ok(outcome.key !== null)
  }
})

test('a state of an older version without migrate, or that fails its schema, stops the tenant instead of starting anew', async () => {
  const nothing = z.literal(0)
  for (const [schema, version] of [
    [anything, 1],
    [nothing, 2],
  ] as const) {
    const actor = defineActor({
      group: 'g',
      topic: 't',
      messages: { go: anything },
      state: { version: 2, schema, initial: 0 },
      receive() {},
    })
    const { instances, decisions } = running(actor)
    instances.dispatch({ mailbox: 1, run: 1, opening: open('acme', { version, json: '1' }), records: [record(0, {})] })
    const outcome = decisions[0]?.outcome
    assert.ok(outcome?.kind === 'failed')
    assert.is(outcome.failure.reason, 'state_unreadable')
  }
})

test('each tenant begins with a copy of the initial state', async () => {
  const actor = defineActor({
    group: 'g',
    topic: 't',
    messages: { go: anything },
    state: { version: 1, schema: z.object({ seen: z.array(z.string()) }), initial: { seen: ['start'] } },
    receive(_, ctx) {
      ctx.state.seen.push(ctx.tenantId)
    },
  })
  const { instances, decisions } = running(actor)
  for (const [mailbox, tenant] of ['a', 'b'].entries())
    instances.dispatch({ mailbox, run: 1, opening: open(tenant), records: [record(0, {}, tenant)] })
  assert.equal(
    decisions.map(({ outcome }) => outcome.kind === 'done' && outcome.state?.json),
    ['{"seen":["start","a"]}', '{"seen":["start","b"]}'],
  )
})

test('an integer past 2^53 survives the state exactly', async () => {
  const actor = defineActor({
    group: 'g',
    topic: 't',
    messages: { go: anything },
    state: { version: 1, schema: anything, initial: 0 },
    receive(_, ctx) {
      ctx.state = BigInt(String(ctx.state)) * 2n
    },
  })
  const { instances, decisions } = running(actor)
  instances.dispatch({
    mailbox: 1,
    run: 1,
    opening: open('acme', { version: 1, json: '9007199254740993' }),
    records: [record(0, {}), record(1, {})],
  })
  assert.equal(
    decisions.map(({ outcome }) => outcome.kind === 'done' && outcome.state?.json),
    ['18014398509481986', '36028797018963972'],
  )
})

test('in offset mode a decision has no key', async () => {
  const actor = defineActor({ group: 'g', topic: 't', idempotency: 'offset', messages: { go: anything }, receive() {} })
  const outcome = await outcomeOf(actor)
  assert.ok(outcome.kind === 'done')
  assert.is(outcome.key, null)
  assert.is(outcome.messageId, 'm-0')
})

test('in offset mode nothing that an outbox has sent is handled, as it may come twice', async () => {
  const handled: string[] = []
  const actor = (idempotency: 'offset' | 'message-id') =>
    defineActor({
      group: 'g',
      topic: 't',
      idempotency,
      messages: { go: anything },
      receive: () => void handled.push(idempotency),
    })
  for (const header of ['tenantry-hops', 'tenantry-origin-topic', 'hops']) {
    for (const mode of ['offset', 'message-id'] as const) {
      const { instances, decisions } = running(actor(mode))
      const headers = [[Buffer.from(header), Buffer.from('1')]] as const
      const value = Buffer.from(JSON.stringify({ message_id: 'm', type: 'go', tenant_id: 'acme', payload: 1 }))
      const sent = incoming({ offset: 0, timestamp: 1_000, key: null, value, headers }, 10)
      instances.dispatch({ mailbox: 1, run: 1, opening: open(), records: [sent] })
      const outcome = decisions[0]?.outcome
      if (mode === 'message-id' || header === 'hops') assert.is(outcome?.kind, 'done')
      else assert.is(outcome?.kind === 'failed' && outcome.failure.reason, 'outbox_in_offset_mode')
    }
  }
  assert.equal(handled, ['message-id', 'message-id', 'offset', 'message-id'])
})

test('a type is looked up by name and version, and never found on an object’s prototype', async () => {
  const actor = defineActor({
    group: 'g',
    topic: 't',
    messages: { go: anything, 'go@2': anything },
    receive(message, ctx) {
      ctx.sql`select ${message.schema_version}`
    },
  })
  const { instances, decisions } = running(actor)
  const send = (fields: object) => {
    const value = Buffer.from(JSON.stringify({ message_id: 'x', type: 'go', tenant_id: 'acme', payload: 1, ...fields }))
    instances.dispatch({
      mailbox: 1,
      run: decisions.length + 1,
      opening: open(),
      records: [incoming({ offset: 0, timestamp: 0, key: null, value, headers: [] }, 10)],
    })
    const outcome = decisions.at(-1)?.outcome
    return outcome?.kind === 'failed' ? outcome.failure.reason : 'done'
  }
  assert.is(send({}), 'done')
  assert.is(send({ schema_version: 2 }), 'done')
  assert.is(send({ schema_version: 3 }), 'unknown_version')
  for (const type of ['stop', '__proto__', 'toString', 'go@2']) assert.is(send({ type }), 'unknown_type')
})

test('what PostgreSQL says is missing goes with the failure, as it may be everybody’s; what it says of values does not', async () => {
  class PostgresError extends Error {
    readonly code: string
    constructor(code: string) {
      super('no')
      this.code = code
    }
  }
  const own = Object.assign(new Error('no'), { code: '42P01' })
  for (const [thrown, sqlstate] of [
    [new PostgresError('42P01'), '42P01'],
    [new PostgresError('23505'), undefined],
    [own, undefined],
  ] as const) {
    const failure = await failureOf(
      actorOf(() => {
        throw thrown
      }),
    )
    assert.equal([failure.kind, failure.reason, failure.sqlstate], ['transient', 'handler', sqlstate])
  }
})

test('a dependency is declared by the actor, and no name that every object has', async () => {
  for (const name of ['constructor', 'toString', '__proto__', 'other']) {
    const actor = { ...actorOf((_, ctx) => ctx.call(name, () => 1)), dependencies: { api: { timeoutMs: 1_000 } } }
    const failure = await failureOf(actor)
    assert.equal([failure.kind, failure.reason], ['permanent', 'effect'])
    assert.match(failure.message, `${name} is not among the actor's dependencies (api)`)
  }
})

test('what a call has thrown is its dependency’s failure in that message, and in no other', async () => {
  // As what is kept of a connection that could not be made is, by all who share it.
  const unavailable = new Error('unavailable')
  const calling = (thrown: unknown) => ({
    ...actorOf((_, ctx) => ctx.call('api', () => Promise.reject(thrown))),
    dependencies: { api: { timeoutMs: 1_000 } },
  })
  for (const thrown of [unavailable, 'unavailable', undefined]) {
    const { kind, reason, dependency } = await failureOf(calling(thrown))
    assert.equal([kind, reason, dependency], ['transient', 'dependency', 'api'])
  }
  const other = await failureOf(
    actorOf(() => {
      throw unavailable
    }),
  )
  assert.equal([other.kind, other.reason, other.dependency], ['transient', 'handler', undefined])
})

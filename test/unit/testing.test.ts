import * as assert from 'uvu/assert'
import { z } from 'zod'
import { type Actor, type AnyContext, type BaseContext, defineActor, Rejected } from '../../actors/define-actor.ts'
import { testActor } from '../../actors/testing.ts'
import { timeOfId } from '../../core/message-id.ts'
import { decodeMsgpack } from '../../core/msgpack.ts'
import type { Log } from '../../core/log.ts'
import { silentLog } from '../../core/log.ts'
import { test } from '../harness.ts'
import { anything } from '../schemas.ts'

const campaigns = defineActor({
  group: 'actuator',
  topic: 'core.commands.v1',
  dependencies: { adsApi: { timeoutMs: 20 } },
  state: { version: 1, schema: z.object({ reserved: z.number() }), initial: { reserved: 0 } },
  messages: {
    'campaign.create': z.object({ campaign_id: z.string(), budget: z.number().positive() }),
    'campaign.slow': z.object({ ms: z.number() }),
    'campaign.reject': z.object({}),
  },
  async receive(message, ctx) {
    switch (message.type) {
      case 'campaign.reject':
        ctx.state.reserved = 999
        throw new Rejected('budget is used up')
      case 'campaign.slow':
        await ctx.call('adsApi', () => new Promise((resolve) => setTimeout(resolve, message.payload.ms)))
        return
      case 'campaign.create': {
        const ad = await ctx.call('adsApi', async ({ idempotencyKey }) => ({ id: idempotencyKey }))
        ctx.state.reserved += message.payload.budget
        ctx.insert('campaigns', { id: message.payload.campaign_id, budget: message.payload.budget, ad_id: ad.id })
        ctx.sql`update totals set n = n + ${1} where tenant_id = ${ctx.tenantId}`
        ctx.publish('core.events.v1', {
          type: 'campaign.created',
          payload: { campaign_id: message.payload.campaign_id },
        })
      }
    }
  },
})

const tables = { campaigns: { id: 'text', tenant_id: 'text', budget: 'numeric', ad_id: 'uuid' } }
const create = (campaign_id: string, budget = 5) => ({ type: 'campaign.create', payload: { campaign_id, budget } })

test('an actor’s effects, state and messages can be read after each message', async () => {
  const actor = testActor(campaigns, { tables, now: new Date('2026-11-25T06:00:00Z') })
  const first = await actor.send({ ...create('c-1'), message_id: 'm-1', trace_id: 'trace-1' })
  assert.is(first.failure, undefined)
  const [row] = first.rows
  assert.equal(row?.table, 'public.campaigns')
  assert.equal({ ...row?.row, ad_id: '' }, { id: 'c-1', tenant_id: 'tenant-1', budget: '5', ad_id: '' })
  assert.equal(first.statements, [
    { text: 'update totals set n = n + $1 where tenant_id = $2', values: ['1', 'tenant-1'] },
  ])
  const [sent] = first.published
  assert.ok(sent)
  assert.equal(
    [sent.topic, sent.key, sent.headers['content-type'], sent.headers['tenantry-hops']],
    ['core.events.v1', 'tenant-1', 'application/json', '1'],
  )
  assert.equal(sent.value, {
    message_id: sent.messageId,
    type: 'campaign.created',
    tenant_id: 'tenant-1',
    trace_id: 'trace-1',
    causation_id: 'm-1',
    occurred_at: '2026-11-25T06:00:00.000Z',
    schema_version: 1,
    payload: { campaign_id: 'c-1' },
  })
  assert.is(timeOfId(sent.messageId), Date.UTC(2026, 10, 25, 6))
  assert.equal(first.state, { reserved: 5 })
  assert.equal((await actor.send(create('c-2', 7))).state, { reserved: 12 })
})

test('a message that runs again has the same ids, keys and messages', async () => {
  const run = () =>
    testActor(campaigns, { tables }).send({ ...create('c-1'), message_id: '0190f3a1-7c3b-7abc-9def-0123456789ab' })
  assert.equal(await run(), await run())
})

test('a failed message leaves no effects and the state as it was', async () => {
  const actor = testActor(campaigns, { tables, state: { reserved: 40 } })
  const failed = await actor.send({ type: 'campaign.reject', payload: {} })
  assert.equal(
    [failed.failure?.kind, failed.failure?.reason, failed.failure?.message],
    ['permanent', 'rejected', 'budget is used up'],
  )
  assert.equal([failed.rows, failed.published, failed.state], [[], [], { reserved: 40 }])
  assert.equal((await actor.send(create('c-1'))).state, { reserved: 45 })
})

test('a call that takes too long fails by its deadline and blames its dependency', async () => {
  const actor = testActor(campaigns, { tables })
  assert.is((await actor.send({ type: 'campaign.slow', payload: { ms: 0 } })).failure, undefined)
  const { failure } = await actor.send({ type: 'campaign.slow', payload: { ms: 60_000 } })
  assert.equal([failure?.kind, failure?.reason], ['transient', 'dependency'])
  assert.match(failure?.message ?? '', 'adsApi did not answer within 20 ms')
})

test('tenants interleave and each keeps its own state', async () => {
  const actor = testActor(campaigns, { tables })
  const results = await Promise.all(
    ['a', 'b', 'a', 'b', 'a'].map((tenant_id, i) => actor.send({ ...create(`c-${i}`), tenant_id })),
  )
  assert.equal(
    results.map(({ state }) => state),
    [{ reserved: 5 }, { reserved: 5 }, { reserved: 10 }, { reserved: 10 }, { reserved: 15 }],
  )
})

test('bad messages and records are refused as in production', async () => {
  const actor = testActor(campaigns, { tables })
  assert.is((await actor.send(create('c-1', -1))).failure?.reason, 'schema')
  assert.is((await actor.send({ type: 'campaign.unknown', payload: {} })).failure?.reason, 'unknown_type')
  assert.is((await actor.sendValue(Buffer.from('{'))).failure?.reason, 'bad_json')
  assert.is((await actor.sendValue(null)).failure?.reason, 'null_value')
  const other = Buffer.from(JSON.stringify({ ...create('c-1'), message_id: 'x', tenant_id: 'b' }))
  assert.is((await actor.sendValue(other, { tenant: 'a' })).failure?.reason, 'tenant_mismatch')
})

test('without tables every row is taken as it is', async () => {
  const { rows } = await testActor(campaigns).send(create('c-1'))
  assert.equal(Object.keys(rows[0]?.row ?? {}), ['id', 'budget', 'ad_id'])
})

test('a declared type takes what the column takes in production, by any of its names', async () => {
  const wrong: readonly [type: string, value: unknown][] = [
    ['oid', -1],
    ['name', 7],
    ['bpchar', 7],
    ['character varying(20)', 7],
    ['double precision', 'x'],
    ['decimal(10,2)', 'x'],
    ['timestamp(3) with time zone', 'tomorrow'],
    ['uuid[]', ['x']],
    ['_int4', [1.5]],
    ['integer[]', 1],
  ]
  for (const [type, value] of wrong) {
    const { failure } = await testActor(
      plain((_, ctx) => ctx.insert('t', { value })),
      { tables: { t: { value: type } } },
    ).send({ type: 'go', payload: {} })
    assert.is(failure?.reason, 'effect', type)
  }
  const { rows } = await testActor(
    plain((_, ctx) => ctx.insert('t', { value: [1, null] })),
    { tables: { t: { value: 'int[]' } } },
  ).send({ type: 'go', payload: {} })
  assert.is(rows[0]?.row['value'], '{"1",NULL}')
})

/** What a one-off handler came to. */
const handled = (receive: Parameters<typeof plain>[0], payload: unknown = {}) =>
  testActor(plain(receive), { tables }).send({ type: 'go', payload, message_id: 'm-1' })

function plain(receive: (message: { readonly payload: unknown }, ctx: BaseContext) => void) {
  return defineActor({ group: 'g', topic: 't.v1', messages: { go: anything }, receive })
}

test('effects that cannot be fail the message for good, with names', async () => {
  const cases: readonly [receive: Parameters<typeof plain>[0], message: RegExp][] = [
    [(_, ctx) => ctx.insert('campaings', { id: 'x' }), /campaings .*did you mean campaigns/],
    [(_, ctx) => ctx.insert('campaigns', { bugdet: 1 }), /public\.campaigns\.bugdet .*budget/],
    [(_, ctx) => ctx.insert('campaigns', { budget: Number.NaN }), /public\.campaigns\.budget/],
    [(_, ctx) => ctx.insert('campaigns', { tenant_id: 'other' }), /another tenant/],
    [(_, ctx) => ctx.publish('bad topic', { type: 'x', payload: 1 }), /topic/],
    [(_, ctx) => ctx.publish('t', { type: '', payload: 1 }), /type/],
    [(_, ctx) => ctx.publish('t', { type: 'x', payload: undefined }), /payload/],
    [(_, ctx) => ctx.publish('t', { type: 'x', payload: { n: Number.NaN } }), /n cannot be written as JSON/],
    [(_, ctx) => ctx.publish('t', { type: 'x', payload: 1, messageId: 'a\0b' }), /messageId/],
    [(_, ctx) => ctx.publish('t', { type: 'x', payload: 1, schemaVersion: 0 }), /schemaVersion/],
  ]
  for (const [receive, message] of cases) {
    const { failure } = await handled(receive)
    assert.equal([failure?.kind, failure?.reason], ['permanent', 'effect'], String(message))
    assert.match(failure?.message ?? '', message)
  }
})

test('only statements that cannot end or change the transaction are taken', async () => {
  const refused: Parameters<typeof plain>[0][] = [
    (_, ctx) => ctx.sql`commit`,
    (_, ctx) => ctx.sql`ROLLBACK`,
    (_, ctx) => ctx.sql`set role postgres`,
    (_, ctx) => ctx.sql`lock table campaigns`,
    (_, ctx) => ctx.sql`listen x`,
    (_, ctx) => ctx.sql`copy campaigns from stdin`,
    (_, ctx) => ctx.sql` /* x /* y */ */ -- z
      begin`,
    (_, ctx) => ctx.sql`/* never ended select`,
    (_, ctx) => ctx.sql``,
    (_, ctx) => ctx.sql`truncate campaigns`,
    (_, ctx) => ctx.sql`${'select 1'}`,
  ]
  for (const receive of refused) assert.is((await handled(receive)).failure?.reason, 'effect')
  const taken: Parameters<typeof plain>[0][] = [
    (_, ctx) => ctx.sql`select 1`,
    (_, ctx) => ctx.sql`/* why */ -- because
      WITH x as (select 1) select * from x`,
    (_, ctx) => ctx.sql`insert into t values (${1})`,
    (_, ctx) => ctx.sql`merge into t using s on true when matched then delete`,
  ]
  for (const receive of taken) assert.is((await handled(receive)).failure, undefined)
})

test('a message can be published as msgpack, with its own key, id and version', async () => {
  const { published } = await handled((_, ctx) =>
    ctx.publish('t', {
      type: 'x',
      payload: { at: new Date(0), big: 2n ** 60n },
      format: 'msgpack',
      key: 'k',
      messageId: 'own',
      schemaVersion: 3,
    }),
  )
  const [sent] = published
  assert.ok(sent && sent.value instanceof Uint8Array)
  assert.equal([sent.key, sent.messageId, sent.headers['content-type']], ['k', 'own', 'application/msgpack'])
  const envelope = decodeMsgpack(Buffer.from(sent.value), 64)
  assert.equal(envelope, {
    ...Object(envelope),
    message_id: 'own',
    schema_version: 3,
    payload: { at: '1970-01-01T00:00:00.000Z', big: 2n ** 60n },
  })
})

test('a message that the types would refuse is not published, and says why', async () => {
  const message = { type: 'x', payload: 1 }
  const wrong: readonly [topic: unknown, message: unknown, why: RegExp][] = [
    ['..', message, /topic/],
    ['t', { ...message, format: 'avro' }, /format must be 'json', 'msgpack' or 'cloudevents'/],
    ['t', { ...message, format: null }, /format/],
    ['t', { ...message, key: 7 }, /key/],
    ['t', undefined, /takes a topic and a message/],
    ['t', { ...message, format: 'msgpack', payload: { n: 2n ** 64n } }, /64 bits/],
    ['t', { ...message, format: 'msgpack', payload: ['\\', 'a\udc00'] }, /half a surrogate pair/],
    ['t', { ...message, format: 'msgpack', payload: Object.fromEntries([['__proto__', 1]]) }, /__proto__/],
  ]
  for (const [topic, given, why] of wrong) {
    const { failure } = await handled((_, ctx) => {
      Reflect.apply(ctx.publish, ctx, [topic, given])
    })
    assert.match(failure?.message ?? '', why)
    assert.is(failure?.reason, 'effect')
  }
})

test('what MessagePack can hold goes out as it is', async () => {
  const payload = { path: 'C:\\ud800', pair: '😀', nul: '\0', large: 2 ** 60, larger: -1e20, most: 2n ** 64n - 1n }
  const { published } = await handled((_, ctx) => ctx.publish('t', { type: 'x', payload, format: 'msgpack' }))
  const value = published[0]?.value
  assert.ok(value instanceof Uint8Array)
  const envelope = decodeMsgpack(Buffer.from(value), 64)
  assert.equal(envelope, { ...Object(envelope), payload })
})

test('a row or an upsert that the types would refuse is not written, and says why', async () => {
  const wrong: readonly [how: 'insert' | 'upsert', given: readonly unknown[], why: RegExp][] = [
    ['insert', ['t', null], /object of its columns/],
    ['insert', ['t'], /object of its columns/],
    ['insert', [undefined, { id: 1 }], /name of its table/],
    ['upsert', ['t', { id: 1 }], /an upsert into t needs \{ conflict \}/],
    ['upsert', ['t', { id: 1 }, {}], /needs \{ conflict \}/],
    ['upsert', ['t', { id: 1 }, { conflict: null }], /needs \{ conflict \}/],
    ['upsert', ['t', { id: 1 }, { conflict: ['id', 7] }], /needs \{ conflict \}/],
  ]
  for (const [how, given, why] of wrong) {
    const { failure, rows } = await handled((_, ctx) => {
      Reflect.apply(ctx[how], ctx, given)
    })
    assert.match(failure?.message ?? '', why)
    assert.is(failure?.reason, 'effect')
    assert.is(rows.length, 0)
  }
})

test('messages of one message differ in their ids', async () => {
  const { published } = await handled((_, ctx) => {
    for (let i = 0; i < 3; i++) ctx.publish('t', { type: 'x', payload: i })
  })
  assert.is(new Set(published.map(({ messageId }) => messageId)).size, 3)
})

test('trace headers travel on and hops count up', async () => {
  const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
  const headers = Object.entries({ traceparent, tracestate: 'a=b', 'tenantry-hops': '4' }).map(
    ([name, value]): [Buffer, Buffer] => [Buffer.from(name), Buffer.from(value)],
  )
  const value = Buffer.from(JSON.stringify({ message_id: 'm', type: 'go', tenant_id: 'a', payload: 1 }))
  const { published } = await testActor(plain((_, ctx) => ctx.publish('t', { type: 'x', payload: 1 }))).sendValue(
    value,
    { tenant: 'a', headers },
  )
  assert.equal(published[0]?.headers, {
    'content-type': 'application/json',
    'tenantry-hops': '5',
    traceparent,
    tracestate: 'a=b',
  })
})

test('a handler sees the record’s time, its raw value and ids of its own', async () => {
  const now = new Date('2026-11-25T06:00:00Z')
  const seen: unknown[] = []
  const actor = plain((_, ctx) => {
    const raw = ctx.raw
    seen.push(
      ctx.now.getTime(),
      Buffer.from(raw).toString().startsWith('{"message_id":"m-1"'),
      ctx.id(0) === ctx.id(0),
      ctx.id(0) === ctx.id(1),
      ctx.id(7),
    )
    raw.fill(0)
    seen.push(ctx.raw[0])
  })
  await testActor(actor, { now }).send({ type: 'go', payload: 1, message_id: 'm-1' })
  const id = String(seen[4])
  assert.equal(
    seen.filter((_, i) => i !== 4),
    [now.getTime(), true, true, false, 0x7b],
  )
  assert.is(timeOfId(id), now.getTime())
  assert.is(
    (
      await handled((_, ctx) => {
        ctx.id(-1)
      })
    ).failure?.reason,
    'effect',
  )
})

test('lines of log carry the actor, the tenant and the message', async () => {
  const lines: unknown[] = []
  const log: Log = { ...silentLog, info: (event, fields, sentence) => lines.push([event, fields, sentence]) }
  await testActor(
    plain((_, ctx) => ctx.log.info('made', { n: 1, tenant: 'forged' }, 'Made one.')),
    { log },
  ).send({ type: 'go', payload: 1, message_id: 'm-1' })
  assert.equal(lines, [
    ['made', { n: 1, group: 'g', actor: 't.v1', tenant: 'tenant-1', message_id: 'm-1', type: 'go' }, 'Made one.'],
  ])
})

test('a serial actor reads what the test gives it', async () => {
  const actor = defineActor({
    group: 'g',
    topic: 't',
    consistency: 'serial',
    messages: { go: anything },
    async receive(_, ctx) {
      const rows = await ctx.query<{ n: number }>`select ${'x'}::text as n`
      ctx.sql`select ${rows.length}`
    },
  })
  const asked: unknown[] = []
  const { statements } = await testActor(actor, {
    query: (...question) => (asked.push(question), [{ n: 1 }, { n: 2 }]),
  }).send({ type: 'go', payload: 1 })
  assert.equal(asked, [['select $1::text as n', ['x'], 'tenant-1']])
  assert.equal(statements[0]?.values, ['2'])
})

test('an actor without a state, a declaration or a consistency cannot reach for them at run time either', async () => {
  const reach: ((ctx: AnyContext) => unknown)[] = [
    (ctx) => ctx.state,
    (ctx) => ctx.query`select 1`,
    (ctx) => ctx.call('adsApi', () => 1),
  ]
  for (const use of reach) {
    const actor: Actor = {
      ...defineActor({ group: 'g', topic: 't', messages: { go: anything }, receive() {} }),
      receive: (_message, ctx) => use(ctx),
    }
    const { failure } = await testActor(actor).send({ type: 'go', payload: 1 })
    assert.ok(failure, 'it failed')
    assert.is(failure.errorClass, 'TenantryError')
  }
})

test('a producer that counts microseconds dates what follows to the end of the year 9999', async () => {
  const actor = plain((_, ctx) => ctx.publish('out.v1', { type: 'said', payload: { at: ctx.now.toISOString() } }))
  const tested = testActor(actor, { now: new Date(1_764_000_000_000_000) })
  const [said] = (await tested.send({ type: 'go', payload: {}, occurred_at: '2026-11-25T06:00:00Z' })).published
  assert.match(JSON.stringify(said), '"at":"9999-12-31T23:59:59.999Z"')
})

import { z } from 'zod'
import { defineActor } from '../../actors/define-actor.ts'

// Checked by tsc alone: what would fail when it runs must not compile.

const create = z.object({ campaign_id: z.string(), budget: z.number() })
const close = z.object({ campaign_id: z.string(), reason: z.string() })
const messages = { 'campaign.create': create, 'campaign.close': close }

function text(value: string): void {
  void value
}

function number(value: number): void {
  void value
}

defineActor({
  group: 'g',
  topic: 't',
  messages: { ...messages, 'campaign.create@2': z.object({ id: z.bigint() }) },
  receive(message, ctx) {
    if (message.type === 'campaign.close') {
      text(message.payload.reason)
      // @ts-expect-error a close has no budget
      void message.payload.budget
    }
    if (message.type === 'campaign.create' && message.schema_version === 1) number(message.payload.budget)
    if (message.type === 'campaign.create' && message.schema_version === 2) {
      const id: bigint = message.payload.id
      void id
    }
    // @ts-expect-error no such type
    if (message.type === 'campaign.pause') return
    // @ts-expect-error no such version
    if (message.schema_version === 3) return
    // @ts-expect-error the payload is narrowed first
    void message.payload.reason
    text(ctx.tenantId)
    text(ctx.id(0))
    // @ts-expect-error a topic is a string
    ctx.publish(5, { type: 'x', payload: 1 })
    // @ts-expect-error a message has a type
    ctx.publish('t', { payload: 1 })
    // @ts-expect-error sql is a tag
    ctx.sql('select 1')
    // @ts-expect-error an upsert says by which columns
    ctx.upsert('t', { a: 1 })
    // @ts-expect-error a pipelined actor cannot read
    void ctx.query
    // @ts-expect-error no state was declared
    void ctx.state
    // @ts-expect-error no dependency was declared
    void ctx.call
  },
})

defineActor({
  group: 'g',
  topic: 't',
  messages,
  dependencies: { adsApi: { timeoutMs: 2_000 } },
  state: { version: 1, schema: z.object({ reserved: z.number() }), initial: { reserved: 0 } },
  tables: ['campaigns', 'audit.log'],
  async receive(message, ctx) {
    ctx.state.reserved += 1
    ctx.state = { reserved: 2 }
    // @ts-expect-error the state has the schema's type
    ctx.state.other = 1
    // @ts-expect-error the state has the schema's type
    ctx.state = { reserved: 'x' }
    const ad = await ctx.call('adsApi', async ({ signal, idempotencyKey }) => ({
      id: `${message.type}-${idempotencyKey}`,
      aborted: signal.aborted,
    }))
    text(ad.id)
    // @ts-expect-error not declared
    await ctx.call('mailer', () => 1)
    ctx.insert('campaigns', { id: 'x' })
    ctx.upsert('audit.log', { id: 'x' }, { conflict: ['tenant_id', 'id'] })
    // @ts-expect-error not among the tables
    ctx.insert('campaings', { id: 'x' })
  },
})

defineActor({
  group: 'g',
  topic: 't',
  messages,
  consistency: 'serial',
  async receive(_message, ctx) {
    const rows = await ctx.query<{ n: number }>`select count(*)::int as n from campaigns`
    number(rows[0]?.n ?? 0)
    ctx.insert('any_table', { id: 'x' })
  },
})

defineActor({
  group: 'g',
  topic: 't',
  messages,
  // @ts-expect-error the initial state must have the schema's type
  state: { version: 1, schema: z.object({ reserved: z.number() }), initial: { reserved: 'none' } },
  receive() {},
})

defineActor({
  group: 'g',
  topic: 't',
  // @ts-expect-error a schema must be a Standard Schema
  messages: { go: { parse: (value: unknown) => value } },
  receive() {},
})

defineActor({
  group: 'g',
  topic: 't',
  messages,
  // @ts-expect-error there are two consistencies
  consistency: 'eventual',
  receive() {},
})

// @ts-expect-error a group is needed
defineActor({ topic: 't', messages, receive() {} })

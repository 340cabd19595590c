import { hash } from 'node:crypto'
import { z } from 'zod'
import { defineActor } from '../../actors/define-actor.ts'
import { eventsTopic, place } from './_place.ts'

/** One row a message, a state with a chain over all ids in their order, and an event for each tenth message. */
export default defineActor({
  ...place(),
  name: 'state',
  tables: ['effects'],
  state: {
    version: 1,
    schema: z.object({ messages: z.number(), amount: z.number(), chain: z.string() }),
    initial: { messages: 0, amount: 0, chain: '' },
  },
  messages: { 'order.place': z.object({ n: z.number(), amount: z.number(), note: z.string() }) },
  receive({ message_id, payload }, ctx) {
    ctx.state.messages += 1
    ctx.state.amount += payload.amount
    ctx.state.chain = hash('sha256', ctx.state.chain + message_id, 'hex')
    ctx.insert('effects', { id: message_id, n: payload.n, amount: payload.amount })
    if (payload.n % 10 === 0) ctx.publish(eventsTopic(), { type: 'order.placed', payload: { n: payload.n } })
  },
})

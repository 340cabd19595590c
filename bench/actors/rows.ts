import { z } from 'zod'
import { defineActor } from '../../actors/define-actor.ts'
import { place } from './_place.ts'

/** One row a message. */
export default defineActor({
  ...place(),
  name: 'rows',
  tables: ['effects'],
  messages: { 'order.place': z.object({ n: z.number(), amount: z.number(), note: z.string() }) },
  receive({ message_id, payload }, ctx) {
    ctx.insert('effects', { id: message_id, n: payload.n, amount: payload.amount })
  },
})

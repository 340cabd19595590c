import { z } from 'zod'
import { defineActor } from '../../actors/define-actor.ts'
import { place } from './_place.ts'

const order = z.object({ n: z.number(), amount: z.number(), note: z.string() })

/** One row a message, after a call that answers at once: but for one tenant, whom nobody answers. */
export default defineActor({
  ...place(),
  name: 'calling',
  tables: ['effects'],
  dependencies: { service: { timeoutMs: 1_000 } },
  messages: { 'order.place': order, 'order.calm': order, 'order.open-breaker': order },
  async receive({ type, message_id, payload }, ctx) {
    await ctx.call('service', async () => {
      if (type === 'order.open-breaker') throw new Error('the service is away')
    })
    if (type === 'order.place') ctx.insert('effects', { id: message_id, n: payload.n, amount: payload.amount })
  },
})

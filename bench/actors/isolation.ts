import process from 'node:process'
import { z } from 'zod'
import { defineActor } from '../../actors/define-actor.ts'
import { place } from './_place.ts'

const order = z.object({ n: z.number(), amount: z.number(), note: z.string() })

/** One row a message, and one tenant whose messages say what is wrong with it. */
export default defineActor({
  ...place(),
  name: 'isolation',
  tables: ['effects'],
  messages: {
    'order.place': order,
    'order.calm': order,
    'order.failing': order,
    'order.hanging': order,
    'order.flooding': order,
    'order.blocking': order,
    'order.ending': order,
  },
  async receive({ type, message_id, payload }, ctx) {
    if (type === 'order.place') ctx.insert('effects', { id: message_id, n: payload.n, amount: payload.amount })
    if (type === 'order.failing') throw new Error('it fails for ever')
    if (type === 'order.hanging') await new Promise<void>(() => {})
    if (type === 'order.blocking') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300)
    if (type === 'order.ending') process.exit(1) // only this thread
  },
})

import { z } from 'zod'
import { defineActor } from '../../actors/define-actor.ts'
import { place } from './_place.ts'

const count = Number(process.env['BENCH_EFFECTS'] ?? 1)

/** As many rows a message as BENCH_EFFECTS says: the first where all actors of the bench have theirs. */
export default defineActor({
  ...place(),
  name: 'effects',
  tables: ['effects', 'more_effects'],
  messages: { 'order.place': z.object({ n: z.number(), amount: z.number(), note: z.string() }) },
  receive({ message_id, payload }, ctx) {
    if (count > 0) ctx.insert('effects', { id: message_id, n: payload.n, amount: payload.amount })
    for (let effect = 1; effect < count; effect++) ctx.insert('more_effects', { id: message_id, n: payload.n, effect })
  },
})

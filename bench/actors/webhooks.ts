import { z } from 'zod'
import { defineActor } from '../../actors/define-actor.ts'
import { kinds } from '../../examples/webhooks/recorded.ts'
import { place } from './_place.ts'

const webhook = z.object({ n: z.number(), event: z.looseObject({ action: z.string().optional() }) })

/** One row for each recorded webhook of GitHub. */
export default defineActor({
  ...place(),
  name: 'webhooks',
  tables: ['effects'],
  messages: Object.fromEntries(kinds().map((kind) => [`github.${kind}`, webhook])),
  receive({ message_id, payload }, ctx) {
    ctx.insert('effects', { id: message_id, n: payload.n, amount: payload.event.action?.length ?? 0 })
  },
})

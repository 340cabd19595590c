import { hash } from 'node:crypto'
import { defineActor } from 'tenantry'
import { z } from 'zod'

/** Sums up an airport's late departures by destination. */
export default defineActor({
  group: 'analyst',
  topic: 'core.events.v1',
  name: 'delays',
  tables: ['delays'],
  state: {
    version: 1,
    schema: z.object({
      destinations: z.record(z.string(), z.tuple([z.number(), z.number()])),
      chain: z.string(),
    }),
    initial: { destinations: {}, chain: '' },
  },
  messages: {
    'flight.delayed': z.object({ flight: z.number().int(), delay: z.number().int(), destination: z.string() }),
  },
  receive({ message_id, payload }, ctx) {
    const { delay, destination } = payload
    const [flights, minutes] = ctx.state.destinations[destination] ?? [0, 0]
    ctx.state.destinations[destination] = [flights + 1, minutes + delay]
    ctx.state.chain = hash('sha256', ctx.state.chain + message_id, 'hex')
    const row = { destination, flights: flights + 1, minutes: minutes + delay }
    ctx.upsert('delays', row, { conflict: ['tenant_id', 'destination'] })
  },
})

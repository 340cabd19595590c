import { hash } from 'node:crypto'
import { defineActor } from 'tenantry'
import { z } from 'zod'

/** One airport: counts its departures, keeps a row of each, and tells others of the late ones. */
export default defineActor({
  group: 'actuator',
  topic: 'core.commands.v1',
  name: 'airport',
  tables: ['flights'],
  state: {
    version: 1,
    schema: z.object({ flights: z.number(), late: z.number(), minutes: z.number(), chain: z.string() }),
    initial: { flights: 0, late: 0, minutes: 0, chain: '' },
  },
  messages: {
    'flight.departed': z.object({
      flight: z.number().int(),
      delay: z.number().int(),
      distance: z.number().int(),
      destination: z.string(),
    }),
  },
  receive({ message_id, occurred_at, payload }, ctx) {
    const { flight, delay, distance, destination } = payload
    const { state } = ctx
    state.flights += 1
    state.minutes += delay
    // The order of all messages in one value: what changed places, came twice or was left out would change it.
    state.chain = hash('sha256', state.chain + message_id, 'hex')
    ctx.insert('flights', {
      message_id,
      number: state.flights,
      flight,
      departed_at: occurred_at,
      delay,
      distance,
      destination,
    })
    if (delay > 60) {
      state.late += 1
      ctx.publish('core.events.v1', { type: 'flight.delayed', payload: { flight, delay, destination } })
    }
  },
})

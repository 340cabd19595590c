import { z } from 'zod'
import { defineActor } from '../../actors/define-actor.ts'
import { place } from './_place.ts'

const url = process.env['BENCH_URL'] ?? ''

/** Sends each record's value to an HTTP server. */
export default defineActor({
  ...place(),
  name: 'http',
  dependencies: { server: { timeoutMs: 10_000 } },
  messages: { 'order.place': z.object({ n: z.number(), amount: z.number(), note: z.string() }) },
  async receive(_message, ctx) {
    await ctx.call('server', async ({ signal, idempotencyKey }) => {
      const answer = await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'idempotency-key': idempotencyKey },
        body: ctx.raw.slice(),
        signal,
      })
      await answer.arrayBuffer()
      if (!answer.ok) throw new Error(`the server answered ${answer.status}`)
    })
  },
})

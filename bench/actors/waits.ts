import { setTimeout as pause } from 'node:timers/promises'
import { z } from 'zod'
import { defineActor } from '../../actors/define-actor.ts'
import { place } from './_place.ts'

const { BENCH_WAIT_MS: ms = '5', BENCH_WAIT_TIMES: times = '1' } = process.env

/** Waits some times, one after the other, and has no effects. */
export default defineActor({
  ...place(),
  name: 'waits',
  messages: { 'order.place': z.object({ n: z.number(), amount: z.number(), note: z.string() }) },
  async receive() {
    for (let n = 0; n < Number(times); n++) await pause(Number(ms))
  },
})

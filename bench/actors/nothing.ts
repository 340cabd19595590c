import { z } from 'zod'
import { defineActor } from '../../actors/define-actor.ts'
import { place } from './_place.ts'

/** Has no effects. */
export default defineActor({
  ...place(),
  name: 'nothing',
  messages: { 'order.place': z.object({ n: z.number(), amount: z.number(), note: z.string() }) },
  receive() {},
})

import { Marks } from './chaos.ts'
import type { Schedule } from './schedule.ts'
import type { Violation } from './violation.ts'
import { World } from './world.ts'

export type Simulated = {
  readonly schedule: Schedule
  readonly violation: Violation | null
  readonly events: number
  readonly hash: number
  readonly marks: Marks
}

/** One run at a time: what is not awaited must be laid at somebody's door. */
let present: World | null = null
process.on('unhandledRejection', (error) => present?.failed(error, null))

/** Runs one schedule in virtual time. The first violation ends it. */
export async function simulate(
  schedule: Schedule,
  options: { marks?: Marks; trace?: (at: number, who: string, what: string) => void } = {},
): Promise<Simulated> {
  const marks = options.marks ?? new Marks()
  const world = new World({ schedule, marks, trace: options.trace ?? null })
  present = world
  const [violation = null] = await world.run()
  present = null
  return { schedule, violation, events: world.loop.events, hash: world.loop.hash, marks }
}

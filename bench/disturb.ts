import { setTimeout as pause } from 'node:timers/promises'
import type { Crew } from './crew.ts'
import type { Subject } from './subject.ts'

/** How long a member may take from its start to its first partition. */
const joinPatienceMs = 60_000

/**
 * While `records` are worked off, kills the crew's member twice, each time with another in its place; then a second one
 * joins, and leaves once it has had its part. Returns whether that one ever had partitions.
 */
export async function disturb(
  crew: Crew<Subject>,
  records: number,
  reach: (records: number) => Promise<unknown>,
): Promise<{ readonly kills: number; readonly joined: boolean }> {
  let member = crew.first
  for (const share of [0.2, 0.4]) {
    await reach(Math.ceil(records * share))
    await crew.lose(member)
    member = await crew.join()
  }
  await reach(Math.ceil(records * 0.6))
  const second = await crew.join()
  const joined = await untilReady(crew, second)
  await reach(Math.ceil(records * 0.8))
  await crew.leave(second)
  await reach(records)
  return { kills: 2, joined }
}

/** Whether it says so in time. It is given partitions even when nothing is left to read. */
async function untilReady(crew: Crew<Subject>, member: Subject): Promise<boolean> {
  const deadline = Date.now() + joinPatienceMs
  while (member.readyAt() === undefined && Date.now() < deadline) await crew.while(pause(100))
  return member.readyAt() !== undefined
}

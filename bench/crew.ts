import { setTimeout as pause } from 'node:timers/promises'
import type { Reached, Subject } from './subject.ts'

/** How long a member may take from its start to its first partition. */
const joinPatienceMs = 60_000

/** Members of one group, of which some are killed and others join and leave: together they are the subject. */
export class Crew implements Subject {
  readonly startedAt = Date.now()
  readonly ended: Promise<never>
  readonly #launch: () => Promise<Subject>
  readonly #count: () => Promise<number>
  readonly #all: Subject[] = []
  readonly #running: Subject[] = []
  #fail: (error: unknown) => void = () => {}

  /** `launch` starts a member; `count` tells, by what is in PostgreSQL, how many messages are done. */
  constructor(launch: () => Promise<Subject>, count: () => Promise<number>) {
    this.#launch = launch
    this.#count = count
    this.ended = new Promise<never>((_, reject) => {
      this.#fail = reject
    })
    this.ended.catch(() => {}) // whoever waits for something else races against it
  }

  get pids(): readonly number[] {
    return this.#all.flatMap(({ pids }) => pids)
  }

  get folders(): readonly string[] {
    return this.#all.flatMap(({ folders }) => folders)
  }

  /** Starts one more. */
  async join(): Promise<Subject> {
    const member = await this.#launch()
    this.#all.push(member)
    this.#running.push(member)
    member.ended.catch(this.#fail)
    return member
  }

  /** Kills the one that has run longest, and starts another in its place. */
  async replace(): Promise<void> {
    await this.#running.shift()?.kill()
    await this.join()
  }

  /** Ends one as it should be ended. */
  async leave(member: Subject): Promise<void> {
    this.#running.splice(this.#running.indexOf(member), 1)
    await member.stop()
  }

  readyAt(): number | undefined {
    return this.#all[0]?.readyAt()
  }

  async done(): Promise<Reached> {
    return { records: await this.#count(), at: Date.now() }
  }

  async stop(): Promise<void> {
    await Promise.all(this.#running.splice(0).map((member) => member.stop()))
  }

  async kill(): Promise<void> {
    await Promise.all(this.#all.map((member) => member.kill()))
  }

  logEnd(): string {
    return this.#running.at(-1)?.logEnd() ?? ''
  }
}

/**
 * While `records` are worked off, kills the crew's member twice; then a second one joins, and leaves once it has had its
 * part. Returns whether that one ever had partitions.
 */
export async function disturb(
  crew: Crew,
  records: number,
  reach: (records: number) => Promise<unknown>,
): Promise<{ readonly kills: number; readonly joined: boolean }> {
  await reach(Math.ceil(records * 0.2))
  await crew.replace()
  await reach(Math.ceil(records * 0.4))
  await crew.replace()
  await reach(Math.ceil(records * 0.6))
  const second = await crew.join()
  const joined = await untilReady(crew, second)
  await reach(Math.ceil(records * 0.8))
  await crew.leave(second)
  await reach(records)
  return { kills: 2, joined }
}

/** Whether it says so in time. It is given partitions even when nothing is left to read. */
async function untilReady(crew: Crew, member: Subject): Promise<boolean> {
  const deadline = Date.now() + joinPatienceMs
  while (member.readyAt() === undefined && Date.now() < deadline) await Promise.race([pause(100), crew.ended])
  return member.readyAt() !== undefined
}

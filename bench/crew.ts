import { setTimeout as pause } from 'node:timers/promises'
import { TenantryError } from '../core/errors.ts'
import type { Reached, Subject } from './subject.ts'

/** A killed member's session may last most of a minute, and its partitions are nobody's until then. */
const readyPatienceMs = 120_000

/** Members of one group, all alike, of which some are lost and others join and leave: together they are the subject. */
export class Crew<M extends Subject> implements Subject {
  /** The one that is there from the beginning. */
  readonly first: M
  readonly startedAt: number
  readonly ended: Promise<never>
  readonly #launch: () => M | Promise<M>
  readonly #count: (() => Promise<number>) | undefined
  readonly #all: M[] = []
  readonly #running: M[] = []
  #fail: (error: unknown) => void = () => {}

  /**
   * Starts the first one. `count` tells how many messages are done, whoever did them; when left out the first one knows,
   * also once it has ended.
   */
  static async of<M extends Subject>(launch: () => M | Promise<M>, count?: () => Promise<number>): Promise<Crew<M>> {
    return new Crew(launch, await launch(), count)
  }

  private constructor(launch: () => M | Promise<M>, first: M, count: (() => Promise<number>) | undefined) {
    this.#launch = launch
    this.#count = count
    this.ended = new Promise<never>((_, reject) => {
      this.#fail = reject
    })
    this.ended.catch(() => {}) // whoever waits for something else races against it
    this.first = this.#take(first)
    this.startedAt = first.startedAt
  }

  /** Those that have neither been lost nor left, in the order in which they were started. */
  get running(): readonly M[] {
    return this.#running
  }

  get pids(): readonly number[] {
    const ended = this.#all.filter((member) => !this.#running.includes(member))
    return [...ended, ...this.#running].flatMap(({ pids }) => pids)
  }

  get folders(): readonly string[] {
    return this.#all.flatMap(({ folders }) => folders)
  }

  /** Starts one more. */
  async join(): Promise<M> {
    return this.#take(await this.#launch())
  }

  /** Ends one as it should be ended. */
  async leave(member: M): Promise<void> {
    this.#drop(member)
    await member.stop()
  }

  /** Ends one at once. */
  async lose(member: M): Promise<void> {
    this.#drop(member)
    await member.kill()
  }

  /** Of the first one. */
  readyAt(): number | undefined {
    return this.first.readyAt()
  }

  /** Resolves when it could begin to read. Throws TENANTRY_BENCH_STUCK when it could not for two minutes. */
  async ready(member: M): Promise<void> {
    const deadline = Date.now() + readyPatienceMs
    while (member.readyAt() === undefined) {
      if (Date.now() > deadline)
        throw new TenantryError(
          'TENANTRY_BENCH_STUCK',
          `A member has no partition after ${readyPatienceMs / 1_000} s. The end of its log:\n${member.logEnd()}`,
        )
      await this.while(pause(20))
    }
  }

  async done(): Promise<Reached> {
    return this.#count === undefined ? this.first.done() : { records: await this.#count(), at: Date.now() }
  }

  /** As `work`, but rejects when a member ends by itself meanwhile. */
  while<T>(work: Promise<T>): Promise<T> {
    return Promise.race([work, this.ended])
  }

  async stop(): Promise<void> {
    await Promise.all(this.#running.splice(0).map((member) => member.stop()))
  }

  async kill(): Promise<void> {
    await Promise.all(this.#all.map((member) => member.kill()))
  }

  /** Of the last one that was started and runs, or of the last one when none runs. */
  logEnd(): string {
    return (this.#running.at(-1) ?? this.#all.at(-1) ?? this.first).logEnd()
  }

  #take(member: M): M {
    this.#all.push(member)
    this.#running.push(member)
    member.ended.catch(this.#fail)
    return member
  }

  #drop(member: M): void {
    const at = this.#running.indexOf(member)
    if (at >= 0) this.#running.splice(at, 1)
  }
}

import { type BackOff, backOffMs, type Clock } from '../core/clock.ts'

type Away = { resting: boolean; failures: number; readonly reason: string }

export type AwayTopicsEvents = {
  /** A topic may be tried again. */
  rested(): void
  /** Why something cannot be delivered, all topics in one sentence; null when nothing is away any more. */
  trouble(reason: string | null): void
}

/** Topics to which something could not be delivered, until something can: each is tried again after a growing pause. */
export class AwayTopics {
  readonly #clock: Clock
  readonly #pause: BackOff
  readonly #events: AwayTopicsEvents
  readonly #topics = new Map<string, Away>()

  constructor(clock: Clock, pause: BackOff, events: AwayTopicsEvents) {
    this.#clock = clock
    this.#pause = pause
    this.#events = events
  }

  get none(): boolean {
    return this.#topics.size === 0
  }

  has(topic: string): boolean {
    return this.#topics.has(topic)
  }

  rests(topic: string): boolean {
    return this.#topics.get(topic)?.resting === true
  }

  /** Why nothing can be delivered there, with the topic's name; undefined: nothing is known to hinder it. */
  reasonOf(topic: string): string | undefined {
    return this.#topics.get(topic)?.reason
  }

  failed(topic: string, reason: string): void {
    const failures = (this.#topics.get(topic)?.failures ?? 0) + 1
    const away = { resting: true, failures, reason: `${topic}: ${reason}` }
    this.#topics.set(topic, away)
    this.#tell()
    this.#clock.after(backOffMs(failures, this.#pause), () => {
      // Not by comparing times: a timer may run a moment early, and no other would come.
      away.resting = false
      this.#events.rested()
    })
  }

  cameBack(topic: string): void {
    if (this.#topics.delete(topic)) this.#tell()
  }

  /** Nothing waits for others than these. */
  keep(topics: ReadonlySet<string>): void {
    for (const topic of this.#topics.keys()) if (!topics.has(topic)) this.cameBack(topic)
  }

  #tell(): void {
    const reasons = [...this.#topics.values()].map(({ reason }) => reason)
    this.#events.trouble(this.none ? null : reasons.sort().join('; '))
  }
}

import type { Clock, Timer } from '../clock.ts'
import { noAnswer } from './any-broker.ts'
import { type Cluster, unavailable } from './cluster.ts'
import { topicCheckMs } from './options.ts'
import type { TopicDescription } from './source.ts'

/**
 * An answer that takes longer is trouble already, which the answer ends. One frozen broker costs 2 s, until another is
 * asked: that is none.
 */
const lateMs = 3_000

export type TopicWatchOptions = {
  readonly cluster: Cluster
  readonly topics: readonly string[]
  readonly clock: Clock
  /** A topic's id or partition count is not what it was at the last look. Not called for the first look. */
  readonly changed: (topic: TopicDescription) => void
  readonly failed: (error: Error) => void
  /** Each look at all topics that was answered, with those that exist. */
  readonly answered: (topics: readonly TopicDescription[]) => void
}

/**
 * Looks at the topics every few seconds: nothing else tells of a recreated topic, and nothing sooner of brokers that take
 * connections and do not answer.
 */
export class TopicWatch {
  readonly #options: TopicWatchOptions
  readonly #known = new Map<string, TopicDescription>()
  #timer: Timer | undefined
  #stopped = false
  #looking = false

  constructor(options: TopicWatchOptions) {
    this.#options = options
  }

  start(): void {
    void this.look()
  }

  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
  }

  /** Looks now, and again from now on. */
  async look(): Promise<void> {
    if (this.#stopped || this.#looking) return
    this.#looking = true
    this.#timer?.cancel()
    const { cluster, topics, clock, changed, failed, answered } = this.#options
    let healthy = true
    const found: TopicDescription[] = []
    try {
      for (const topic of topics) {
        const late = clock.after(lateMs, () => {
          if (!this.#stopped) failed(unavailable(`describe topic ${topic}`, noAnswer()))
        })
        const now = await cluster.describe(topic).finally(() => late.cancel())
        if (this.#stopped) return
        if (!now) continue
        found.push(now)
        const before = this.#known.get(topic)
        this.#known.set(topic, now)
        if (before && (before.id !== now.id || before.partitions !== now.partitions)) changed(now)
      }
      answered(found)
    } catch (error) {
      healthy = false
      if (!this.#stopped && error instanceof Error) failed(error)
    } finally {
      this.#looking = false
    }
    if (!this.#stopped) this.#timer = clock.after(healthy ? topicCheckMs : 1_000, () => void this.look())
  }
}

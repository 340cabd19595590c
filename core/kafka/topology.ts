import type { ClusterMetadata } from '@platformatic/kafka'
import { type Clock, sleep } from '../clock.ts'
import { errorOf } from '../errors.ts'
import type { Cluster } from './cluster.ts'
import { retryMs } from './membership.ts'

/** A topic that was just created may be unknown to the broker that is asked. */
const unknownTopicTries = 3
/** As long an unknown topic is taken for unknown without another look. */
const unknownMs = 5_000
/** Added partitions are found by looking again, as Java's producer does. */
const maxAgeMs = 60_000

/** Leaders and partition counts of the topics that are written to, as far as they were asked for. */
export class Topology {
  readonly #cluster: Cluster
  readonly #clock: Clock
  readonly #topics = new Set<string>()
  readonly #unknown = new Map<string, number>()
  #current: ClusterMetadata | undefined
  #refreshing: Promise<void> | undefined
  #refreshedAt = Number.NEGATIVE_INFINITY
  #admission: Promise<unknown> = Promise.resolve()
  #admitting = 0

  constructor(cluster: Cluster, clock: Clock) {
    this.#cluster = cluster
    this.#clock = clock
  }

  get current(): ClusterMetadata | undefined {
    return this.#current
  }

  /** Settles when the look that is under way is over, whatever came of it; at once where there is none. */
  get settled(): Promise<void> {
    return this.#refreshing?.catch(() => {}) ?? Promise.resolve()
  }

  /**
   * Waits until all of `topics` are known, or known not to exist, and calls `admitted`, which returns at once; callers
   * are admitted in the order in which they came. Rejects when the cluster does not answer until `deadline`.
   */
  admit<T>(topics: ReadonlySet<string>, deadline: number, admitted: (topology: ClusterMetadata) => T): Promise<T> {
    const known = this.#current
    if (known && this.#admitting === 0 && this.#knows(known, topics)) {
      if (this.#clock.monotonic() - this.#refreshedAt > maxAgeMs) this.outdated()
      return Promise.resolve(admitted(known))
    }
    this.#admitting += 1
    const turn = this.#admission
      .then(() => this.#learn(topics, deadline))
      .then(admitted)
      .finally(() => {
        this.#admitting -= 1
      })
    this.#admission = turn.catch(() => undefined)
    return turn
  }

  /** What is known has turned out wrong, or old. */
  outdated(): void {
    if (this.#clock.monotonic() - this.#refreshedAt < retryMs.first) return
    this.#refresh().catch(() => {})
  }

  async #learn(topics: ReadonlySet<string>, deadline: number): Promise<ClusterMetadata> {
    for (const topic of topics) this.#topics.add(topic)
    for (let tries = 1; ; tries++) {
      const known = this.#current
      if (known && this.#knows(known, topics)) return known
      try {
        await this.#refreshing
        await this.#refresh()
      } catch (error) {
        if (this.#clock.monotonic() > deadline) throw errorOf(error)
        tries = 0
      }
      const fresh = this.#current
      if (fresh && tries >= unknownTopicTries) {
        const until = this.#clock.monotonic() + unknownMs
        for (const topic of topics) {
          if (fresh.topics.get(topic) !== undefined) continue
          this.#unknown.set(topic, until)
          this.#topics.delete(topic)
        }
        return fresh
      }
      if (!fresh || !this.#knows(fresh, topics)) await sleep(this.#clock, retryMs.first)
    }
  }

  #knows(topology: ClusterMetadata, topics: ReadonlySet<string>): boolean {
    for (const topic of topics) {
      if (topology.topics.get(topic) === undefined && (this.#unknown.get(topic) ?? 0) < this.#clock.monotonic()) {
        return false
      }
    }
    return true
  }

  #refresh(): Promise<void> {
    this.#refreshing ??= this.#cluster
      .topology([...this.#topics])
      .then((topology) => {
        this.#current = topology
        this.#refreshedAt = this.#clock.monotonic()
      })
      .finally(() => {
        this.#refreshing = undefined
      })
    return this.#refreshing
  }
}

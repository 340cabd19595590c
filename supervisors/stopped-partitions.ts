import type { Clock } from '../core/clock.ts'
import { messageOf } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import type { Ledger, Standing } from '../core/postgres/ownership.ts'
import type { Partition } from './partition.ts'

/** How often it is looked whether an operator has decided. */
const lookEveryMs = 3_000

/**
 * Waits for operators' decisions on partitions that have stopped. `tenantry offsets` moves such a partition on in
 * PostgreSQL as a new owner would; who owns it in Kafka's eyes commits nothing and so is not fenced: it looks.
 */
export class StoppedPartitions {
  readonly #clock: Clock
  readonly #log: Log
  readonly #ledger: Ledger
  readonly #moved: (partition: Partition) => void
  #lookedAt = Number.NEGATIVE_INFINITY
  #looking = false

  constructor(clock: Clock, log: Log, ledger: Ledger, moved: (partition: Partition) => void) {
    this.#clock = clock
    this.#log = log
    this.#ledger = ledger
    this.#moved = moved
  }

  /** To be called often; looks now and then, where any has stopped. Resolves when that is done. */
  async look(partitions: Iterable<Partition>): Promise<void> {
    const now = this.#clock.monotonic()
    if (this.#looking || now - this.#lookedAt < lookEveryMs) return
    this.#lookedAt = now
    const stopped = [...partitions].filter(({ phase, topicId }) => phase === 'stopped' && topicId !== '')
    if (stopped.length === 0) return
    this.#looking = true
    let standing: readonly Standing[] = []
    try {
      standing = await this.#ledger.standing(stopped.map(({ ref }) => ref))
    } catch (error) {
      this.#log.debug('stopped.not_looked_at', { error: messageOf(error) }, 'It is looked again in a while.')
    }
    this.#looking = false
    stopped.forEach((partition, i) => {
      const epoch = standing[i]?.epoch ?? -1
      // Below its own, a failover has lost its raise: it is judged anew.
      if (partition.phase === 'stopped' && epoch >= 0 && epoch !== partition.epoch) this.#moved(partition)
    })
  }
}

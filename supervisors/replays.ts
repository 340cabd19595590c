import type { Clock } from '../core/clock.ts'
import { messageOf } from '../core/errors.ts'
import type { Ledger, ReplayedTenant } from '../core/postgres/ownership.ts'
import type { ParkedPosition } from '../core/postgres/transactions.ts'
import type { Partition } from './partition.ts'

export type ReplaysOptions = {
  readonly clock: Clock
  readonly ledger: Ledger
  /** A tenant of the partition has dead letters among its parked records, the first of them there. */
  readonly found: (partition: Partition, tenant: string, first: ParkedPosition) => void
  readonly trouble: (reason: string | null) => void
  readonly settled: () => void
}

/** So soon does an owner see what an operator has brought back. */
const lookEveryMs = 3_000

/** Looks for dead letters that an operator has put among the parked records of our partitions, which nobody tells. */
export class Replays {
  readonly #options: ReplaysOptions
  #lookedAt = Number.NEGATIVE_INFINITY
  #looking = false

  constructor(options: ReplaysOptions) {
    this.#options = options
  }

  /** Called about once a second. */
  look(partitions: Iterable<Partition>): void {
    const now = this.#options.clock.monotonic()
    if (this.#looking || now - this.#lookedAt < lookEveryMs) return
    const owned = [...partitions].filter(({ phase }) => phase === 'owned')
    if (owned.length === 0) return
    this.#lookedAt = now
    this.#looking = true
    void this.#ask(owned)
  }

  async #ask(owned: readonly Partition[]): Promise<void> {
    const { ledger, found, trouble, settled } = this.#options
    let replayed: readonly ReplayedTenant[] = []
    try {
      replayed = await ledger.findReplayed(owned.map(({ ref }) => ref))
      trouble(null)
    } catch (thrown) {
      trouble(messageOf(thrown))
    }
    this.#looking = false
    for (const { place, tenant, first } of replayed) {
      const partition = owned[place]
      if (partition?.phase === 'owned') found(partition, tenant, first)
    }
    settled()
  }
}

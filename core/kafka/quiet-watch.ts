import type { Clock } from '../clock.ts'
import { errorOf, TenantryError } from '../errors.ts'
import { type Cluster, keyOf } from './cluster.ts'
import type { NativePartition, NativePartitions } from './confluent-partitions.ts'
import type { LogRange } from './source.ts'

/** A partition that delivered nothing for so long is compared with its log. */
const quietMs = 1_500
const refetchMs = 5_000
const beyondMs = 12_000
const stalledMs = 60_000

export type QuietWatchOptions = {
  readonly cluster: Pick<Cluster, 'range'>
  readonly clock: Clock
  readonly partitions: Pick<NativePartitions, 'all' | 'get'>
  readonly outOfRange: (partition: NativePartition, range: LogRange) => void
  /** It was sought anew. */
  readonly refetched: () => void
  readonly stalled: (error: TenantryError) => void
  readonly failed: (error: Error) => void
}

/**
 * The addon drops an error that comes after records of the same poll, and never says which partition it was about. So
 * partitions that deliver nothing are compared with their logs: outside them is `outOfRange`; inside, with records to
 * read, is fetched anew, and a stall when that does not help.
 */
export class QuietWatch {
  readonly #options: QuietWatchOptions
  /** Whoever delivers nothing could be compared with its log, when that was tried last. */
  healthy = true
  #lookedAt = 0
  #looking = false

  constructor(options: QuietWatchOptions) {
    this.#options = options
  }

  /** Looks with the next call, however recent the last look was. */
  hurry(): void {
    this.#lookedAt = Number.NEGATIVE_INFINITY
  }

  /** To be called often: looks when it is time to. */
  look(): void {
    const now = this.#options.clock.monotonic()
    if (this.#looking || now - this.#lookedAt < quietMs) return
    this.#lookedAt = now
    const quiet = this.#options.partitions.all().filter((partition) => isQuiet(partition, now))
    if (quiet.length === 0) {
      this.healthy = true
      return
    }
    this.#looking = true
    void this.#compare(quiet).finally(() => {
      this.#looking = false
    })
  }

  async #compare(quiet: readonly NativePartition[]): Promise<void> {
    const { cluster, partitions, failed } = this.#options
    const before = quiet.map(({ position, token }) => ({ position, token }))
    try {
      const ranges = new Map((await cluster.range(quiet)).map((range) => [keyOf(range), range]))
      this.healthy = true
      for (const [i, partition] of quiet.entries()) {
        const range = ranges.get(keyOf(partition))
        const moved = partition.position !== before[i]?.position || partition.token !== before[i]?.token
        if (range && !moved && partitions.get(partition) === partition && !partition.silent)
          this.#judge(partition, range)
      }
    } catch (error) {
      this.healthy = false
      failed(errorOf(error))
    }
  }

  #judge(partition: NativePartition, range: LogRange): void {
    const { clock, outOfRange, refetched, stalled } = this.#options
    const { topic, partition: number, position, token } = partition
    const quietFor = clock.monotonic() - partition.heardAt
    // A new leader may not know yet how far the log has been committed: beyond its end only when it stays so.
    if (position < range.start || (position > range.end && quietFor >= beyondMs)) {
      partition.outside = true
      outOfRange(partition, range)
    } else if (position < range.end && quietFor >= stalledMs) {
      stalled(
        new TenantryError(
          'TENANTRY_KAFKA_STALLED',
          `Polls of ${topic} ${number} return nothing although its log goes on. Joining the group again.`,
          { topic, partition: number, position, end: range.end },
        ),
      )
    } else if (position !== range.end && quietFor >= refetchMs * (partition.refetches + 1)) {
      // librdkafka stops fetching at an offset that a broker once refused. The same token: nothing is skipped.
      partition.refetches += 1
      partition.sought = { position, token }
      refetched()
    }
  }
}

function isQuiet(partition: NativePartition, now: number): boolean {
  return partition.started && !partition.silent && !partition.atEnd && now - partition.heardAt >= quietMs
}

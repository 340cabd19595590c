import type { PartitionOffset, Source } from '../core/kafka/source.ts'
import type { Log } from '../core/log.ts'
import type { Partition } from './partition.ts'

/**
 * Makes Kafka's offsets follow the watermark: for lag tools, and as the answer to "are we still a member?". One commit a
 * group at a time, so that an older one never lands after a newer.
 */
export class OffsetWriter {
  readonly #log: Log
  readonly #doubted: (partition: Partition) => void
  readonly #writing = new Map<Source, Promise<void>>()

  constructor(log: Log, doubted: (partition: Partition) => void) {
    this.#log = log
    this.#doubted = doubted
  }

  /** Writes what has moved. Resolves when the coordinators have answered; never rejects. */
  async write(partitions: Iterable<Partition>): Promise<void> {
    const moved = new Map<Source, Partition[]>()
    for (const partition of partitions) {
      if (!partition.commits || partition.progress.watermark <= partition.kafkaOffset) continue
      const list = moved.get(partition.group.source)
      if (list) list.push(partition)
      else moved.set(partition.group.source, [partition])
    }
    await Promise.all([...moved].map(([source, list]) => this.#inTurn(source, list)))
  }

  #inTurn(source: Source, partitions: readonly Partition[]): Promise<void> {
    const before = this.#writing.get(source) ?? Promise.resolve()
    const writing = before.then(() => this.#commit(source, partitions))
    this.#writing.set(source, writing)
    return writing
  }

  async #commit(source: Source, partitions: readonly Partition[]): Promise<void> {
    const live = partitions.filter(
      (partition) => partition.commits && partition.progress.watermark > partition.kafkaOffset,
    )
    if (live.length === 0) return
    const offsets = live.map(
      ({ topic, partition, progress }): PartitionOffset => ({ topic, partition, offset: progress.watermark }),
    )
    const reply = await source.commit(offsets)
    live.forEach((partition, i) => {
      const offset = offsets[i]?.offset ?? -1
      if (reply === 'committed' && offset > partition.kafkaOffset) partition.kafkaOffset = offset
      if (reply === 'not-member') this.#doubted(partition)
    })
    if (reply !== 'committed')
      this.#log.warn(
        'offsets.not_written',
        { reply },
        "Kafka's offsets could not be written; progress in PostgreSQL is not affected.",
      )
  }
}

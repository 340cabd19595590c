import type { PartitionOffset, Source } from '../core/kafka/source.ts'
import type { Clock } from '../core/clock.ts'
import { messageOf } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import type { Ledger } from '../core/postgres/ownership.ts'
import type { Partition } from './partition.ts'

/** How often a partition's offset is written down in PostgreSQL: a row a second would be seven million in a week. */
const recordEveryMs = 10_000

/**
 * Makes Kafka's offsets follow the watermark: for lag tools, and as the answer to "are we still a member?". One commit a
 * group at a time, so that an older one never lands after a newer.
 */
export class OffsetWriter {
  readonly #clock: Clock
  readonly #log: Log
  readonly #ledger: Ledger
  readonly #doubted: (partition: Partition) => void
  readonly #writing = new Map<Source, Promise<void>>()
  readonly #recorded = new WeakMap<Partition, { readonly at: number; readonly offset: number; readonly end: number }>()

  constructor(clock: Clock, log: Log, ledger: Ledger, doubted: (partition: Partition) => void) {
    this.#clock = clock
    this.#log = log
    this.#ledger = ledger
    this.#doubted = doubted
  }

  /** For every tick: as `write`, but while Kafka has not answered, nothing queues up behind what it was asked. */
  follow(partitions: Iterable<Partition>): void {
    void this.#write(partitions, false, false)
  }

  /**
   * Writes what has moved, and now and then (the `last` time in any case) records it in PostgreSQL for whoever asks there.
   * Resolves when all have answered; never rejects.
   */
  write(partitions: Iterable<Partition>, last = false): Promise<void> {
    return this.#write(partitions, last, true)
  }

  async #write(partitions: Iterable<Partition>, last: boolean, queues: boolean): Promise<void> {
    const groups = Map.groupBy(partitions, ({ group }) => group)
    await Promise.all(
      [...groups].map(async ([group, list]) => {
        if (list.some(hasMoved) && (queues || !this.#writing.has(group.source))) await this.#inTurn(group.source, list)
        // Not in turn: Kafka's offsets must not wait for PostgreSQL.
        await this.#record(group.name, list, last)
      }),
    )
  }

  /** The lag also of a partition that does not move: its log may grow. */
  async #record(group: string, partitions: readonly Partition[], last: boolean): Promise<void> {
    const now = this.#clock.monotonic()
    const news = partitions.filter((partition) => {
      const recorded = this.#recorded.get(partition)
      if (!partition.commits || partition.kafkaOffset < 0) return false
      if (recorded === undefined) return true
      const same = recorded.offset === partition.kafkaOffset && recorded.end === partition.end
      return !same && (last || now - recorded.at >= recordEveryMs)
    })
    if (news.length === 0) return
    const rows = news.map(({ topic, partition, kafkaOffset: offset, end }) => ({ topic, partition, offset, end }))
    for (const partition of news)
      this.#recorded.set(partition, { at: now, offset: partition.kafkaOffset, end: partition.end })
    try {
      await this.#ledger.recordOffsets(group, rows)
    } catch (error) {
      this.#log.debug(
        'offsets.not_recorded',
        { error: messageOf(error) },
        'They are recorded when they have moved again.',
      )
    }
  }

  #inTurn(source: Source, partitions: readonly Partition[]): Promise<void> {
    const before = this.#writing.get(source) ?? Promise.resolve()
    const writing = before
      .then(() => this.#commit(source, partitions))
      .finally(() => {
        if (this.#writing.get(source) === writing) this.#writing.delete(source)
      })
    this.#writing.set(source, writing)
    return writing
  }

  async #commit(source: Source, partitions: readonly Partition[]): Promise<void> {
    const live = partitions.filter(hasMoved)
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

function hasMoved({ commits, progress, kafkaOffset }: Partition): boolean {
  return commits && progress.watermark > kafkaOffset
}

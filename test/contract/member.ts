import { systemClock } from '../../core/clock.ts'
import { silentLog } from '../../core/log.ts'
import type { SourceOptions } from '../../core/kafka/options.ts'
import type {
  KafkaRecord,
  LogRange,
  RecordBatch,
  Source,
  SourceListener,
  TopicDescription,
  TopicPartition,
} from '../../core/kafka/source.ts'

export type MakeSource = (options: SourceOptions) => Promise<Source>

export type MemberOptions = Partial<SourceOptions> & {
  readonly bootstrap: readonly string[]
  readonly group: string
  readonly topics: readonly string[]
  /** Where `assigned` seeks to at once; undefined: the test seeks. */
  readonly from?: number
  /** Whether `revoked` is released at once. Default true. */
  readonly yielding?: boolean
}

type Delivered = { readonly batch: RecordBatch; readonly at: number }

/** A source with its owner: remembers everything it was told. */
export class Member implements SourceListener {
  readonly source: Source
  readonly assignedNow = new Set<string>()
  readonly batches: Delivered[] = []
  readonly events: string[] = []
  readonly outside: { readonly partition: TopicPartition; readonly position: number; readonly range: LogRange }[] = []
  readonly changes: TopicDescription[] = []
  readonly troubles: Error[] = []
  recoveries = 0
  /** It was told of trouble, and not yet that it is over. */
  inTrouble = false
  readonly #options: MemberOptions
  #token = 0

  private constructor(source: Source, options: MemberOptions) {
    this.source = source
    this.#options = options
  }

  static async create(make: MakeSource, options: MemberOptions): Promise<Member> {
    const { from: _from, yielding: _yielding, ...given } = options
    const source = await make({
      clientId: 'contract',
      protocol: 'consumer',
      sessionTimeoutMs: 6_000,
      releaseTimeoutMs: 10_000,
      maxFetchBytes: 16 * 1024 * 1024,
      clock: systemClock,
      log: silentLog,
      ...given,
    })
    return new Member(source, options)
  }

  start(): Promise<void> {
    return this.source.start(this)
  }

  stop(): Promise<void> {
    return this.source.stop()
  }

  seek(partition: TopicPartition & { readonly topicId?: string }, position: number): number {
    this.#token += 1
    this.source.seek(partition, position, this.#token)
    return this.#token
  }

  assigned(partitions: readonly TopicPartition[]): void {
    this.events.push(`assigned ${names(partitions)}`)
    for (const partition of partitions) {
      this.assignedNow.add(name(partition))
      if (this.#options.from !== undefined) this.seek(partition, this.#options.from)
    }
  }

  revoked(partitions: readonly TopicPartition[]): void {
    this.events.push(`revoked ${names(partitions)}`)
    if (this.#options.yielding ?? true) this.release(partitions)
  }

  release(partitions: readonly TopicPartition[]): void {
    for (const partition of partitions) this.assignedNow.delete(name(partition))
    this.source.release(partitions)
  }

  lost(partitions: readonly TopicPartition[]): void {
    this.events.push(`lost ${names(partitions)}`)
    for (const partition of partitions) this.assignedNow.delete(name(partition))
  }

  records(batches: readonly RecordBatch[]): void {
    for (const batch of batches) this.batches.push({ batch, at: performance.now() })
  }

  outOfRange(partition: TopicPartition, position: number, range: LogRange): void {
    this.outside.push({ partition, position, range })
  }

  topicChanged(topic: TopicDescription): void {
    this.changes.push(topic)
  }

  troubled(reason: Error): void {
    this.inTrouble = true
    this.troubles.push(reason)
  }

  recovered(): void {
    this.inTrouble = false
    this.recoveries += 1
  }

  of(partition: number, token?: number): readonly RecordBatch[] {
    return this.batches
      .map(({ batch }) => batch)
      .filter((batch) => batch.partition === partition && (token === undefined || batch.token === token))
  }

  recordsOf(partition: number, token?: number): readonly KafkaRecord[] {
    return this.of(partition, token).flatMap(({ records }) => records)
  }

  valuesOf(partition: number, token?: number): readonly string[] {
    return this.recordsOf(partition, token).map(({ value }) => String(value))
  }

  position(partition: number): number {
    return this.of(partition).at(-1)?.position ?? -1
  }

  count(): number {
    return this.batches.reduce((sum, { batch }) => sum + batch.records.length, 0)
  }
}

function name({ topic, partition }: TopicPartition): string {
  return `${topic} ${partition}`
}

function names(partitions: readonly TopicPartition[]): string {
  return partitions.map(name).sort().join()
}

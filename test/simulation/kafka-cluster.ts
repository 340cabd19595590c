import type {
  KafkaRecord,
  LogRange,
  PartitionOffset,
  TopicDescription,
  TopicPartition,
} from '../../core/kafka/source.ts'
import type { EventLoop } from './event-loop.ts'
import type { SeededRandom } from './seeded-random.ts'

/** One partition's log. A position without a record is a hole: compacted away, aborted, or a control record. */
export class PartitionLog {
  readonly entries: (KafkaRecord | null)[] = []
  start = 0
  /** The last stable offset: what may be read ends here. */
  end = 0
  /** Called once each when something has been appended. */
  waiters: (() => void)[] = []

  append(entry: KafkaRecord | null): void {
    this.entries.push(entry)
  }

  /** All that was appended may be read. */
  settle(): void {
    this.end = this.entries.length
    const waiters = this.waiters
    this.waiters = []
    for (const waiter of waiters) waiter()
  }
}

export type Topic = { readonly name: string; readonly id: string; readonly logs: PartitionLog[]; gone: boolean }

/** Brokers, without the groups: topics with ids, and logs. */
export class KafkaCluster {
  readonly id = 'simulated-cluster'
  /** Every topic there ever was, the present ones under their names. */
  readonly everyTopic: Topic[] = []
  readonly #topics = new Map<string, Topic>()
  readonly #random: SeededRandom
  readonly #loop: EventLoop
  /** Until then, in virtual ms, nobody answers. */
  #awayUntil = 0
  /** Topics that actors publish to and that are deleted, or closed to us, until then. */
  readonly #outputsAwayUntil = new Map<string, number>()

  constructor(loop: EventLoop, random: SeededRandom) {
    this.#loop = loop
    this.#random = random
  }

  get away(): boolean {
    return this.#loop.now < this.#awayUntil
  }

  goAway(forMs: number): void {
    this.#awayUntil = Math.max(this.#awayUntil, this.#loop.now + forMs)
  }

  comeBack(): void {
    this.#awayUntil = 0
    this.#outputsAwayUntil.clear()
  }

  outputAway(topic: string): boolean {
    return this.#loop.now < (this.#outputsAwayUntil.get(topic) ?? 0)
  }

  outputGoesAway(topic: string, forMs: number): void {
    this.#outputsAwayUntil.set(topic, this.#loop.now + forMs)
  }

  create(name: string, partitions: number): Topic {
    const topic: Topic = {
      name,
      id: this.#random.uuid(),
      logs: Array.from({ length: partitions }, () => new PartitionLog()),
      gone: false,
    }
    this.#topics.set(name, topic)
    this.everyTopic.push(topic)
    return topic
  }

  /** Deletes the topic and creates another of its name. */
  recreate(name: string, partitions: number): Topic {
    const old = this.#topics.get(name)
    if (old) old.gone = true
    return this.create(name, partitions)
  }

  addPartition(name: string): void {
    this.#topics.get(name)?.logs.push(new PartitionLog())
  }

  topic(name: string): Topic | undefined {
    return this.#topics.get(name)
  }

  topics(): Topic[] {
    return [...this.#topics.values()]
  }

  topicById(id: string): Topic | undefined {
    return this.everyTopic.find((topic) => topic.id === id)
  }

  describe(name: string): TopicDescription | undefined {
    const topic = this.#topics.get(name)
    return topic && { topic: name, id: topic.id, partitions: topic.logs.length }
  }

  log(at: TopicPartition): PartitionLog | undefined {
    return this.#topics.get(at.topic)?.logs[at.partition]
  }

  range({ topic, partition }: TopicPartition): LogRange[] {
    const log = this.log({ topic, partition })
    return log ? [{ topic, partition, start: log.start, end: log.end }] : []
  }

  offsetAt({ topic, partition }: TopicPartition, timestamp: number): PartitionOffset[] {
    const log = this.log({ topic, partition })
    if (log === undefined) return []
    const found = log.entries.findIndex(
      (entry, offset) => offset >= log.start && entry !== null && entry.timestamp >= timestamp,
    )
    return [{ topic, partition, offset: found < 0 ? log.end : found }]
  }
}

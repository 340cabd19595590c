import { isAbortMarker, readHead, readRecords } from './record-batch.ts'
import type { FetchedPartition } from './fetch-protocol.ts'
import type { KafkaRecord, RecordBatch, TopicPartition } from './source.ts'

/** A fetched batch that waits for its turn; without bytes where it held nothing for us and only moves the position. */
type Waiting = { readonly batch: Buffer | undefined; readonly nextOffset: number }

/** One partition of ours, as the platformatic driver reads it: where it is, and what was fetched and not delivered yet. */
export class Reading implements TopicPartition {
  readonly topic: string
  readonly partition: number
  /** Of the last `seek`; -1 before the first. */
  token = -1
  /** The topic that the last `seek` meant; undefined: whichever has the name. */
  topicId: string | undefined
  /** Of what was delivered. */
  position = -1
  /** Of what was fetched. */
  fetchPosition = -1
  revoked = false
  /** Its position is outside the log. */
  outside = false
  /** It has failed, and is fetched again later. */
  resting = false
  failures = 0
  /** When it last brought something, in the order of answers. */
  served = 0
  /** A request for it is on its way. */
  asked = false
  /** Bytes fetched and not delivered. */
  waitingBytes = 0
  #waiting: Waiting[] = []
  #paused = false
  #end = -1
  #told = -1

  constructor({ topic, partition }: TopicPartition) {
    this.topic = topic
    this.partition = partition
  }

  /** Nothing of it may be delivered or fetched now. */
  get silent(): boolean {
    return this.#paused || this.revoked || this.outside || this.token < 0
  }

  get ready(): boolean {
    return !this.silent && (this.#waiting.length > 0 || this.position > this.#told)
  }

  /** As far as the last answer knew, there is nothing more to fetch. */
  get atEnd(): boolean {
    return this.#end >= 0 && this.fetchPosition >= this.#end
  }

  seek(position: number, token: number, topicId?: string): void {
    this.token = token
    this.topicId = topicId
    this.position = position
    this.fetchPosition = position
    this.#told = position
    this.#end = -1
    this.#paused = false
    this.outside = false
    this.resting = false
    this.failures = 0
    this.#drop()
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
  }

  revoke(): void {
    this.revoked = true
    this.#drop()
  }

  /**
   * Takes what one fetch brought, leaving out control batches and aborted transactions, as Kafka's own consumer does it:
   * a transaction is aborted from its first offset until its marker, which may lie outside this fetch. Throws for a batch
   * that cannot be read; what came before it has been taken.
   */
  take({ batches, aborted, end }: FetchedPartition): void {
    this.#end = end
    const pending = [...aborted].sort((a, b) => a.firstOffset - b.firstOffset)
    const aborting = new Set<bigint>()
    for (const batch of batches) {
      const head = readHead(batch)
      for (let next = pending[0]; next && next.firstOffset < head.nextOffset; next = pending[0]) {
        aborting.add(next.producerId)
        pending.shift()
      }
      if (head.control && aborting.has(head.producerId) && isAbortMarker(batch)) aborting.delete(head.producerId)
      // Compaction can leave a batch in front of the position that was asked for.
      if (head.nextOffset <= this.fetchPosition) continue
      const nothing = head.control || (head.transactional && aborting.has(head.producerId))
      this.#waiting.push({ batch: nothing ? undefined : batch, nextOffset: head.nextOffset })
      if (!nothing) this.waitingBytes += batch.length
      this.fetchPosition = head.nextOffset
    }
  }

  /** The next records, whole batches of at least `count` records as long as there are any. */
  next(count: number): RecordBatch {
    let records: KafkaRecord[] = []
    while (records.length < count) {
      const waiting = this.#waiting[0]
      if (!waiting) break
      if (waiting.batch) {
        let more: KafkaRecord[]
        try {
          more = readRecords(waiting.batch, this.position)
        } catch (error) {
          // What came before it goes out first; the next call throws.
          if (records.length > 0) break
          throw error
        }
        this.waitingBytes -= waiting.batch.length
        if (records.length === 0) records = more
        else for (const record of more) records.push(record)
      }
      this.#waiting.shift()
      this.position = waiting.nextOffset
    }
    this.#told = this.position
    return {
      topic: this.topic,
      partition: this.partition,
      token: this.token,
      records,
      position: this.position,
      end: Math.max(this.#end, this.position),
    }
  }

  #drop(): void {
    this.#waiting = []
    this.waitingBytes = 0
  }
}

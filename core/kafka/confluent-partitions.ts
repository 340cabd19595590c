import type { NativeMessage } from './confluent-addon.ts'
import { RecordView } from './record-view.ts'
import {
  type Headers,
  type KafkaRecord,
  noHeaders,
  type PartitionOffset,
  type RecordBatch,
  type TopicPartition,
} from './source.ts'

/** One partition of ours, as the confluent driver sees it. */
export class NativePartition implements TopicPartition {
  readonly topic: string
  readonly partition: number
  /** Of the last `seek` carried out; -1 before the first. */
  token = -1
  /** The topic that the last `seek` meant; undefined: whichever has the name. */
  topicId: string | undefined
  position = -1
  /** Where to go next, until the loop has done it. Nothing is delivered meanwhile. */
  sought: { readonly position: number; readonly token: number } | undefined
  /** It is in librdkafka's own assignment. */
  started = false
  /** The addon itself was told to pause it. */
  stopped = false
  revoked = false
  released = false
  /** Its position is outside the log. */
  outside = false
  heardAt = 0
  /** How often it was fetched from its position anew, for want of any answer. */
  refetches = 0
  pausedAt = 0
  /** Fetched and not delivered: those of the current poll, or all since a pause. */
  held: KafkaRecord[] = []
  heldBytes = 0
  #paused = false
  #end = -1
  #told = -1

  constructor({ topic, partition }: TopicPartition) {
    this.topic = topic
    this.partition = partition
  }

  /** Nothing of it may be delivered now. */
  get silent(): boolean {
    return this.#paused || this.revoked || this.outside || this.sought !== undefined || this.token < 0
  }

  get hasNews(): boolean {
    return this.held.length > 0 || this.position > this.#told
  }

  /** Everything up to the end of the log that librdkafka saw has been read. */
  get atEnd(): boolean {
    return this.#end >= 0 && this.#end === this.position
  }

  seek(position: number, token: number, topicId: string | undefined): void {
    this.sought = { position, token }
    this.topicId = topicId
    this.#takeHeld()
    this.#paused = false
  }

  /** What to tell librdkafka to carry out the last `seek`. */
  start(now: number): PartitionOffset {
    const { position, token } = this.sought ?? this
    const anew = token !== this.token
    this.sought = undefined
    this.position = position
    this.token = token
    this.#told = position
    this.#end = -1
    this.started = true
    this.stopped = false
    this.outside = false
    this.#takeHeld()
    if (anew) {
      this.heardAt = now
      this.refetches = 0
    }
    return { topic: this.topic, partition: this.partition, offset: position }
  }

  pause(now: number): void {
    if (!this.#paused) this.pausedAt = now
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
  }

  /** True the first time. */
  revoke(): boolean {
    if (this.revoked) return false
    this.revoked = true
    this.#takeHeld()
    return true
  }

  push(record: KafkaRecord): void {
    this.held.push(record)
    this.heldBytes += record.size ?? (record.key?.length ?? 0) + (record.value?.length ?? 0)
    this.position = record.offset + 1
  }

  /** The log was read to its end, `offset`: past control records and whatever else is no record for us. */
  reached(offset: number): void {
    if (this.sought || this.revoked || this.token < 0 || offset < this.position) return
    this.position = offset
    this.#end = offset
  }

  batch(end: number, now: number): RecordBatch {
    const records = this.#takeHeld()
    this.heardAt = now
    this.refetches = 0
    this.#told = this.position
    return { topic: this.topic, partition: this.partition, token: this.token, records, position: this.position, end }
  }

  #takeHeld(): KafkaRecord[] {
    const { held } = this
    this.held = []
    this.heldBytes = 0
    return held
  }
}

export function plain({ topic, partition }: TopicPartition): TopicPartition {
  return { topic, partition }
}

/** By topic and number, for the loop over each poll's records. */
export class NativePartitions {
  readonly #topics = new Map<string, (NativePartition | undefined)[]>()
  #all: readonly NativePartition[] = []

  all(): readonly NativePartition[] {
    return this.#all
  }

  find(topic: string, partition: number): NativePartition | undefined {
    return this.#topics.get(topic)?.[partition]
  }

  get({ topic, partition }: TopicPartition): NativePartition | undefined {
    return this.find(topic, partition)
  }

  add(partition: TopicPartition): NativePartition {
    const added = new NativePartition(partition)
    const of = this.#topics.get(partition.topic)
    if (of) of[partition.partition] = added
    else {
      const numbers: (NativePartition | undefined)[] = []
      numbers[partition.partition] = added
      this.#topics.set(partition.topic, numbers)
    }
    this.#list()
    return added
  }

  /** False when it was not ours. */
  delete({ topic, partition }: TopicPartition): boolean {
    const numbers = this.#topics.get(topic)
    if (!numbers?.[partition]) return false
    numbers[partition] = undefined
    this.#list()
    return true
  }

  /** Puts the records of one poll with their partitions, but those of an assignment or a seek that has passed. */
  take(messages: readonly NativeMessage[], now: number): void {
    const slab = new Slab(messages)
    let partition: NativePartition | undefined
    let topic = ''
    let number = -1
    for (const message of messages) {
      if (message.partition !== number || message.topic !== topic) {
        topic = message.topic
        number = message.partition
        partition = this.find(topic, number)
        if (partition) partition.heardAt = now
      }
      if (partition && !partition.sought && !partition.revoked && message.offset >= partition.position) {
        partition.push(slab.record(message))
      }
    }
  }

  clear(): void {
    this.#topics.clear()
    this.#all = []
  }

  #list(): void {
    this.#all = [...this.#topics.values()].flatMap((numbers) => numbers.filter((found) => found !== undefined))
  }
}

/** A longer value stays where the addon put it: copying it costs more than it saves. */
const longest = 4_096

/**
 * The bytes of one poll in one piece of memory. The addon gives each key and each value memory of its own, which the
 * collector then looks after one by one for as long as the records wait: without this the daemon's peak was 715 MB
 * instead of 620 on a backlog, and V8's threads took 3.0 CPU seconds a million messages instead of 2.6.
 */
class Slab {
  readonly #bytes: Buffer
  #at = 0

  constructor(messages: readonly NativeMessage[]) {
    let size = 0
    for (const message of messages) if (!isLong(message)) size += sizeOf(message.key) + sizeOf(message.value)
    this.#bytes = Buffer.allocUnsafeSlow(size)
  }

  /** The port's record of one of the messages. */
  record(message: NativeMessage): KafkaRecord {
    const { offset, timestamp, key, value } = message
    const headers = message.headers === undefined ? noHeaders : headersOf(message.headers)
    if (isLong(message)) return { offset, timestamp, key, value, headers }
    const from = this.#at
    this.#put(key)
    const valueFrom = this.#at
    this.#put(value)
    const keyLength = key === null ? -1 : key.length
    const valueLength = value === null ? -1 : value.length
    return new RecordView(offset, timestamp, headers, this.#bytes, from, keyLength, valueFrom, valueLength)
  }

  #put(bytes: Buffer | null): void {
    if (bytes === null) return
    this.#bytes.set(bytes, this.#at)
    this.#at += bytes.length
  }
}

function isLong({ key, value }: NativeMessage): boolean {
  return sizeOf(key) + sizeOf(value) > longest
}

function sizeOf(bytes: Buffer | null): number {
  return bytes === null ? 0 : bytes.length
}

/** The addon hands names over as text and a null value as an empty one; neither can be told apart here. */
function headersOf(native: NonNullable<NativeMessage['headers']>): Headers {
  if (native.length === 0) return noHeaders
  const headers: [Buffer, Buffer | null][] = []
  for (const header of native) {
    for (const name in header) headers.push([Buffer.from(name), header[name] ?? null])
  }
  return headers
}

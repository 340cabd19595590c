import type { Headers, KafkaRecord } from './source.ts'

/**
 * A record within the bytes of many. Its key and value are made when they are asked for: as two buffers, which it has for
 * as long as it waits, they would be half of what the garbage collector must copy.
 */
export class RecordView implements KafkaRecord {
  readonly offset: number
  readonly timestamp: number
  readonly headers: Headers
  readonly #bytes: Buffer
  readonly #keyFrom: number
  readonly #keyLength: number
  readonly #valueFrom: number
  readonly #valueLength: number

  /** A length below zero: there is none. */
  constructor(
    offset: number,
    timestamp: number,
    headers: Headers,
    bytes: Buffer,
    keyFrom: number,
    keyLength: number,
    valueFrom: number,
    valueLength: number,
  ) {
    this.offset = offset
    this.timestamp = timestamp
    this.headers = headers
    this.#bytes = bytes
    this.#keyFrom = keyFrom
    this.#keyLength = keyLength
    this.#valueFrom = valueFrom
    this.#valueLength = valueLength
  }

  get key(): Buffer | null {
    return this.#keyLength < 0 ? null : this.#bytes.subarray(this.#keyFrom, this.#keyFrom + this.#keyLength)
  }

  get value(): Buffer | null {
    return this.#valueLength < 0 ? null : this.#bytes.subarray(this.#valueFrom, this.#valueFrom + this.#valueLength)
  }

  get size(): number {
    return Math.max(0, this.#keyLength) + Math.max(0, this.#valueLength)
  }
}

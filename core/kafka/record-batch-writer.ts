import { type CompressionAlgorithmValue, compressionsAlgorithms, crc32c, Reader } from '@platformatic/kafka'

/** A record to write. */
export type OutgoingRecord = {
  readonly key: Uint8Array | null
  readonly value: Uint8Array | null
  /** Names and values; text is written as UTF-8. */
  readonly headers: readonly (readonly [name: string | Uint8Array, value: string | Uint8Array | null])[]
  /** Milliseconds since 1970; the time of sending where undefined. */
  readonly timestamp?: number
}

export type ProducerIdentity = { readonly producerId: bigint; readonly producerEpoch: number }

const headBytes = 61
const codecs: Readonly<Record<CompressionAlgorithmValue, number>> = { none: 0, gzip: 1, snappy: 2, lz4: 3, zstd: 4 }

/** An upper bound of what `record` takes in a batch, before compression. */
export function recordBytes(record: OutgoingRecord): number {
  let bytes = 32 + (record.key?.length ?? 0) + (record.value?.length ?? 0)
  for (const [name, value] of record.headers) bytes += 10 + lengthOf(name) + (value === null ? 0 : lengthOf(value))
  return bytes
}

/** One batch of records, format 2, with consecutive sequence numbers from `sequence` on. */
export function writeBatch(
  records: readonly OutgoingRecord[],
  now: number,
  identity: ProducerIdentity,
  sequence: number,
  compression: CompressionAlgorithmValue,
): Buffer {
  const first = records[0]?.timestamp ?? now
  let last = first
  let size = headBytes
  for (const record of records) size += recordBytes(record)
  const out = Buffer.allocUnsafe(size)
  const pen = new Pen(out, headBytes)
  // A record's length stands in front of it: written once for the size, in place.
  const body = new Pen(Buffer.allocUnsafe(0), 0)
  for (const [i, record] of records.entries()) {
    const timestamp = record.timestamp ?? now
    if (timestamp > last) last = timestamp
    pen.varint(bodyBytes(body, record, timestamp - first, i))
    pen.record(record, timestamp - first, i)
  }
  let batch = out.subarray(0, pen.at)
  if (compression !== 'none') {
    const compressed = compressionsAlgorithms[compression].compressSync(batch.subarray(headBytes))
    batch = Buffer.allocUnsafe(headBytes + compressed.length)
    compressed.copy(batch, headBytes)
  }
  batch.writeBigInt64BE(0n, 0)
  batch.writeInt32BE(batch.length - 12, 8)
  batch.writeInt32BE(-1, 12)
  batch[16] = 2
  batch.writeInt16BE(codecs[compression], 21)
  batch.writeInt32BE(records.length - 1, 23)
  batch.writeBigInt64BE(BigInt(first), 27)
  batch.writeBigInt64BE(BigInt(last), 35)
  batch.writeBigInt64BE(identity.producerId, 43)
  batch.writeInt16BE(identity.producerEpoch, 51)
  batch.writeInt32BE(sequence, 53)
  batch.writeInt32BE(records.length, 57)
  batch.writeUInt32BE(crc32c(Reader.from(batch).buffer.subarray(21)), 17)
  return batch
}

function lengthOf(text: string | Uint8Array): number {
  return typeof text === 'string' ? Buffer.byteLength(text) : text.length
}

function bodyBytes(pen: Pen, record: OutgoingRecord, delta: number, index: number): number {
  let bytes =
    1 +
    pen.size(delta) +
    pen.size(index) +
    sized(pen, record.key) +
    sized(pen, record.value) +
    pen.size(record.headers.length)
  for (const [name, value] of record.headers) bytes += sized(pen, name) + sized(pen, value)
  return bytes
}

function sized(pen: Pen, text: string | Uint8Array | null): number {
  if (text === null) return 1
  const length = lengthOf(text)
  return pen.size(length) + length
}

class Pen {
  readonly #out: Buffer
  at: number

  constructor(out: Buffer, at: number) {
    this.#out = out
    this.at = at
  }

  record(record: OutgoingRecord, delta: number, index: number): void {
    this.#out[this.at++] = 0
    this.varint(delta)
    this.varint(index)
    this.bytes(record.key)
    this.bytes(record.value)
    this.varint(record.headers.length)
    for (const [name, value] of record.headers) {
      this.bytes(name)
      this.bytes(value)
    }
  }

  bytes(text: string | Uint8Array | null): void {
    if (text === null) return this.varint(-1)
    if (typeof text === 'string') {
      const length = Buffer.byteLength(text)
      this.varint(length)
      this.#out.write(text, this.at, length, 'utf8')
      this.at += length
      return
    }
    this.varint(text.length)
    this.#out.set(text, this.at)
    this.at += text.length
  }

  /** Zigzag; beyond 31 bits by division, as a timestamp's delta may be. */
  varint(value: number): void {
    let rest = value < 0 ? -2 * value - 1 : 2 * value
    while (rest >= 0x80) {
      this.#out[this.at++] = (rest % 128) | 0x80
      rest = Math.floor(rest / 128)
    }
    this.#out[this.at++] = rest
  }

  size(value: number): number {
    let rest = value < 0 ? -2 * value - 1 : 2 * value
    let bytes = 1
    for (; rest >= 0x80; rest = Math.floor(rest / 128)) bytes += 1
    return bytes
  }
}

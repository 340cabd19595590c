import { isUtf8 } from 'node:buffer'
import type { Headers, KafkaRecord } from '../core/kafka/source.ts'
import { type MessageHeaders, noMessageHeaders, readHeaders } from '../core/message-headers.ts'
import { BadRecord } from '../core/bad-record.ts'
import type { Dispatch, Opening } from '../core/workers.ts'
import type { IncomingRecord } from './context.ts'
import { WordReader, Words } from './wire.ts'

/** What crosses: `words` and `bytes` are transferred, openings (few) are cloned. */
export type DispatchFrame = {
  readonly kind: 'dispatch'
  readonly words: Int32Array<ArrayBuffer>
  /** All values one after the other, then all headers. */
  readonly bytes: Uint8Array<ArrayBuffer>
  /** Bytes of the values. */
  readonly valueBytes: number
  readonly openings: readonly Opening[]
  /** As a dispatch's, of those that have any; few and cloned, too. */
  readonly again: readonly ReadonlyMap<number, string>[]
}

const scratch = new Words(4_096)

/** Packs dispatches. The records' own buffers stay whole: they are copied, at memory's speed. */
export function packDispatches(dispatches: readonly Dispatch[]): DispatchFrame {
  let valueBytes = 0
  let headerBytes = 0
  const values: (Buffer | null)[] = []
  for (let i = 0; i < dispatches.length; i++) {
    const records = dispatches[i]?.records ?? []
    for (let j = 0; j < records.length; j++) {
      const record = records[j]
      if (record === undefined) continue
      const { value, headers } = record
      values.push(value)
      if (value !== null) valueBytes += value.length
      if (headers.length > 0) headerBytes += sizeOfHeaders(headers)
    }
  }
  let next = 0
  const bytes = Buffer.from(new ArrayBuffer(valueBytes + headerBytes))
  const openings: Opening[] = []
  const reruns: ReadonlyMap<number, string>[] = []
  let valueAt = 0
  let headersAt = valueBytes
  for (const { mailbox, run, opening, records, again } of dispatches) {
    scratch.pushLarge(mailbox)
    scratch.pushLarge(run)
    scratch.push(opening === null ? 0 : openings.push(opening))
    scratch.push(again === undefined ? 0 : reruns.push(again))
    scratch.push(records.length)
    for (let j = 0; j < records.length; j++) {
      const record = records[j]
      if (record === undefined) continue
      const { headers } = record
      const value = values[next++] ?? null
      scratch.pushLarge(record.offset)
      scratch.pushLarge(record.timestamp)
      scratch.push(value === null ? -1 : value.length)
      if (value !== null) {
        bytes.set(value, valueAt)
        valueAt += value.length
      }
      scratch.push(headers.length)
      if (headers.length > 0) {
        const from = headersAt
        headersAt = writeHeaders(bytes, headersAt, headers)
        scratch.push(headersAt - from)
      }
    }
  }
  return { kind: 'dispatch', words: scratch.take(), bytes, valueBytes, openings, again: reruns }
}

export function transfersOf(frame: DispatchFrame): ArrayBuffer[] {
  return [frame.words.buffer, frame.bytes.buffer]
}

function sizeOfHeaders(headers: Headers): number {
  let size = 0
  for (const [name, value] of headers) size += 8 + name.length + (value?.length ?? 0)
  return size
}

function writeHeaders(bytes: Buffer, at: number, headers: Headers): number {
  for (const [name, value] of headers) {
    bytes.writeInt32LE(name.length, at)
    bytes.writeInt32LE(value === null ? -1 : value.length, at + 4)
    bytes.set(name, at + 8)
    at += 8 + name.length
    if (value === null) continue
    bytes.set(value, at)
    at += value.length
  }
  return at
}

/** A dispatch as the worker's thread sees it: its records are places in the frame. */
export type IncomingDispatch = {
  readonly mailbox: number
  readonly run: number
  readonly opening: Opening | null
  readonly records: readonly IncomingRecord[]
  readonly again?: ReadonlyMap<number, string>
}

/** Unpacks a frame. Headers that cannot be read make their record's value unreadable, with the reason kept. */
export function unpackDispatches(frame: DispatchFrame, maxHeaders: number): IncomingDispatch[] {
  const bytes = Buffer.from(frame.bytes.buffer, frame.bytes.byteOffset, frame.bytes.byteLength)
  const reader = new WordReader(frame.words)
  // Values that are UTF-8 together are so one by one where they begin and end between characters.
  const allUtf8 = isUtf8(bytes.subarray(0, frame.valueBytes))
  const dispatches: IncomingDispatch[] = []
  let valueAt = 0
  let headersAt = frame.valueBytes
  let lastHeaders: HeaderBlock | undefined
  while (!reader.done) {
    const mailbox = reader.nextLarge()
    const run = reader.nextLarge()
    const opening = frame.openings[reader.next() - 1] ?? null
    const again = frame.again[reader.next() - 1]
    const records: IncomingRecord[] = []
    for (let count = reader.next(); count > 0; count--) {
      const offset = reader.nextLarge()
      const timestamp = reader.nextLarge()
      const length = reader.next()
      const start = valueAt
      if (length > 0) valueAt += length
      let headers = noMessageHeaders
      const headerCount = reader.next()
      if (headerCount > 0) {
        const size = reader.next()
        if (lastHeaders === undefined || !lastHeaders.equals(bytes, headersAt, size)) {
          lastHeaders = new HeaderBlock(bytes, headersAt, size, headerCount, maxHeaders)
        }
        headers = lastHeaders.headers
        headersAt += size
      }
      const knownUtf8 =
        allUtf8 && isBoundary(bytes, start, frame.valueBytes) && isBoundary(bytes, valueAt, frame.valueBytes)
      records.push({ offset, timestamp, bytes, start, end: length < 0 ? -1 : start + length, headers, knownUtf8 })
    }
    dispatches.push({ mailbox, run, opening, records, ...(again && { again }) })
  }
  return dispatches
}

/** Whether a character begins at `at`, in bytes that are UTF-8 up to `end`. */
function isBoundary(bytes: Buffer, at: number, end: number): boolean {
  return at >= end || ((bytes[at] ?? 0) & 0xc0) !== 0x80
}

/** Headers of one record, kept for the next: a producer's are mostly the same. */
class HeaderBlock {
  readonly headers: MessageHeaders
  readonly #bytes: Buffer
  readonly #from: number
  readonly #size: number

  constructor(bytes: Buffer, from: number, size: number, count: number, maxHeaders: number) {
    this.#bytes = bytes
    this.#from = from
    this.#size = size
    this.headers = readable(readBlock(bytes, from, count), maxHeaders)
  }

  equals(bytes: Buffer, from: number, size: number): boolean {
    return size === this.#size && bytes.compare(this.#bytes, this.#from, this.#from + size, from, from + size) === 0
  }
}

function readBlock(bytes: Buffer, at: number, count: number): Headers {
  const headers: (readonly [Buffer, Buffer | null])[] = []
  for (; count > 0; count--) {
    const nameLength = bytes.readInt32LE(at)
    const valueLength = bytes.readInt32LE(at + 4)
    const valueAt = at + 8 + nameLength
    const name = bytes.subarray(at + 8, valueAt)
    at = valueAt + Math.max(0, valueLength)
    headers.push([name, valueLength < 0 ? null : bytes.subarray(valueAt, at)])
  }
  return headers
}

/** The headers' reading, or the failure that their record will meet when it is decoded. */
function readable(headers: Headers, maxHeaders: number): MessageHeaders {
  try {
    return readHeaders(headers, maxHeaders)
  } catch (error) {
    if (error instanceof BadRecord) return { ...noMessageHeaders, problem: error }
    throw error
  }
}

/** A record that is not in a frame, for the in-memory test kit. */
export function incoming(record: KafkaRecord, maxHeaders: number): IncomingRecord {
  const { offset, timestamp, value, headers } = record
  const bytes = value ?? Buffer.alloc(0)
  return {
    offset,
    timestamp,
    bytes,
    start: 0,
    end: value === null ? -1 : bytes.length,
    headers: readable(headers, maxHeaders),
    knownUtf8: false,
  }
}

import { crc32c, Reader } from '@platformatic/kafka'
import { type OutgoingRecord, writeBatch } from '../../core/kafka/record-batch-writer.ts'

// Record batches as a broker would hand them out, for tests without one.

/** `batch` at another place of the log. Its checksum does not cover the offset. */
export function shifted(batch: Buffer, baseOffset: number): Buffer {
  const copy = Buffer.from(batch)
  copy.writeBigInt64BE(BigInt(baseOffset), 0)
  return copy
}

/** A batch of `values` by a transaction of `producerId`. */
export function transactionalBatch(baseOffset: number, producerId: bigint, values: readonly string[]): Buffer {
  const records: OutgoingRecord[] = values.map((value) => ({ key: null, value: Buffer.from(value), headers: [] }))
  return flagged(shifted(writeBatch(records, 0, { producerId, producerEpoch: 0 }, 0, 'none'), baseOffset), 0x10)
}

export function plainBatch(baseOffset: number, values: readonly string[]): Buffer {
  const records: OutgoingRecord[] = values.map((value) => ({ key: null, value: Buffer.from(value), headers: [] }))
  return shifted(writeBatch(records, 0, { producerId: -1n, producerEpoch: -1 }, -1, 'none'), baseOffset)
}

/** The marker that ends a transaction; `empty` is one whose record compaction has taken. */
export function controlBatch(offset: number, producerId: bigint, kind: 'abort' | 'commit' | 'empty'): Buffer {
  const key = Buffer.from([0, 0, 0, kind === 'commit' ? 1 : 0])
  const records: OutgoingRecord[] = kind === 'empty' ? [] : [{ key, value: Buffer.alloc(6), headers: [] }]
  const batch = shifted(writeBatch(records, 0, { producerId, producerEpoch: 0 }, -1, 'none'), offset)
  batch.writeInt32BE(0, 23)
  return flagged(batch, 0x30)
}

function flagged(batch: Buffer, flags: number): Buffer {
  batch.writeInt16BE(batch.readInt16BE(21) | flags, 21)
  batch.writeUInt32BE(crc32c(Reader.from(batch).buffer.subarray(21)), 17)
  return batch
}

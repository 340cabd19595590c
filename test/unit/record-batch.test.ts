import * as assert from 'uvu/assert'
import fc from 'fast-check'
import { isAbortMarker, readHead, readRecords } from '../../core/kafka/record-batch.ts'
import { recordBytes, writeBatch } from '../../core/kafka/record-batch-writer.ts'
import { controlBatch, shifted } from '../contract/batches.ts'
import { test } from '../harness.ts'

const identity = { producerId: 7n, producerEpoch: 1 }
const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array))
const record = fc.record({
  key: fc.option(bytes, { nil: null }),
  value: fc.option(bytes, { nil: null }),
  headers: fc.array(fc.tuple(bytes, fc.option(bytes, { nil: null })), { maxLength: 4 }),
  timestamp: fc.integer({ min: 0, max: 4_102_444_800_000 }),
})

test('what was written is read again, byte for byte, whatever the codec', () => {
  fc.assert(
    fc.property(
      fc.array(record, { minLength: 1, maxLength: 30 }),
      fc.constantFrom('none', 'gzip', 'snappy', 'lz4', 'zstd'),
      fc.nat(2 ** 40),
      (records, codec, base) => {
        const batch = shifted(writeBatch(records, 0, identity, 0, codec), base)
        const head = readHead(batch)
        assert.is(head.baseOffset, base)
        assert.is(head.nextOffset, base + records.length)
        const read = readRecords(batch, 0)
        assert.is(read.length, records.length)
        for (const [i, { offset, timestamp, key, value, headers }] of read.entries()) {
          assert.is(offset, base + i)
          assert.is(timestamp, records[i]?.timestamp)
          assert.equal(key, records[i]?.key)
          assert.equal(value, records[i]?.value)
          assert.equal(headers, records[i]?.headers)
        }
      },
    ),
    { numRuns: 200 },
  )
})

test('a record takes no more than was reckoned', () => {
  fc.assert(fc.property(record, (one) => writeBatch([one], 0, identity, 0, 'none').length <= 61 + recordBytes(one)))
})

test('records before the position asked for are left out', () => {
  const records = [1, 2, 3].map((n) => ({ key: null, value: Buffer.from(String(n)), headers: [] }))
  const batch = shifted(writeBatch(records, 0, identity, 0, 'none'), 10)
  assert.equal(
    readRecords(batch, 11).map(({ offset }) => offset),
    [11, 12],
  )
})

test('a flipped bit is found by the checksum', () => {
  const batch = writeBatch([{ key: null, value: Buffer.from('payload'), headers: [] }], 0, identity, 0, 'none')
  const last = batch.length - 3
  batch[last] = (batch[last] ?? 0) ^ 1
  assert.throws(() => readHead(batch), /wrong checksum/)
})

test('a format of before 2017 is refused by name', () => {
  const batch = writeBatch([{ key: null, value: null, headers: [] }], 0, identity, 0, 'none')
  batch[16] = 1
  assert.throws(() => readHead(batch), /format 1/)
})

test('an abort marker is told from a commit marker and from a control batch that compaction emptied', () => {
  assert.ok(isAbortMarker(controlBatch(5, 7n, 'abort')))
  assert.not.ok(isAbortMarker(controlBatch(5, 7n, 'commit')))
  assert.not.ok(isAbortMarker(controlBatch(5, 7n, 'empty')))
})

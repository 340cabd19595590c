import * as assert from 'uvu/assert'
import type { AbortedTransaction, FetchedPartition } from '../../core/kafka/fetch-protocol.ts'
import { Reading } from '../../core/kafka/reading.ts'
import { controlBatch, plainBatch, transactionalBatch } from '../contract/batches.ts'
import { test } from '../harness.ts'

const producer = 42n

function fetched(
  batches: readonly Buffer[],
  aborted: readonly AbortedTransaction[] = [],
  end = 1_000,
): FetchedPartition {
  return { topicId: 'id', partition: 0, error: 0, start: 0, end, aborted, batches }
}

function readingFrom(position: number): Reading {
  const reading = new Reading({ topic: 't', partition: 0 })
  reading.seek(position, 1)
  return reading
}

function values(reading: Reading): string[] {
  return reading.next(1_000).records.map(({ value }) => String(value))
}

test('two aborted transactions of one producer in one fetch are both left out, and what it committed between is kept', () => {
  const reading = readingFrom(0)
  reading.take(
    fetched(
      [
        transactionalBatch(0, producer, ['a1', 'a2']),
        controlBatch(2, producer, 'abort'),
        transactionalBatch(3, producer, ['kept']),
        controlBatch(4, producer, 'commit'),
        transactionalBatch(5, producer, ['b1']),
        controlBatch(6, producer, 'abort'),
        transactionalBatch(7, producer, ['last']),
        controlBatch(8, producer, 'commit'),
      ],
      [
        { producerId: producer, firstOffset: 5 },
        { producerId: producer, firstOffset: 0 },
      ],
    ),
  )
  assert.equal(values(reading), ['kept', 'last'])
  assert.is(reading.position, 9)
})

test('an aborted transaction whose marker lies outside the fetch is left out', () => {
  const reading = readingFrom(0)
  reading.take(
    fetched(
      [plainBatch(0, ['p']), transactionalBatch(1, producer, ['a1']), transactionalBatch(2, producer, ['a2'])],
      [{ producerId: producer, firstOffset: 1 }],
    ),
  )
  assert.equal(values(reading), ['p'])
  assert.is(reading.position, 3)
})

test('a transaction that began before the position is left out by its abort', () => {
  const reading = readingFrom(5)
  reading.take(
    fetched(
      [transactionalBatch(4, producer, ['a1', 'a2']), controlBatch(6, producer, 'abort'), plainBatch(7, ['p'])],
      [{ producerId: producer, firstOffset: 2 }],
    ),
  )
  assert.equal(values(reading), ['p'])
  assert.is(reading.position, 8)
})

test('records of others between those of an aborted transaction are kept', () => {
  const reading = readingFrom(0)
  reading.take(
    fetched(
      [
        transactionalBatch(0, producer, ['a']),
        plainBatch(1, ['p']),
        transactionalBatch(2, 43n, ['o']),
        controlBatch(3, producer, 'abort'),
      ],
      [{ producerId: producer, firstOffset: 0 }],
    ),
  )
  assert.equal(values(reading), ['p', 'o'])
})

test('a marker that compaction has emptied is passed', () => {
  const reading = readingFrom(0)
  reading.take(fetched([plainBatch(0, ['p']), controlBatch(1, producer, 'empty')]))
  assert.equal(values(reading), ['p'])
  assert.is(reading.position, 2)
})

test('a batch that cannot be read does not take those before it along', () => {
  const reading = readingFrom(0)
  const broken = plainBatch(1, ['x'])
  broken[broken.length - 1] = 99
  assert.throws(() => reading.take(fetched([plainBatch(0, ['p']), broken])), /checksum/)
  assert.equal(values(reading), ['p'])
  assert.is(reading.fetchPosition, 1)
})

test('what was fetched before a seek is not delivered after it', () => {
  const reading = readingFrom(0)
  reading.take(fetched([plainBatch(0, ['a', 'b'])]))
  reading.seek(1, 2)
  assert.not.ok(reading.ready)
  reading.take(fetched([plainBatch(0, ['a', 'b'])]))
  const batch = reading.next(10)
  assert.is(batch.token, 2)
  assert.equal(
    batch.records.map(({ offset }) => offset),
    [1],
  )
})

test('a paused partition keeps what was fetched, and a resumed one delivers it', () => {
  const reading = readingFrom(0)
  reading.take(fetched([plainBatch(0, ['a'])]))
  reading.pause()
  assert.not.ok(reading.ready)
  reading.resume()
  assert.equal(values(reading), ['a'])
})

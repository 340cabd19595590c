import * as assert from 'uvu/assert'
import { murmur2, partitionOf } from '../../core/kafka/murmur2.ts'
import { test } from '../harness.ts'

test('hashes as the Java client does', () => {
  // The values of Kafka's own UtilsTest.
  const known: readonly (readonly [key: string, hash: number])[] = [
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
    ['abc', 479470107],
  ]
  for (const [key, hash] of known) assert.is(murmur2(Buffer.from(key)), hash, key)
})

test('places a key of a negative hash by its lower 31 bits', () => {
  assert.is(partitionOf(Buffer.from('foobar'), 12), (-790332482 & 0x7fffffff) % 12)
})

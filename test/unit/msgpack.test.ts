import fc from 'fast-check'
import { Packr } from 'msgpackr'
import * as assert from 'uvu/assert'
import { BadRecord } from '../../core/bad-record.ts'
import { decodeMsgpack, encodeMsgpack } from '../../core/msgpack.ts'
import { test } from '../harness.ts'

function reasonOf(bytes: readonly number[] | Uint8Array, maxDepth = 64): string {
  try {
    decodeMsgpack(Buffer.from(bytes), maxDepth)
  } catch (error) {
    if (error instanceof BadRecord) return error.reason
    throw error
  }
  return 'accepted'
}

const values = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.string({ unit: 'grapheme' }),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.maxSafeInteger(),
    fc.bigInt({ min: 2n ** 53n, max: 2n ** 63n - 1n }),
    fc.bigInt({ min: -(2n ** 63n), max: -(2n ** 53n) }),
    fc.boolean(),
    fc.constant(null),
    fc.uint8Array({ maxLength: 20 }),
    fc.array(tie('value'), { maxLength: 20 }),
    fc.dictionary(
      fc.string().filter((key) => key !== '__proto__' && key !== 'constructor'),
      tie('value'),
      { maxKeys: 20, noNullPrototype: true },
    ),
  ),
})).value

test('what was packed is unpacked as it was', () => {
  fc.assert(
    fc.property(values, (value) => {
      assert.equal(decodeMsgpack(Buffer.from(encodeMsgpack(value)), 64), value)
    }),
    { numRuns: 1_000 },
  )
})

test('every width of integer is read exactly, as a number where that is exact', () => {
  const cases: readonly [bytes: number[], value: unknown][] = [
    [[0x7f], 127],
    [[0xe0], -32],
    [[0xcc, 0xff], 255],
    [[0xcd, 0xff, 0xff], 65_535],
    [[0xce, 0xff, 0xff, 0xff, 0xff], 4_294_967_295],
    [[0xcf, 0, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 9_007_199_254_740_991],
    [[0xcf, 0, 0x20, 0, 0, 0, 0, 0, 1], 9_007_199_254_740_993n],
    [[0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 18_446_744_073_709_551_615n],
    [[0xd0, 0x80], -128],
    [[0xd1, 0x80, 0], -32_768],
    [[0xd2, 0x80, 0, 0, 0], -2_147_483_648],
    [[0xd3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], -1],
    [[0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0], -9_223_372_036_854_775_808n],
    [[0xca, 0x3f, 0xc0, 0, 0], 1.5],
  ]
  for (const [bytes, value] of cases) assert.is(decodeMsgpack(Buffer.from(bytes), 64), value)
})

test('extension types are refused: timestamps, msgpackr’s records and bigints among them', () => {
  for (const bytes of [
    [0xd4, 1, 2],
    [0xd6, 0xff, 0, 0, 0, 0],
    [0xc7, 1, 0x72, 0],
    [0xc8, 0, 1, 5, 0],
    [0xc9, 0, 0, 0, 1, 5, 0],
    [0xc1],
  ])
    assert.is(reasonOf(bytes), 'bad_msgpack')
  const records = new Packr({ useRecords: true })
  assert.is(reasonOf(records.pack({ a: 1, b: 2 })), 'bad_msgpack')
  assert.is(reasonOf(new Packr({ useRecords: false }).pack({ at: new Date() })), 'bad_msgpack')
})

test('a length that is made up costs nothing', () => {
  for (const bytes of [
    [0xdd, 0xff, 0xff, 0xff, 0xff],
    [0xdf, 0xff, 0xff, 0xff, 0xff],
    [0xdb, 0xff, 0xff, 0xff, 0xff],
    [0xc6, 0xff, 0xff, 0xff, 0xff],
    [0xdc, 0xff, 0xff],
    [0xda, 1],
    [0xcf, 0],
  ]) {
    assert.is(reasonOf(bytes), 'bad_msgpack')
  }
})

test('nesting is bounded', () => {
  assert.is(reasonOf([...Array.from({ length: 64 }, () => 0x91), 0xc0]), 'accepted')
  assert.is(reasonOf([...Array.from({ length: 65 }, () => 0x91), 0xc0]), 'too_deep')
  assert.is(reasonOf(new Uint8Array(1_000_000).fill(0x91)), 'too_deep')
})

test('what JSON could not say is refused', () => {
  assert.is(reasonOf([0x81, 0x01, 0x02]), 'bad_msgpack')
  assert.is(reasonOf([0x81, 0xc0, 0x02]), 'bad_msgpack')
  assert.is(reasonOf([0xcb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0]), 'number_out_of_range')
  assert.is(reasonOf([0xca, 0x7f, 0xc0, 0, 0]), 'number_out_of_range')
  assert.is(reasonOf([0xa2, 0xc3, 0x28]), 'bad_utf8')
  assert.is(reasonOf([0xc0, 0xc0]), 'bad_msgpack')
  assert.is(reasonOf([]), 'bad_msgpack')
})

test('a prototype’s key and a doubled field of the outermost map are refused', () => {
  const key = (text: string) => [0xa0 + text.length, ...Buffer.from(text)]
  assert.is(reasonOf([0x81, ...key('__proto__'), 0xc0]), 'bad_key')
  assert.is(reasonOf([0x82, ...key('type'), 0x01, ...key('type'), 0x02]), 'duplicate_key')
})

test('no bytes whatever make the reader do anything but read or refuse', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      reasonOf(bytes)
    }),
    { numRuns: 5_000 },
  )
})

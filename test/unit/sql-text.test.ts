import fc from 'fast-check'
import * as assert from 'uvu/assert'
import { type Column, kindOfType } from '../../core/catalog.ts'
import { TenantryError } from '../../core/errors.ts'
import { encodeParameter, encoderOf } from '../../core/sql-text.ts'
import { test } from '../harness.ts'

function column(type: string, nullable = true): Column {
  return {
    name: 'c',
    type,
    typeSchema: 'pg_catalog',
    base: type,
    kind: type.startsWith('_') ? 'array' : kindOfType(type),
    nullable,
    generated: false,
  }
}

const encode = (type: string, value: unknown) => encoderOf('public.t', column(type), 64)(value)

function refused(type: string, value: unknown): void {
  try {
    encode(type, value)
  } catch (error) {
    if (!(error instanceof TenantryError)) throw error
    assert.is(error.code, 'TENANTRY_BAD_VALUE')
    assert.match(error.message, 'public.t.c')
    return
  }
  assert.unreachable(`${type} took it`)
}

test('each kind of column has one text form for what it takes', () => {
  const at = new Date('2026-11-25T06:00:00.123Z')
  const cases: readonly [type: string, value: unknown, text: string][] = [
    ['bool', true, 't'],
    ['bool', false, 'f'],
    ['int4', 5, '5'],
    ['int4', -0, '0'],
    ['int8', 9_223_372_036_854_775_807n, '9223372036854775807'],
    ['int8', '42', '42'],
    ['float8', Number.NaN, 'NaN'],
    ['float8', Number.POSITIVE_INFINITY, 'Infinity'],
    ['float8', 1e300, '1e+300'],
    ['float8', -0, '-0'],
    ['numeric', 0.1, '0.1'],
    ['numeric', '123456789012345678901234567890.5', '123456789012345678901234567890.5'],
    ['numeric', 10n ** 30n, `1${'0'.repeat(30)}`],
    ['text', 'a✓', 'a✓'],
    ['text', '', ''],
    ['jsonb', { a: [1, null, 2n ** 60n] }, '{"a":[1,null,1152921504606846976]}'],
    ['jsonb', 'text', '"text"'],
    ['jsonb', [], '[]'],
    ['bytea', new Uint8Array([0, 255]), '\\x00ff'],
    ['bytea', Buffer.from('hi'), '\\x6869'],
    ['timestamptz', at, '2026-11-25T06:00:00.123Z'],
    ['timestamptz', '2026-11-25T06:00:00+01:00', '2026-11-25T06:00:00+01:00'],
    ['date', '2026-11-25', '2026-11-25'],
    ['timestamp', '2026-11-25 06:00:00', '2026-11-25 06:00:00'],
    ['timestamp', '2026-11-25T06:00:00Z', '2026-11-25T06:00:00Z'],
    ['date', '2026-11-25T06:00:00+00:00', '2026-11-25T06:00:00+00:00'],
    ['float8', 2n ** 60n, '1152921504606846976'],
    ['float4', 2n ** 24n, '16777216'],
    ['uuid', '0190F3A1-7C3B-7ABC-9DEF-0123456789AB', '0190f3a1-7c3b-7abc-9def-0123456789ab'],
    ['mood', 'happy', 'happy'],
    ['mood', 7, '7'],
    ['_int4', [1, null, 3], '{"1",NULL,"3"}'],
    ['_text', ['a"b\\c', 'NULL', ''], '{"a\\"b\\\\c","NULL",""}'],
    ['_int4', [[1], [2]], '{{"1"},{"2"}}'],
    ['_text', [], '{}'],
    ['_jsonb', [{ a: 1 }], '{"{\\"a\\":1}"}'],
  ]
  for (const [type, value, text] of cases) assert.is(encode(type, value), text, `${type} ${String(value)}`)
})

test('a value that its column cannot hold exactly is refused with the column’s name', () => {
  const cases: readonly [type: string, value: unknown][] = [
    ['bool', 'true'],
    ['bool', 1],
    ['int4', 1.5],
    ['int4', 2 ** 31],
    ['int4', -(2 ** 31) - 1],
    ['int2', 40_000],
    ['int8', 2 ** 53],
    ['int8', 2n ** 63n],
    ['int8', '1e3'],
    ['int4', Number.NaN],
    ['int4', true],
    ['float8', '1.5'],
    ['float8', 2n ** 53n + 1n],
    ['float8', 10n ** 400n],
    ['float4', 2n ** 24n + 1n],
    ['numeric', Number.NaN],
    ['numeric', Number.NEGATIVE_INFINITY],
    ['numeric', 'abc'],
    ['numeric', '1'.repeat(2_000)],
    ['text', 5],
    ['text', {}],
    ['text', 'a\0b'],
    ['text', '\ud800'],
    ['jsonb', { a: '\0' }],
    ['jsonb', { a: '\udfff' }],
    ['jsonb', Number.NaN],
    ['jsonb', () => 1],
    ['bytea', 'text'],
    ['bytea', [1]],
    ['timestamptz', new Date(Number.NaN)],
    ['timestamptz', new Date(-8e15)],
    ['timestamptz', 1_764_050_400_000],
    ['timestamptz', 'infinity'],
    ['timestamptz', '2026-02-30'],
    ['timestamp', '2026-11-25T06:00:00+01:00'],
    ['date', '2026-11-25T23:00:00-05:00'],
    ['_timestamp', ['2026-11-25T06:00:00+01:00']],
    ['uuid', 'x'],
    ['uuid', 5],
    ['mood', Number.NaN],
    ['mood', {}],
    ['mood', 'a\0'],
    ['_int4', 'x'],
    ['_int4', [1.5]],
    ['_int4', [undefined]],
    ['_text', Object.assign(['x', 'y', 'z'], { length: 4 })],
    ['_text', ['\0']],
  ]
  for (const [type, value] of cases) refused(type, value)
})

test('undefined is refused everywhere, null where the column is not null', () => {
  for (const type of ['bool', 'int4', 'text', 'jsonb', '_int4']) {
    refused(type, undefined)
    assert.is(encode(type, null), null)
    assert.throws(() => encoderOf('public.t', column(type, false), 64)(null), /public\.t\.c was given null/)
  }
})

test('errors name kinds, never the value', () => {
  const secret = 'hunter2-secret'
  for (const type of ['bool', 'int4', 'numeric', 'bytea', 'timestamptz', 'uuid']) {
    try {
      encode(type, secret)
      assert.unreachable()
    } catch (error) {
      assert.not.match(String(error), secret)
    }
  }
})

test('whole numbers of any kind are written as their digits', () => {
  fc.assert(fc.property(fc.maxSafeInteger(), (n) => encode('int8', n) === BigInt(n).toString()))
  fc.assert(
    fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (n) => encode('int8', n) === n.toString()),
  )
})

test('a parameter of own SQL is written by its own type', () => {
  const cases: readonly [value: unknown, text: string | null][] = [
    [null, null],
    ['x', 'x'],
    [1.5, '1.5'],
    [7n, '7'],
    [true, 't'],
    [new Date(0), '1970-01-01T00:00:00.000Z'],
    [new Uint8Array([1]), '\\x01'],
    [[1, 2], '{"1","2"}'],
    [['a', null], '{"a",NULL}'],
    [{ a: 1 }, '{"a":1}'],
    [[{ a: 1 }], '[{"a":1}]'],
  ]
  for (const [value, text] of cases) assert.is(encodeParameter('p', value, 64), text)
  for (const value of [undefined, Number.NaN, 'a\0', () => 1, [Number.NaN]])
    assert.throws(() => encodeParameter('p', value, 64))
})

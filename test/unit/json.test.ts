import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import * as assert from 'uvu/assert'
import { BadRecord } from '../../core/bad-record.ts'
import { TenantryError } from '../../core/errors.ts'
import { parseJson, stringifyJson } from '../../core/json.ts'
import { test } from '../harness.ts'

const rules = { maxDepth: 64, forPostgres: false }

function reasonOf(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    if (error instanceof BadRecord) return error.reason
    throw error
  }
  return 'accepted'
}

test('an integer past 2^53 is read as a bigint of exactly its digits', () => {
  assert.equal(parseJson('{"a":9007199254740993,"b":-9007199254740993,"c":[18446744073709551615]}', 64), {
    a: 9007199254740993n,
    b: -9007199254740993n,
    c: [18446744073709551615n],
  })
  assert.is(parseJson('9007199254740992', 64), 9007199254740992n)
  assert.is(parseJson('9007199254740991', 64), 9007199254740991)
})

test('an integer of 400 digits is exact, one of 1,001 is refused', () => {
  const digits = '1234567890'.repeat(40)
  assert.is(parseJson(digits, 64), BigInt(digits))
  assert.is(
    reasonOf(() => parseJson('9'.repeat(1_001), 64)),
    'number_out_of_range',
  )
})

test('digits within a string stay a string', () => {
  assert.equal(parseJson('{"id":"9007199254740993","n":9007199254740993}', 64), {
    id: '9007199254740993',
    n: 9007199254740993n,
  })
})

test('a number past the range of a double is refused, at any depth', () => {
  for (const text of ['1e400', '[-1e400]', '{"a":{"b":[1e999]}}'])
    assert.is(
      reasonOf(() => parseJson(text, 64)),
      'number_out_of_range',
    )
})

test('a number with a fraction or an exponent is a double', () => {
  assert.is(parseJson('1e300', 64), 1e300)
  assert.is(parseJson('12345678901234567890.5', 64), 12345678901234567000)
  assert.ok(Object.is(parseJson('-0', 64), -0))
})

test('nesting is allowed to the limit and refused past it', () => {
  const nested = (levels: number) => '['.repeat(levels) + ']'.repeat(levels)
  assert.is(
    reasonOf(() => parseJson(nested(64), 64)),
    'accepted',
  )
  assert.is(
    reasonOf(() => parseJson(nested(65), 64)),
    'too_deep',
  )
  assert.is(
    reasonOf(() => parseJson(nested(100_000), 64)),
    'too_deep',
  )
  assert.is(
    reasonOf(() => parseJson('{"a":'.repeat(65) + '1' + '}'.repeat(65), 64)),
    'too_deep',
  )
})

test('keys that pollute prototypes are refused, and harmless namesakes are not', () => {
  assert.is(
    reasonOf(() => parseJson('{"__proto__":{"polluted":true}}', 64)),
    'bad_key',
  )
  assert.is(
    reasonOf(() => parseJson('{"a":[{"__proto__":1}]}', 64)),
    'bad_key',
  )
  assert.is(
    reasonOf(() => parseJson('{"constructor":{"prototype":{"polluted":true}}}', 64)),
    'bad_key',
  )
  assert.is(
    reasonOf(() => parseJson('{"constructor":"Lotus"}', 64)),
    'accepted',
  )
  assert.is(Reflect.get({}, 'polluted'), undefined)
})

test('what is not JSON is refused without quoting it', () => {
  for (const text of [
    '',
    ' ',
    '{',
    '{"a":1}x',
    '{"a":1}{"a":2}',
    "{'a':1}",
    'NaN',
    '\ufeff{}',
    '{"secret":"hunter2"',
  ]) {
    try {
      parseJson(text, 64)
      assert.unreachable()
    } catch (error) {
      if (!(error instanceof BadRecord)) throw error
      assert.is(error.reason, 'bad_json')
      assert.not.match(error.message, 'hunter2')
    }
  }
})

test('whatever was written is read back as it was', () => {
  const exact = fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      fc.string({ unit: 'binary' }),
      fc
        .double({ noNaN: true, noDefaultInfinity: true })
        .filter((n) => !Number.isInteger(n) || Number.isSafeInteger(n)),
      fc.maxSafeInteger(),
      fc.bigInt().filter((n) => n > BigInt(Number.MAX_SAFE_INTEGER) || n < BigInt(Number.MIN_SAFE_INTEGER)),
      fc.boolean(),
      fc.constant(null),
      fc.array(tie('value'), { maxLength: 4 }),
      fc.dictionary(
        fc.string().filter((key) => key !== '__proto__' && key !== 'constructor'),
        tie('value'),
        { maxKeys: 4, noNullPrototype: true },
      ),
    ),
  })).value
  fc.assert(
    fc.property(exact, (value) => {
      assert.equal(parseJson(stringifyJson(value, rules), 64), value)
    }),
    { numRuns: 500 },
  )
})

test('what is to be read back keeps its numbers numbers, whatever their size', () => {
  const back = { ...rules, readBack: true }
  assert.is(
    stringifyJson({ a: [2 ** 60], b: -1e20, c: 1e21, d: 5, e: 2n ** 60n }, back),
    '{"a":[1152921504606847000.0],"b":-100000000000000000000.0,"c":1e+21,"d":5,"e":1152921504606846976}',
  )
  fc.assert(
    fc.property(
      fc.oneof(fc.double({ noNaN: true, noDefaultInfinity: true }), fc.double({ noNaN: true, min: 1e15, max: 1e22 })),
      (n) => {
        assert.equal(parseJson(stringifyJson([n], back), 64), [n === 0 ? 0 : n])
      },
    ),
  )
})

test('what JSON would silently change is refused with its path', () => {
  const bad: readonly [value: unknown, path: string][] = [
    [{ a: { b: Number.NaN } }, 'a.b'],
    [[1, Number.POSITIVE_INFINITY], '[1]'],
    [[undefined], '[0]'],
    [{ f: () => 1 }, 'f'],
    [{ s: Symbol('x') }, 's'],
    [{ m: new Map([[1, 2]]) }, 'm'],
    [{ s: new Set() }, 's'],
    [{ ad: Promise.resolve({ id: 1 }) }, 'ad'],
    [[/x/], '[0]'],
    [{ b: new ArrayBuffer(1) }, 'b'],
    [{ b: new Uint8Array(1) }, 'b'],
    [{ d: new Date(Number.NaN) }, 'd'],
  ]
  for (const [value, path] of bad) {
    try {
      stringifyJson(value, rules)
      assert.unreachable()
    } catch (error) {
      if (!(error instanceof TenantryError)) throw error
      assert.is(error.code, 'TENANTRY_NOT_JSON')
      assert.is(error.facts['path'], path)
    }
  }
})

test('objects without fields are written where they are plain, whichever realm they come from', () => {
  const foreign: unknown = runInNewContext('({})')
  assert.is(stringifyJson([{}, Object.create(null), foreign], rules), '[{},{},{}]')
})

test('an undefined property is left out, a Date is written as text, a circle is refused', () => {
  assert.is(
    stringifyJson({ a: undefined, d: new Date(0), n: 1n, deep: [{ n: 2n ** 70n }] }, rules),
    '{"d":"1970-01-01T00:00:00.000Z","n":1,"deep":[{"n":1180591620717411303424}]}',
  )
  const circle: unknown[] = []
  circle.push(circle)
  assert.throws(() => stringifyJson(circle, rules), /circle/)
})

test('for PostgreSQL, U+0000 and half surrogate pairs are refused; elsewhere they are escaped exactly', () => {
  for (const text of ['a\0b', '\ud800', '\udc00x']) {
    assert.throws(() => stringifyJson({ text }, { ...rules, forPostgres: true }), /PostgreSQL/)
    assert.throws(() => stringifyJson({ [text]: 1 }, { ...rules, forPostgres: true }), /PostgreSQL|key/)
    assert.equal(parseJson(stringifyJson({ text }, rules), 64), { text })
  }
  assert.is(stringifyJson('\\u0000', { ...rules, forPostgres: true }), '"\\\\u0000"')
})

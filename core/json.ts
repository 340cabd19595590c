import { BadRecord } from './bad-record.ts'
import { TenantryError } from './errors.ts'

/**
 * JSON without wrong values. An integer outside ±(2^53 − 1) is read as a bigint of exactly its digits and a bigint is
 * written as them; a number past the range of a double is refused rather than read as Infinity; so are keys that turn a
 * careless merge into prototype pollution. Everything else is `JSON.parse` and `JSON.stringify`.
 */

/** What a walk over a value found, as bits. */
const deep = 1
const inexact = 2
const polluting = 4

/**
 * Parses JSON text; nesting of objects and arrays deeper than `maxDepth` is refused.
 * Throws BadRecord with reason `bad_json`, `too_deep`, `number_out_of_range` or `bad_key`.
 */
export function parseJson(text: string, maxDepth: number): unknown {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    // The engine's own message quotes the text, so it stays out.
    const bom = text.charCodeAt(0) === 0xfeff ? ' (it begins with a byte order mark, which JSON forbids)' : ''
    throw new BadRecord('bad_json', `the value is not JSON${bom}`, error instanceof SyntaxError ? {} : { cause: error })
  }
  const found = inspect(value, maxDepth)
  return found === 0 ? value : settle(text, value, found, maxDepth)
}

/** Judges a value that some other decoder produced by the same rules; numbers are as exact as that decoder made them. */
export function checkValue(value: unknown, maxDepth: number): void {
  const found = inspect(value, maxDepth)
  if ((found & ~inexact) !== 0) refuse(found, maxDepth)
  if ((found & inexact) !== 0 && hasNonFinite(value)) throw outOfRange()
}

function settle(text: string, value: unknown, found: number, maxDepth: number): unknown {
  refuse(found, maxDepth)
  return (found & inexact) === 0 ? value : parseExactly(text)
}

function refuse(found: number, maxDepth: number): void {
  if ((found & deep) !== 0) throw new BadRecord('too_deep', `the value is nested deeper than ${maxDepth} levels`)
  if ((found & polluting) !== 0) {
    throw new BadRecord('bad_key', 'the value has a key __proto__, or constructor with a prototype in it')
  }
}

/** About 0.2 µs for an envelope of ten fields: cheaper than any test on the text. */
function inspect(value: unknown, levels: number): number {
  if (typeof value === 'number')
    return value <= Number.MAX_SAFE_INTEGER && value >= Number.MIN_SAFE_INTEGER ? 0 : inexact
  if (typeof value !== 'object' || value === null) return 0
  if (levels === 0) return deep
  let found = 0
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) found |= inspect(value[i], levels - 1)
    return found
  }
  if (!isRecord(value)) return 0
  for (const key in value) {
    const item = value[key]
    if (isPolluting(key, item)) found |= polluting
    found |= inspect(item, levels - 1)
  }
  return found
}

function isPolluting(key: string, item: unknown): boolean {
  if (key === '__proto__') return true
  return key === 'constructor' && typeof item === 'object' && item !== null && Object.hasOwn(item, 'prototype')
}

/** Objects as JSON and msgpack know them; bytes are values, not containers. */
function isRecord(value: object): value is Record<string, unknown> {
  return !(value instanceof Uint8Array)
}

/** Integers longer than this are refused: reading them takes time that grows with the square of their length. */
const maxDigits = 1_000

/** The slow and exact way: the reviver sees each number's own text. */
function parseExactly(text: string): unknown {
  return JSON.parse(text, (_key: string, value: unknown, ...rest: readonly unknown[]) => {
    if (typeof value !== 'number' || Number.isSafeInteger(value)) return value
    const source = sourceOf(rest[0])
    if (source === undefined) return value
    if (/^-?\d+$/.test(source)) {
      if (source.length > maxDigits)
        throw new BadRecord('number_out_of_range', `an integer has more than ${maxDigits} digits`)
      return BigInt(source)
    }
    if (!Number.isFinite(value)) throw outOfRange()
    return value
  })
}

function sourceOf(context: unknown): string | undefined {
  if (typeof context !== 'object' || context === null || !('source' in context)) return undefined
  return typeof context.source === 'string' ? context.source : undefined
}

function outOfRange(): BadRecord {
  return new BadRecord('number_out_of_range', 'a number is outside the range of a double')
}

function hasNonFinite(value: unknown): boolean {
  if (typeof value === 'number') return !Number.isFinite(value)
  if (Array.isArray(value)) return value.some(hasNonFinite)
  return typeof value === 'object' && value !== null && isRecord(value) && Object.values(value).some(hasNonFinite)
}

/** What the reader of the text cannot take, beside what JSON itself cannot say. */
export type JsonRules = {
  readonly maxDepth: number
  /** PostgreSQL's text and jsonb hold neither U+0000 nor half a surrogate pair. */
  readonly forPostgres: boolean
  /**
   * `parseJson` will read it and must find the same: a number past 2^53 keeps a fraction, as digits alone would be a
   * bigint, and what `parseJson` refuses is refused.
   */
  readonly readBack?: boolean
}

/**
 * JSON text of a value: plain objects, arrays, strings, finite numbers, booleans, null, bigints (written as digits) and
 * whatever has `toJSON` (a Date). Properties that are undefined are left out, as by JSON.stringify; everything that
 * JSON.stringify would silently turn into null or {} is refused: NaN, Infinity, undefined in an array, functions,
 * symbols, and objects that have no fields and are not plain: Map, Set, a promise. Throws TenantryError TENANTRY_NOT_JSON with the path in `facts`.
 */
export function stringifyJson(value: unknown, rules: JsonRules): string {
  const exactly = check(value, rules, rules.maxDepth, '')
  const text = exactly ? writeExactly(value, rules.readBack === true) : JSON.stringify(value)
  if (typeof text !== 'string') throw notJson('', `${typeof value} has no JSON form`)
  return text
}

function notJson(path: string, what: string): TenantryError {
  return new TenantryError(
    'TENANTRY_NOT_JSON',
    `${path === '' ? 'the value' : path} cannot be written as JSON: ${what}`,
    { path },
  )
}

/** Throws for what must not be written; answers whether a number is in it that JSON.stringify would not write so. */
function check(value: unknown, rules: JsonRules, levels: number, path: string): boolean {
  switch (typeof value) {
    case 'string':
      if (rules.forPostgres && !isStorable(value))
        throw notJson(path, 'PostgreSQL stores neither U+0000 nor half a surrogate pair')
      return false
    case 'boolean':
      return false
    case 'number':
      if (!Number.isFinite(value)) throw notJson(path, `${value} has no JSON form`)
      return rules.readBack === true && isDigitsPastExact(value)
    case 'bigint':
      if (rules.readBack === true && value.toString().length > maxDigits)
        throw notJson(path, `an integer has more than ${maxDigits} digits`)
      return true
    case 'object':
      return value !== null && checkObject(value, rules, levels, path)
    default:
      throw notJson(path, `${typeof value} has no JSON form`)
  }
}

function checkObject(value: object, rules: JsonRules, levels: number, path: string): boolean {
  if (levels === 0) throw notJson(path, `nested deeper than ${rules.maxDepth} levels, or in a circle`)
  if (hasToJson(value)) {
    if (value instanceof Date && Number.isNaN(value.getTime())) throw notJson(path, 'an invalid Date')
    return check(value.toJSON(''), rules, levels - 1, path)
  }
  let exactly = false
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) exactly = check(value[i], rules, levels - 1, `${path}[${i}]`) || exactly
    return exactly
  }
  const entries = Object.entries(value)
  if (ArrayBuffer.isView(value) || (entries.length === 0 && !isPlain(value))) {
    const name: unknown = value.constructor?.name
    throw notJson(path, `${typeof name === 'string' ? name : 'this object'} has no JSON form`)
  }
  for (const [key, item] of entries) {
    if (item === undefined) continue
    if (rules.forPostgres && !isStorable(key)) throw notJson(path, 'a key has U+0000 or half a surrogate pair')
    if (rules.readBack === true && isPolluting(key, item))
      throw notJson(path, 'a key __proto__, or constructor with a prototype in it, would not be read again')
    exactly = check(item, rules, levels - 1, path === '' ? key : `${path}.${key}`) || exactly
  }
  return exactly
}

/** JSON.stringify writes it as nothing but digits, which are read as a bigint. */
function isDigitsPastExact(value: number): boolean {
  return Number.isInteger(value) && !Number.isSafeInteger(value) && Math.abs(value) < 1e21
}

/** Anything else that has no fields keeps what it holds to itself: a Map, a RegExp, a promise that nobody awaited. */
function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

function hasToJson(value: object): value is { toJSON(key: string): unknown } {
  return 'toJSON' in value && typeof value.toJSON === 'function'
}

/** Whether PostgreSQL's text can hold it exactly. */
export function isStorable(text: string): boolean {
  return text.isWellFormed() && !text.includes('\0')
}

function writeExactly(value: unknown, readBack: boolean): string | undefined {
  if (typeof value === 'bigint') return value.toString()
  if (readBack && typeof value === 'number' && isDigitsPastExact(value)) return `${value}.0`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  if (hasToJson(value)) return writeExactly(value.toJSON(''), readBack)
  if (Array.isArray(value)) return `[${value.map((item) => writeExactly(item, readBack)).join(',')}]`
  const parts: string[] = []
  for (const [key, item] of Object.entries(value)) {
    if (item !== undefined) parts.push(`${JSON.stringify(key)}:${writeExactly(item, readBack)}`)
  }
  return `{${parts.join(',')}}`
}

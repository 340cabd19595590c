import { type Column, kindOfType } from './catalog.ts'
import type { SqlText } from './effects.ts'
import { TenantryError } from './errors.ts'
import { isStorable, stringifyJson } from './json.ts'
import { canonicalUuid } from './message-id.ts'
import { byteaText, escaped } from './postgres/array-text.ts'
import { afterYear9999, beginsWithDate, isTimestamp } from './timestamp.ts'

/**
 * JavaScript values in PostgreSQL's text form. A value that its column cannot hold exactly is an error that names
 * the column, found in the worker, so that it costs its own message alone: never a rounded number, a U+FFFD or a NULL
 * that nobody wrote.
 */

export type Encode = (value: unknown) => SqlText

/** How a column's values are written. The encoder throws TenantryError TENANTRY_BAD_VALUE. `maxDepth` bounds JSON. */
export function encoderOf(table: string, column: Column, maxDepth: number): Encode {
  const label = `${table}.${column.name}`
  const encode =
    column.kind === 'array'
      ? arrayEncoder(label, column.base, maxDepth)
      : scalarEncoder(label, column.kind, column.base, maxDepth)
  const { nullable } = column
  return (value) => {
    if (value === null) {
      if (nullable) return null
      throw bad(label, 'null, and the column is not null')
    }
    if (value === undefined) throw bad(label, 'undefined: leave the column out, or give null')
    return encode(value)
  }
}

type EncodeSome = (value: unknown) => string

function bad(label: string, what: string): TenantryError {
  return new TenantryError('TENANTRY_BAD_VALUE', `${label} was given ${what}`, { column: label })
}

/** Names a value's kind without showing it. */
function kindOf(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'an array'
  if (typeof value !== 'object') return `a ${typeof value}`
  const name: unknown = value.constructor?.name
  return typeof name === 'string' && name !== 'Object' ? `a ${name}` : 'an object'
}

function scalarEncoder(label: string, kind: Column['kind'], type: string, maxDepth: number): EncodeSome {
  switch (kind) {
    case 'boolean':
      return (value) => {
        if (typeof value === 'boolean') return value ? 't' : 'f'
        throw bad(label, `${kindOf(value)} for a boolean`)
      }
    case 'integer':
      return integerEncoder(label, type)
    case 'float':
      return (value) => {
        if (typeof value === 'number') return numberText(value)
        if (typeof value !== 'bigint') throw bad(label, `${kindOf(value)} for a ${type}`)
        if (isExactly(value, type)) return value.toString()
        throw bad(label, `an integer that ${type} does not hold exactly`)
      }
    case 'numeric':
      return (value) => {
        if (typeof value === 'number' && Number.isFinite(value)) return numberText(value)
        if (typeof value === 'bigint') return value.toString()
        if (typeof value === 'string' && value.length <= 1_000 && /^-?\d+(\.\d+)?$/.test(value)) return value
        throw bad(label, typeof value === 'number' ? `${value} for a numeric` : `${kindOf(value)} for a numeric`)
      }
    case 'text':
      return (value) => {
        if (typeof value !== 'string') throw bad(label, `${kindOf(value)} for a ${type}`)
        return storable(label, value)
      }
    case 'json':
      return (value) => jsonText(label, value, maxDepth)
    case 'bytea':
      return (value) => {
        if (value instanceof Uint8Array) return byteaText(value)
        throw bad(label, `${kindOf(value)} for a bytea: give a Uint8Array`)
      }
    case 'timestamp':
      return timestampEncoder(label, type)
    case 'uuid':
      return (value) => {
        const uuid = typeof value === 'string' ? canonicalUuid(value) : undefined
        if (uuid === undefined)
          throw bad(label, `${typeof value === 'string' ? 'a string that is no UUID' : kindOf(value)} for a uuid`)
        return uuid
      }
    case 'array':
      throw new TenantryError('TENANTRY_BAD_VALUE', `${label}: arrays of arrays are one array type in PostgreSQL`, {
        column: label,
      })
    case 'other':
      return (value) => anyText(label, value)
  }
}

function storable(label: string, text: string): string {
  if (isStorable(text)) return text
  throw bad(label, 'a string with U+0000 or half a surrogate pair, which PostgreSQL cannot store')
}

/** Shortest text that reads back as the same double; PostgreSQL takes JavaScript's exponents as they are. */
function numberText(value: number): string {
  return Object.is(value, -0) ? '-0' : String(value)
}

function isExactly(value: bigint, type: string): boolean {
  const held = type === 'float4' ? Math.fround(Number(value)) : Number(value)
  return Number.isFinite(held) && BigInt(held) === value
}

const integerRanges: Readonly<Record<string, bigint>> = {
  int2: 2n ** 15n,
  int4: 2n ** 31n,
  int8: 2n ** 63n,
  oid: 2n ** 32n,
}

function integerEncoder(label: string, type: string): EncodeSome {
  const limit = integerRanges[type] ?? 2n ** 63n
  const from = type === 'oid' ? 0n : -limit
  const safeLimit = limit > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(limit) - 1
  const safeFrom = from < BigInt(Number.MIN_SAFE_INTEGER) ? Number.MIN_SAFE_INTEGER : Number(from)
  return (value) => {
    if (typeof value === 'number') {
      if (Number.isInteger(value) && value <= safeLimit && value >= safeFrom) return value === 0 ? '0' : String(value)
      throw bad(
        label,
        Number.isInteger(value)
          ? `a number outside the range of ${type} or of exact numbers`
          : `a number that is not whole for ${type}`,
      )
    }
    const exact =
      typeof value === 'bigint'
        ? value
        : typeof value === 'string' && /^-?\d{1,19}$/.test(value)
          ? BigInt(value)
          : undefined
    if (exact === undefined) throw bad(label, `${kindOf(value)} for ${type}`)
    if (exact >= limit || exact < from) throw bad(label, `an integer outside the range of ${type}`)
    return exact.toString()
  }
}

function jsonText(label: string, value: unknown, maxDepth: number): string {
  try {
    return stringifyJson(value, { maxDepth, forPostgres: true })
  } catch (error) {
    if (error instanceof TenantryError)
      throw new TenantryError('TENANTRY_BAD_VALUE', `${label}: ${error.message}`, { column: label, ...error.facts })
    throw error
  }
}

const firstDate = -62_135_596_800_000

function timestampEncoder(label: string, type: string): EncodeSome {
  return (value) => {
    if (value instanceof Date) {
      const time = value.getTime()
      if (time >= firstDate && time < afterYear9999) return value.toISOString()
      throw bad(label, Number.isNaN(time) ? 'an invalid Date' : 'a Date outside the years 1 to 9999')
    }
    if (typeof value !== 'string') throw bad(label, `${kindOf(value)} for ${type}: give a Date or an ISO 8601 string`)
    if (isLocal(value)) return value
    if (isTimestamp(value)) {
      if (!withoutZone.has(type) || isUtc(value)) return value
      throw bad(label, `a timestamp with an offset for ${type}, which would drop the offset: give a Date`)
    }
    throw bad(label, `a string that is no ISO 8601 timestamp for ${type}`)
  }
}

/** PostgreSQL reads a zone's offset for these types and ignores it. */
const withoutZone: ReadonlySet<string> = new Set(['timestamp', 'date'])

function isUtc(timestamp: string): boolean {
  return /(?:Z|[+-]00:00)$/i.test(timestamp)
}

/** `2026-11-25` and `2026-11-25T06:00:00`: what a date and a timestamp without time zone hold. */
function isLocal(text: string): boolean {
  if (!beginsWithDate(text)) return false
  return text.length === 10 || isTimestamp(`${text.replace(' ', 'T')}Z`)
}

function arrayEncoder(label: string, type: string, maxDepth: number): EncodeSome {
  const kind = type.startsWith('_') ? kindOfType(type.slice(1)) : 'other'
  const element = scalarEncoder(label, kind, type.replace(/^_/, ''), maxDepth)
  return (value) => {
    if (!Array.isArray(value)) throw bad(label, `${kindOf(value)} for an array`)
    return arrayText(label, value, element, 6)
  }
}

/** PostgreSQL's array literal, at most six dimensions. */
function arrayText(label: string, items: readonly unknown[], element: EncodeSome, levels: number): string {
  if (levels === 0) throw bad(label, 'an array of more than six dimensions')
  // Not `map`, which passes over holes.
  const parts = Array.from(items, (item) => {
    if (item === null) return 'NULL'
    if (item === undefined) throw bad(label, 'an array with undefined in it')
    if (Array.isArray(item)) return arrayText(label, item, element, levels - 1)
    return `"${escaped(element(item))}"`
  })
  return `{${parts.join(',')}}`
}

/** A value whose column is not known, or of a type that tenantry has no rule for (enums, ranges, geometry, …). */
function anyText(label: string, value: unknown): string {
  switch (typeof value) {
    case 'string':
      return storable(label, value)
    case 'number':
      if (Number.isFinite(value)) return numberText(value)
      throw bad(label, `${value}, which only a column of a float type holds`)
    case 'bigint':
      return value.toString()
    case 'boolean':
      return value ? 't' : 'f'
    default:
      if (value instanceof Date) return timestampEncoder(label, 'timestamptz')(value)
      if (value instanceof Uint8Array) return byteaText(value)
      throw bad(label, kindOf(value))
  }
}

/**
 * A parameter of the actor's own SQL, whose column nobody knows here: text, numbers, booleans, dates and bytes as they
 * are, an array of those as a PostgreSQL array, any other object as JSON. `place` names the parameter in errors.
 */
export function encodeParameter(place: string, value: unknown, maxDepth: number): SqlText {
  if (value === null) return null
  if (value === undefined) throw bad(place, 'undefined: give null')
  if (Array.isArray(value)) {
    const plain = value.every(
      (item) =>
        item === null ||
        typeof item !== 'object' ||
        item instanceof Date ||
        item instanceof Uint8Array ||
        Array.isArray(item),
    )
    return plain ? arrayText(place, value, (item) => anyText(place, item), 6) : jsonText(place, value, maxDepth)
  }
  if (typeof value === 'object' && !(value instanceof Date) && !(value instanceof Uint8Array))
    return jsonText(place, value, maxDepth)
  return anyText(place, value)
}

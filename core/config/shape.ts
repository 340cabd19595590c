import { z } from 'zod'
import { schema } from './schema.ts'

/**
 * The schema as a tree that can be walked: what each key is, its default and its documentation. Made from the JSON
 * Schema, so nothing is declared twice. Files, environment, masks, `config explain` and the documentation follow it.
 */
export type Shape = Section | MapOf | Value

/** Fixed keys. */
export type Section = {
  readonly kind: 'section'
  readonly doc: string
  readonly entries: ReadonlyMap<string, Shape>
  /** Not there at all unless something of it is given. */
  readonly optional: boolean
}

/** Keys that the user names: topics, groups, a driver's own keys. */
type MapOf = {
  readonly kind: 'map'
  readonly doc: string
  readonly each: Shape
  readonly default: Plain
  /** librdkafka's keys: named by it, and with dots in them. */
  readonly driver: boolean
}

export type Value = {
  readonly kind: 'value'
  readonly doc: string
  readonly default: Plain | undefined
  readonly required: boolean
  readonly types: ReadonlySet<string>
  readonly choices: readonly string[]
  /** May be a time such as `2026-11-01T00:00:00Z`. */
  readonly time: boolean
  readonly unit: 'duration' | 'size' | undefined
  /** True: never shown. `url`: shown without its password. */
  readonly secret: boolean | 'url'
  readonly minimum: number | undefined
  readonly maximum: number | undefined
}

/** What JSON can say. */
export type Plain = string | number | boolean | null | readonly Plain[] | { readonly [key: string]: Plain }

type JsonSchema = z.core.JSONSchema.BaseSchema

/** The JSON Schema of what may be written in the file. */
export function jsonSchema(): JsonSchema {
  return { title: 'tenantry.yml', ...z.toJSONSchema(schema, { io: 'input' }) }
}

let cached: Section | undefined

/** The whole configuration's shape. */
export function rootShape(): Section {
  if (cached) return cached
  const shape = shapeOf(jsonSchema(), true)
  if (shape.kind !== 'section') throw new TypeError('the schema of the configuration is not an object')
  cached = shape
  return shape
}

function shapeOf(json: JsonSchema, required: boolean): Shape {
  const doc = json.description ?? ''
  if (json.properties) {
    const needed = new Set(json.required ?? [])
    const entries = new Map(
      Object.entries(json.properties).map(([key, value]) => [key, shapeOf(schemaOf(value), needed.has(key))]),
    )
    return { kind: 'section', doc, entries, optional: !required && json.default === undefined }
  }
  if (isSchema(json.additionalProperties)) {
    const { driver } = json
    return {
      kind: 'map',
      doc,
      each: shapeOf(json.additionalProperties, true),
      default: plain(json.default) ?? {},
      driver: driver === true,
    }
  }
  const branches = json.anyOf ? json.anyOf.map(schemaOf) : [json]
  const { unit, secret } = json
  return {
    kind: 'value',
    doc,
    default: plain(json.default),
    required,
    types: new Set(branches.flatMap((branch) => branch.type ?? [])),
    choices: branches
      .flatMap((branch) => [...(branch.enum ?? []), branch.const])
      .filter((choice) => typeof choice === 'string'),
    time: branches.some((branch) => branch.format === 'date-time'),
    unit: unit === 'duration' || unit === 'size' ? unit : undefined,
    secret: secret === true || secret === 'url' ? secret : false,
    minimum: branches.find((branch) => branch.minimum !== undefined)?.minimum,
    maximum: branches.find((branch) => branch.maximum !== undefined)?.maximum,
  }
}

function isSchema(value: unknown): value is JsonSchema {
  return typeof value === 'object' && value !== null
}

function schemaOf(value: unknown): JsonSchema {
  return isSchema(value) ? value : {}
}

/** `value` when JSON can say it; undefined otherwise. */
export function plain(value: unknown): Plain | undefined {
  if (value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean')
    return value
  if (Array.isArray(value)) return value.map((item) => plain(item) ?? null)
  if (typeof value !== 'object') return undefined
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item) ?? null]))
}

/** The shape of a key, given as its parts; undefined where there is no such key. */
export function shapeAt(path: readonly string[]): Shape | undefined {
  let shape: Shape | undefined = rootShape()
  for (const part of path) {
    if (shape?.kind === 'section') shape = shape.entries.get(part)
    else if (shape?.kind === 'map') shape = shape.each
    else return undefined
  }
  return shape
}

/** Every key with a value, in the order of the schema; `<name>` stands for a name that the user gives. */
export function* valueKeys(
  shape: Shape = rootShape(),
  path: readonly string[] = [],
): Generator<{ readonly path: readonly string[]; readonly shape: Value }> {
  if (shape.kind === 'value') yield { path, shape }
  else if (shape.kind === 'map') yield* valueKeys(shape.each, [...path, shape.driver ? '<key>' : '<name>'])
  else for (const [key, entry] of shape.entries) yield* valueKeys(entry, [...path, key])
}

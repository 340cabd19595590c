import { z } from 'zod'
import { refusedByConfluent } from './driver-keys.ts'
import { formatDuration, formatSize, parseDuration, parseSize } from './units.ts'

/**
 * How a key of the configuration is declared: its type, default, bounds and one line of documentation in one place.
 * What is said in `meta` reaches the JSON Schema, and from there docs/configuration.md, `config explain` and the masks.
 */

type Text = { readonly doc: string; readonly default?: string; readonly secret?: true | 'url' }

type Bounds = { readonly doc: string; readonly default: string; readonly min: string; readonly max: string }

/** A text with a default. */
export function text(options: Text & { readonly default: string }) {
  return z.string({ error: 'expected a text (put it in quotes)' }).default(options.default).meta(metaOf(options))
}

/** A text that need not be there. */
export function optionalText(options: Text) {
  return z
    .string({ error: 'expected a text (put it in quotes)' })
    .min(1, { error: 'must not be empty' })
    .optional()
    .meta(metaOf(options))
}

function metaOf(options: Text) {
  return { description: options.doc, ...(options.secret !== undefined && { secret: options.secret }) }
}

export function flag(options: { readonly doc: string; readonly default: boolean }) {
  return z.boolean({ error: 'expected true or false' }).default(options.default).meta({ description: options.doc })
}

/** A whole number from `min` to `max`. */
export function count(options: {
  readonly doc: string
  readonly default: number
  readonly min: number
  readonly max: number
}) {
  return wholeNumber(options.min, options.max).default(options.default).meta({ description: options.doc })
}

export function wholeNumber(min: number, max: number, or = '') {
  const error = `expected ${or}a whole number from ${min} to ${max}`
  return z.int({ error }).min(min, { error }).max(max, { error })
}

/** Exactly one of `values`. */
export function choice<const T extends readonly [string, ...string[]]>(
  values: T,
  options: { readonly doc: string; readonly default: T[number] },
) {
  return oneOf(values).default(options.default).meta({ description: options.doc })
}

export function oneOf<const T extends readonly [string, ...string[]]>(values: T) {
  return z.enum(values, { error: `expected one of ${values.join(', ')}` })
}

/** Written `"30s"`, `"5m"`, `"7d"`; milliseconds after parsing, under a name that ends in `Ms`. */
export function duration(options: Bounds) {
  return durationBetween(options.min, options.max)
    .prefault(options.default)
    .meta({ description: options.doc, unit: 'duration' })
}

/** A duration without a default. */
export function durationBetween(shortest: string, longest: string) {
  const min = parseDuration(shortest) ?? 0
  const max = parseDuration(longest) ?? Number.MAX_SAFE_INTEGER
  return z
    .string({ error: 'expected a duration such as "250ms", "30s", "5m", "7d" (a number needs its unit)' })
    .transform((written, context) => {
      const ms = parseDuration(written)
      if (ms !== undefined && ms >= min && ms <= max) return ms
      context.addIssue({
        code: 'custom',
        message:
          ms === undefined
            ? 'expected a duration such as "250ms", "30s", "5m", "7d"'
            : `expected a duration from ${formatDuration(min)} to ${formatDuration(max)}`,
      })
      return z.NEVER
    })
}

/** Written `"8MiB"` or as a number of bytes; bytes after parsing. The name ends in `Bytes` on both sides. */
export function size(options: Bounds) {
  return sizeBetween(options.min, options.max)
    .prefault(options.default)
    .meta({ description: options.doc, unit: 'size' })
}

/** A size without a default. */
export function sizeBetween(smallest: string, largest: string) {
  const min = parseSize(smallest) ?? 0
  const max = parseSize(largest) ?? Number.MAX_SAFE_INTEGER
  return z
    .union([z.string(), z.int()], { error: 'expected a size such as "64KiB", "8MiB", or a number of bytes' })
    .transform((written, context) => {
      const value = typeof written === 'number' ? written : parseSize(written)
      if (value !== undefined && value >= min && value <= max) return value
      context.addIssue({
        code: 'custom',
        message:
          value === undefined
            ? 'expected a size such as "64KiB", "8MiB", or a number of bytes'
            : `expected a size from ${formatSize(min)} to ${formatSize(max)}`,
      })
      return z.NEVER
    })
}

/** Keys of librdkafka's own configuration, handed on as they are, those that break a guarantee excepted. */
export function confluentKeys(doc: string) {
  return z
    .record(
      z.string(),
      z.union([z.string(), z.number(), z.boolean()], { error: 'expected a text, a number, or true or false' }),
    )
    .superRefine((keys, context) => {
      for (const [key, value] of Object.entries(keys)) {
        const reason = refusedByConfluent(key, value)
        if (reason !== undefined) context.addIssue({ code: 'custom', path: [key], message: `cannot be set: ${reason}` })
      }
    })
    .default({})
    .meta({ description: doc, driver: true })
}

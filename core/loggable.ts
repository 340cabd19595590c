import { type Facts, messageOf } from './errors.ts'
import { masked, namesSecret } from './redact.ts'

/**
 * What a line of log can hold, of whatever it was given: an actor's types are not checked when it runs, and no line may
 * end the thread that writes it.
 */
export function loggableFacts(fields: unknown): Facts {
  if (fields === undefined) return {}
  if (typeof fields !== 'object' || fields === null || ArrayBuffer.isView(fields))
    return { fields: loggableText(fields) }
  const facts: Record<string, Facts[string]> = {}
  try {
    if (isArray(fields)) return { fields: listOf(fields) }
    for (const key of Object.keys(fields).slice(0, maxFields)) {
      const value: unknown = Reflect.get(fields, key)
      if (value !== undefined) facts[key] = factOf(key, value)
    }
  } catch (error) {
    facts['fields'] = messageOf(error)
  }
  return facts
}

/** The text of whatever was given: '' for nothing, JSON for an object, its message for an error; so much of it. */
export function loggableText(value: unknown): string {
  return textOf(value).slice(0, maxText)
}

function textOf(value: unknown): string {
  if (typeof value === 'string') return value
  if (value === undefined) return ''
  if (typeof value !== 'object' || value === null) return messageOf(value)
  if (ArrayBuffer.isView(value)) return lengthOf(value)
  try {
    if (value instanceof Error) return messageOf(value)
    if (value instanceof Date) return String(value.toJSON())
    return JSON.stringify(value, plain) ?? ''
  } catch {
    return 'a value that cannot be printed'
  }
}

const maxFields = 100

/** Characters kept of a text. */
const maxText = 8_192

/** Elements kept of an array. */
const maxElements = 100

function factOf(key: string, value: unknown): Facts[string] {
  if (value === null || typeof value === 'number' || typeof value === 'boolean') return value
  if (namesSecret(key)) return masked
  return isArray(value) ? listOf(value) : loggableText(value)
}

function listOf(array: readonly unknown[]): readonly string[] {
  return array.slice(0, maxElements).map(loggableText)
}

function lengthOf({ byteLength }: ArrayBufferView): string {
  return `${byteLength} bytes`
}

/** A proxy may refuse even this question. */
function isArray(value: unknown): value is readonly unknown[] {
  try {
    return Array.isArray(value)
  } catch {
    return false
  }
}

/** For JSON.stringify: no secrets, digits for a bigint, and not more of anything than a line can use. */
function plain(key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return String(value)
  if (value === null || typeof value === 'number' || typeof value === 'boolean') return value
  if (namesSecret(key)) return masked
  if (typeof value === 'string') return value.slice(0, maxText)
  if (isArray(value)) return value.slice(0, maxElements)
  return ArrayBuffer.isView(value) ? lengthOf(value) : value
}

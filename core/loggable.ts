import { type Facts, messageOf } from './errors.ts'
import { masked, namesSecret } from './redact.ts'

/**
 * What a line of log can hold, of whatever it was given: an actor's types are not checked when it runs, and no line may
 * end the thread that writes it.
 */
export function loggableFacts(fields: unknown): Facts {
  if (typeof fields !== 'object' || fields === null) return fields === undefined ? {} : { fields: loggableText(fields) }
  const facts: Record<string, Facts[string]> = {}
  try {
    for (const [key, value] of Object.entries(fields)) if (value !== undefined) facts[key] = factOf(key, value)
  } catch (error) {
    facts['fields'] = messageOf(error)
  }
  return facts
}

/** The text of whatever was given: '' for nothing, JSON for an object, its message for an error. */
export function loggableText(value: unknown): string {
  if (typeof value === 'string') return value
  if (value === undefined) return ''
  if (typeof value !== 'object' || value === null) return messageOf(value)
  try {
    if (value instanceof Error) return messageOf(value)
    if (value instanceof Date) return String(value.toJSON())
    return (JSON.stringify(value, plain) ?? '').slice(0, maxText)
  } catch {
    return 'a value that cannot be printed'
  }
}

/** Characters kept of an object. */
const maxText = 8_192

/** Elements kept of an array. */
const maxElements = 100

function factOf(key: string, value: unknown): Facts[string] {
  if (value === null || typeof value === 'number' || typeof value === 'boolean') return value
  if (namesSecret(key)) return masked
  return isArray(value) ? value.slice(0, maxElements).map(loggableText) : loggableText(value)
}

/** A proxy may refuse even this question. */
function isArray(value: unknown): value is readonly unknown[] {
  try {
    return Array.isArray(value)
  } catch {
    return false
  }
}

/** For JSON.stringify: no secrets, and digits for a bigint. */
function plain(key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return String(value)
  if (value === null || typeof value === 'number' || typeof value === 'boolean') return value
  return namesSecret(key) ? masked : value
}

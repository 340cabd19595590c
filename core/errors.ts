/** The facts of an error: names, numbers and positions. Never payloads, never secrets. */
export type Facts = Readonly<Record<string, string | number | boolean | null | readonly string[]>>

/**
 * Every error that tenantry raises on purpose. `code` is stable and documented in docs/errors.md; `facts` are what a
 * program needs; `message` says what happened and what to do next.
 */
export class TenantryError extends Error {
  readonly code: string
  readonly facts: Facts

  constructor(code: string, message: string, facts: Facts = {}, options?: ErrorOptions) {
    super(message, options)
    this.name = 'TenantryError'
    this.code = code
    this.facts = facts
  }
}

/** The text of whatever was thrown: `null`, a number, an object, or an error whose message is no text. */
export function messageOf(thrown: unknown): string {
  try {
    const message: unknown = thrown instanceof Error ? thrown.message : thrown
    return typeof message === 'string' ? message : String(message)
  } catch {
    return 'a value that cannot be printed'
  }
}

/** The code of whatever was thrown: ours, PostgreSQL's, a driver's (`CONNECTION_CLOSED`), Node's; '' where it has none. */
export function codeOf(thrown: unknown): string {
  try {
    return thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string' ? thrown.code : ''
  } catch {
    return ''
  }
}

/** `error` itself, or an Error that wraps what was thrown. */
export function errorOf(thrown: unknown): Error {
  return isError(thrown) ? thrown : new Error(messageOf(thrown))
}

/** Whether it is an error. A proxy may refuse even this question. */
export function isError(thrown: unknown): thrown is Error {
  try {
    return thrown instanceof Error
  } catch {
    return false
  }
}

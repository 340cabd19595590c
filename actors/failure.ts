import { BadRecord } from '../core/bad-record.ts'
import type { Failure } from '../core/effects.ts'
import { codeOf, isError, messageOf, TenantryError } from '../core/errors.ts'
import { concernsAll } from '../core/postgres/sqlstate.ts'

const rejectedCode = 'TENANTRY_REJECTED'
const timeoutCode = 'TENANTRY_HANDLER_TIMEOUT'

/** Thrown by an actor for a message that no retry will help: it becomes a dead letter at once. */
export class Rejected extends TenantryError {
  constructor(why: string, options?: ErrorOptions) {
    super(rejectedCode, why, {}, options)
    this.name = 'Rejected'
  }
}

/** Characters kept of a message and of a stack. */
const maxText = 8_192

/**
 * What a record's failure says, fit for PostgreSQL and a Kafka header: bounded, no NUL, whole surrogate pairs. `called` is
 * the dependency out of whose call it came.
 */
export function failureOf(thrown: unknown, called?: string): Failure {
  const { kind, reason } = judge(thrown, called)
  const sqlstate = sqlstateOf(thrown, reason)
  return {
    reason,
    kind,
    ...(sqlstate !== undefined && { sqlstate }),
    ...(reason === 'dependency' && called !== undefined && { dependency: called }),
    errorClass: clean(classOf(thrown), 200),
    message: clean(messageOf(thrown), maxText),
    stack: clean(stackOf(thrown), maxText),
  }
}

/** A failure that nothing was thrown for. */
export function permanentFailure(reason: string, message: string): Failure {
  return { reason, kind: 'permanent', errorClass: '', message: clean(message, maxText), stack: '' }
}

function judge(thrown: unknown, called: string | undefined): Pick<Failure, 'kind' | 'reason'> {
  // A proxy may refuse to say what it is.
  if (isError(thrown) && thrown instanceof BadRecord) return { kind: 'bad-record', reason: thrown.reason }
  // Not by class: an actor may import another copy of this package than the daemon runs.
  const code = codeOf(thrown)
  if (code === rejectedCode) return { kind: 'permanent', reason: 'rejected' }
  // Before the dependency that it may have interrupted.
  if (code === timeoutCode) return { kind: 'transient', reason: 'timeout' }
  if (called !== undefined) return { kind: 'transient', reason: 'dependency' }
  if (effectCodes.has(code)) return { kind: 'permanent', reason: 'effect' }
  return { kind: 'transient', reason: 'handler' }
}

/** What the same message would run into again, whenever it is tried. */
const effectCodes = new Set([
  'TENANTRY_UNKNOWN_TABLE',
  'TENANTRY_UNKNOWN_COLUMN',
  'TENANTRY_BAD_VALUE',
  'TENANTRY_BAD_CONFLICT',
  'TENANTRY_OTHER_TENANT',
  'TENANTRY_BAD_STATEMENT',
  'TENANTRY_BAD_OUTGOING',
  'TENANTRY_NOT_JSON',
  'TENANTRY_TOO_MANY_EFFECTS',
  'TENANTRY_STATE_TOO_LARGE',
  'TENANTRY_NOT_DECLARED',
  'TENANTRY_UNKNOWN_DEPENDENCY',
])

/** What PostgreSQL would have said, had it been asked: undefined table, undefined column, no such constraint, bad data. */
const catalogStates: ReadonlyMap<string, string> = new Map([
  ['TENANTRY_UNKNOWN_TABLE', '42P01'],
  ['TENANTRY_UNKNOWN_COLUMN', '42703'],
  ['TENANTRY_BAD_CONFLICT', '42P10'],
  ['TENANTRY_BAD_VALUE', '22000'],
])

/** Where the failure may be everybody's, as the database has not what it needs; undefined where it is not so. */
function sqlstateOf(thrown: unknown, reason: string): string | undefined {
  const code = codeOf(thrown)
  if (reason === 'effect') return catalogStates.get(code)
  return reason === 'handler' && classOf(thrown) === 'PostgresError' && concernsAll(code) ? code : undefined
}

function classOf(thrown: unknown): string {
  if (typeof thrown !== 'object' || thrown === null) return ''
  try {
    const name: unknown = thrown.constructor?.name
    return typeof name === 'string' ? name : ''
  } catch {
    return ''
  }
}

function stackOf(thrown: unknown): string {
  if (!isError(thrown)) return ''
  try {
    return typeof thrown.stack === 'string' ? thrown.stack : ''
  } catch {
    return ''
  }
}

function clean(text: string, maxLength: number): string {
  return text.slice(0, maxLength).toWellFormed().replaceAll('\0', '�')
}

import type { Failure } from '../effects.ts'
import type { Blame } from './transactions.ts'

/** Raised by tenantry's own functions; docs/errors.md lists them. */
export const fencedState = 'TY001'
export const missingProgressState = 'TY002'
export const stateElsewhereState = 'TY004'
export const leftTransactionState = 'TY005'
export const wrongWayState = 'TY007'
export const supersededState = 'TY008'

/** PostgreSQL's own for a table that is not there. */
export const undefinedTable = '42P01'

/** Of a statement in a transaction that an earlier statement broke: says nothing of its own. */
export const abortedState = '25P02'

/**
 * Whom an SQLSTATE blames: connection (08), resources (53), shutdown (57P), system (58), read-only server (25006) and
 * the time limits that PostgreSQL sets a whole transaction are the infrastructure's.
 */
export function blameOf(sqlstate: string): Blame {
  if (sqlstate === '40001' || sqlstate === '40P01') return 'again'
  if (sqlstate === '55P03' || sqlstate === '57014') return 'held'
  const infrastructure =
    /^(08|53|57P|58)/.test(sqlstate) || sqlstate === '25006' || sqlstate === '25P03' || sqlstate === '25P04'
  return infrastructure ? 'infrastructure' : 'statement'
}

/** Whether an insert met a key that is there already. */
export function isKnownKey(error: {
  readonly code: string
  readonly schema_name?: string
  readonly table_name?: string
}): boolean {
  return error.code === '23505' && error.schema_name === 'sys' && (error.table_name ?? '').startsWith('request_keys')
}

/** Whether the server said it, so that the transaction is known to have been refused. */
export function isServerError(error: unknown): error is Error & {
  code: string
  detail?: string
  hint?: string
  schema_name?: string
  table_name?: string
} {
  return error instanceof Error && error.name === 'PostgresError'
}

/** What PostgreSQL says of a value that is too large, as for an index. */
const valueTooLarge = '54000'

/** Whether it is about objects, rights and features of the database (a missing table), rather than about values. */
export function concernsAll(sqlstate: string): boolean {
  return sqlstate !== valueTooLarge && /^(0A|28|3D|3F|42|54)/.test(sqlstate)
}

/**
 * Classes whose messages name objects and limits: connection, transaction state, rollback, access and syntax, resources,
 * locks, intervention, system. The others' quote values (`invalid input syntax for type integer: "…"`).
 */
const namesNoValues = /^(08|25|40|42|53|54|55|57|58)/

/** What of a refusal may stand in a log, a metric or a probe's answer: its message only where that quotes no values. */
export function shownOf({ sqlstate, message }: Failure): string {
  if (sqlstate === undefined) return message
  return namesNoValues.test(sqlstate) ? `${message} (SQLSTATE ${sqlstate})` : `SQLSTATE ${sqlstate}`
}

/** The same of any failure: an error's own message may quote what its handler worked on, so its class stands for it. */
export function failureShown(failure: Failure): string {
  const shown = failure.sqlstate === undefined ? failure.errorClass : shownOf(failure)
  return shown === '' ? failure.reason : `${failure.reason}: ${shown}`
}

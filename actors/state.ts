import { messageOf, TenantryError } from '../core/errors.ts'
import { type JsonRules, parseJson, stringifyJson } from '../core/json.ts'
import type { Limits } from '../core/limits.ts'
import type { Opening } from '../core/workers.ts'
import type { Schema, StateDefinition } from './define-actor.ts'

/** State nests deeper than messages may, as it is made of many. */
const maxStateDepth = 256

/** A state that was written and cannot be read would stop its tenant, so it must not be written. */
export const stateRules: JsonRules = { maxDepth: maxStateDepth, forPostgres: true, readBack: true }

/**
 * The state that a mailbox opens with: its committed one, migrated where it is older, or the initial one. Throws, or
 * rejects with, an error that says why it cannot be read; a state is never replaced by the initial one silently.
 */
export function openState(definition: StateDefinition<Schema>, committed: Opening['state']): unknown {
  if (committed === null) return structuredClone(definition.initial)
  const stored = parseJson(committed.json, maxStateDepth)
  if (committed.version > definition.version) {
    throw new TenantryError(
      'TENANTRY_STATE_UNREADABLE',
      `the state has version ${committed.version}, and this actor knows ${definition.version}: deploy the newer actor`,
      {
        version: committed.version,
      },
    )
  }
  if (committed.version === definition.version) return validated(definition, stored)
  if (definition.migrate === undefined) {
    throw new TenantryError(
      'TENANTRY_STATE_UNREADABLE',
      `the state has version ${committed.version}, and the actor of version ${definition.version} has no migrate`,
      {
        version: committed.version,
      },
    )
  }
  const migrated: unknown = definition.migrate(stored, committed.version)
  return isPromise(migrated)
    ? Promise.resolve(migrated).then((state) => validated(definition, state))
    : validated(definition, migrated)
}

/**
 * Why the initial state could not be read again once it was written, as a Date that its schema wants is a text by then;
 * null where it could, or where the schema says so later.
 */
export function initialProblem(definition: StateDefinition<Schema>): string | null {
  try {
    const again = validated(definition, parseJson(stringifyJson(definition.initial, stateRules), maxStateDepth))
    if (isPromise(again)) again.then(undefined, () => {})
    return null
  } catch (error) {
    return messageOf(error)
  }
}

function validated(definition: StateDefinition<Schema>, state: unknown): unknown {
  const result = definition.schema['~standard'].validate(state)
  if (isPromise(result)) return Promise.resolve(result).then(valueOf)
  return valueOf(result)
}

function valueOf(result: Awaited<ReturnType<Schema['~standard']['validate']>>): unknown {
  if (result.issues === undefined) return result.value
  const paths = result.issues
    .slice(0, 5)
    .map((issue) => issue.path?.map((part) => String(typeof part === 'object' ? part.key : part)).join('.') ?? '')
  throw new TenantryError(
    'TENANTRY_STATE_UNREADABLE',
    `the state does not pass the actor's schema at ${paths.join(', ')}`,
  )
}

/** JSON text of a state. Throws TENANTRY_STATE_TOO_LARGE or TENANTRY_NOT_JSON. */
export function writeState(state: unknown, limits: Limits): string {
  const json = stringifyJson(state, stateRules)
  if (
    json.length > limits.maxStateBytes ||
    (json.length > limits.maxStateBytes / 3 && Buffer.byteLength(json) > limits.maxStateBytes)
  ) {
    throw new TenantryError(
      'TENANTRY_STATE_TOO_LARGE',
      `the actor's state is larger than ${limits.maxStateBytes} bytes as JSON`,
      { maxStateBytes: limits.maxStateBytes },
    )
  }
  return json
}

export function unreadable(thrown: unknown): string {
  return `the tenant's state cannot be read: ${messageOf(thrown)}`
}

export function isPromise<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}

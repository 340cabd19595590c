import { TenantryError } from '../../core/errors.ts'

/** Where an actor's effects are, so that the checker can count them. */

/** A table with one row for each message; `column` holds the message's id. */
export type EffectsPlace = { readonly table: string; readonly column: string }

/** As EffectsPlace; rows with a higher `sequence` were made later, at least among one tenant's. */
export type OrderPlace = EffectsPlace & { readonly sequence: string }

/** A chain over all ids of a tenant in one partition: h = sha256(h + message_id) in hexadecimal, beginning with ''. */
export type ChainPlace =
  /** At `path` in the state of `actor`; of the group's only one where it is not named. */
  | { readonly in: 'state'; readonly actor?: string; readonly path: readonly string[] }
  /** In a table with a tenant_id column, and a partition column where tenants are in several. */
  | { readonly in: 'table'; readonly table: string; readonly column: string }

/** `table:column`. Throws TENANTRY_USAGE. */
export function effectsPlace(text: string): EffectsPlace {
  const [table = '', column = '', ...rest] = text.split(':')
  if (table === '' || column === '' || rest.length > 0) throw usage('--effects', 'TABLE:COLUMN', 'flights:message_id')
  return { table, column }
}

/** `table:column:sequence`. Throws TENANTRY_USAGE. */
export function orderPlace(text: string): OrderPlace {
  const [table = '', column = '', sequence = '', ...rest] = text.split(':')
  if (table === '' || column === '' || sequence === '' || rest.length > 0)
    throw usage('--order', 'TABLE:COLUMN:SEQUENCE', 'flights:message_id:number')
  return { table, column, sequence }
}

/** `state:path`, `state:actor:path` or `table:column`. Throws TENANTRY_USAGE. */
export function chainPlace(text: string): ChainPlace {
  const parts = text.split(':')
  const [first = '', second = '', third = ''] = parts
  if (parts.includes('') || parts.length < 2 || parts.length > (first === 'state' ? 3 : 2))
    throw usage('--chain', 'state:PATH, state:ACTOR:PATH or TABLE:COLUMN', 'state:chain')
  if (first !== 'state') return { in: 'table', table: first, column: second }
  if (parts.length === 2) return { in: 'state', path: second.split('.') }
  return { in: 'state', actor: second, path: third.split('.') }
}

/** A place as it was written. */
export function placeName(place: EffectsPlace | OrderPlace | ChainPlace): string {
  if ('in' in place) {
    if (place.in === 'table') return `${place.table}.${place.column}`
    return `the state's ${place.path.join('.')}${place.actor === undefined ? '' : ` of ${place.actor}`}`
  }
  return 'sequence' in place ? `${place.table} in the order of ${place.sequence}` : `${place.table}.${place.column}`
}

function usage(option: string, wanted: string, example: string): TenantryError {
  return new TenantryError('TENANTRY_USAGE', `${option} wants ${wanted}, such as ${option} ${example}.`)
}

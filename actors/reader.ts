import type postgres from 'postgres'
import { TenantryError } from '../core/errors.ts'
import { encodeParameter } from '../core/sql-text.ts'
import type { Reader } from './context.ts'
import type { ReadConnections } from './read-connections.ts'
import { mustFit } from './statement.ts'

/** Reads for `ctx.query`, over connections of the thread's own. */
export class PostgresReader implements Reader {
  readonly #connections: ReadConnections | undefined

  /** Without connections every read fails. */
  constructor(connections: ReadConnections | undefined) {
    this.#connections = connections
  }

  async query(tenant: string, text: TemplateStringsArray, values: readonly unknown[]): Promise<readonly object[]> {
    if (this.#connections === undefined) {
      throw new TenantryError('TENANTRY_NO_DATABASE', 'ctx.query has no database: this thread was started without one')
    }
    mustFit(values)
    const parameters = values.map(parameter)
    return this.#connections.read(tenant, (sql) => sql<Record<string, unknown>[]>(text, ...parameters))
  }
}

type Parameter = postgres.ParameterOrFragment<never>

/** What postgres.js takes as a parameter; an object that is none of these would be taken for SQL or JSON by chance. */
function parameter(value: unknown): Parameter {
  if (value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') {
    return value
  }
  if (typeof value === 'bigint') return value.toString()
  if (value instanceof Date || value instanceof Uint8Array) return value
  if (Array.isArray(value)) return encodeParameter('an array for ctx.query', value, 0)
  throw new TenantryError(
    'TENANTRY_BAD_VALUE',
    'a parameter of ctx.query must be text, a number, a boolean, a Date, bytes, null or an array of those',
  )
}

import postgres from 'postgres'
import { TenantryError } from '../core/errors.ts'
import { encodeParameter } from '../core/sql-text.ts'
import type { Reader } from './context.ts'

/**
 * Reads for `ctx.query`: a small client of the thread's own, opened when the first actor reads. Each read is a
 * transaction that cannot write and knows its tenant as `app.tenant_id`, for row security.
 */
export class PostgresReader implements Reader {
  readonly #url: string
  #sql: postgres.Sql | undefined

  constructor(url: string) {
    this.#url = url
  }

  async query(tenant: string, text: TemplateStringsArray, values: readonly unknown[]): Promise<readonly object[]> {
    if (this.#url === '')
      throw new TenantryError('TENANTRY_NO_DATABASE', 'ctx.query has no database: this thread was started without one')
    this.#sql ??= postgres(this.#url, {
      max: 2,
      idle_timeout: 60,
      connect_timeout: 10,
      connection: {
        application_name: 'tenantry reader',
        default_transaction_read_only: true,
        statement_timeout: 30_000,
      },
      onnotice() {},
    })
    return this.#sql.begin('read only', async (tx) => {
      await tx`select set_config('app.tenant_id', ${tenant}, true)`
      return await tx<Record<string, unknown>[]>(text, ...values.map(parameter))
    })
  }

  async close(): Promise<void> {
    await this.#sql?.end({ timeout: 1 })
  }
}

type Parameter = postgres.ParameterOrFragment<never>

/** What postgres.js takes as a parameter; an object that is none of these would be taken for SQL or JSON by chance. */
function parameter(value: unknown): Parameter {
  if (value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean')
    return value
  if (typeof value === 'bigint') return value.toString()
  if (value instanceof Date || value instanceof Uint8Array) return value
  // Arrays go as PostgreSQL's text: postgres.js writes a null in one as the string NULL.
  if (Array.isArray(value)) return encodeParameter('an array for ctx.query', value, 0)
  throw new TenantryError(
    'TENANTRY_BAD_VALUE',
    'a parameter of ctx.query must be text, a number, a boolean, a Date, bytes, null or an array of those',
  )
}

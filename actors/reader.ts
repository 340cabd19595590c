import postgres from 'postgres'
import { TenantryError } from '../core/errors.ts'
import { parseJson } from '../core/json.ts'
import { parseArray } from '../core/postgres/array-values.ts'
import { encodeParameter } from '../core/sql-text.ts'
import type { Reader } from './context.ts'

/**
 * Reads for `ctx.query`: a small client of the thread's own, opened when the first actor reads. Each read is a
 * transaction that cannot write and knows its tenant as `app.tenant_id`, for row security. Values come as postgres.js
 * gives them (int8 and numeric as strings), but exactly: JSON keeps its large integers, and arrays their nulls.
 */
export class PostgresReader implements Reader {
  readonly #url: string
  #sql: postgres.Sql | undefined

  constructor(url: string) {
    this.#url = url
  }

  async query(tenant: string, text: TemplateStringsArray, values: readonly unknown[]): Promise<readonly object[]> {
    if (this.#url === '') {
      throw new TenantryError('TENANTRY_NO_DATABASE', 'ctx.query has no database: this thread was started without one')
    }
    this.#sql ??= open(this.#url)
    return this.#sql.begin('read only', async (tx) => {
      await tx`select set_config('app.tenant_id', ${tenant}, true)`
      return await tx<Record<string, unknown>[]>(text, ...values.map(parameter))
    })
  }

  async close(): Promise<void> {
    await this.#sql?.end({ timeout: 1 })
  }
}

function open(url: string): postgres.Sql {
  return postgres(url, {
    max: 2,
    idle_timeout: 60,
    connect_timeout: 10,
    connection: { application_name: 'tenantry reader', default_transaction_read_only: true, statement_timeout: 30_000 },
    // The driver would set its own array readers, which take NULL for the word.
    fetch_types: false,
    types: readers(),
    onnotice() {},
  })
}

/** State and documents nest as deep as PostgreSQL lets them; this is well below what overflows a stack. */
const maxDepth = 1_000

const json = (text: string) => parseJson(text, maxDepth)
const date = (text: string) => new Date(text)
const bytes = (text: string) => Buffer.from(text.slice(2), 'hex')
const same = (text: string) => text

/** Object ids of PostgreSQL's own array types, by how their elements are read. */
const arrays: readonly (readonly [types: readonly number[], element: (text: string) => unknown])[] = [
  [[1000], (text) => text === 't'],
  [[1005, 1007, 1021, 1022, 1028], Number],
  [[1002, 1003, 1009, 1014, 1015, 1016, 1231, 2951, 1183, 1270, 1187], same],
  [[199, 3807], json],
  [[1115, 1182, 1185], date],
  [[1001], bytes],
]

function readers(): Record<string, postgres.PostgresType> {
  const asTheyAre = { to: 0, serialize: (value: unknown) => value }
  const own: Record<string, postgres.PostgresType> = { json: { ...asTheyAre, to: 114, from: [114, 3802], parse: json } }
  for (const [i, [types, element]] of arrays.entries()) {
    own[`array${i}`] = { ...asTheyAre, from: [...types], parse: (text: string) => parseArray(text, element) }
  }
  return own
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

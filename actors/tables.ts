import type { Catalog, Column, Table } from '../core/catalog.ts'
import type { RowEffect, Shape, SqlText } from '../core/effects.ts'
import { TenantryError } from '../core/errors.ts'
import { didYouMean } from '../core/nearest-name.ts'
import { type Encode, encoderOf } from '../core/sql-text.ts'

export type Row = Readonly<Record<string, unknown>>

/** The column that holds the tenant, in the tables that have it. */
export const tenantColumn = 'tenant_id'

export type TableRules = {
  /** Name of the column that holds the tenant, in the tables that have one. */
  readonly tenantColumn: string
  /** Bounds the JSON in json and jsonb columns. */
  readonly maxDepth: number
}

/** Where a context gets the writer of a table from. */
export interface TableSource {
  /** Throws TENANTRY_UNKNOWN_TABLE. */
  get(name: string): { write(row: Row, tenant: string, conflict: readonly string[] | undefined): RowEffect }
}

/** The tables that effects may touch: turns rows into effects, or says by name what is wrong with them. */
export class Tables implements TableSource {
  readonly #plans = new Map<string, TablePlan>()
  readonly #rules: TableRules

  constructor(catalog: Catalog, rules: TableRules) {
    this.#rules = rules
    this.read(catalog)
  }

  /** From now on the tables are those of `catalog`. */
  read(catalog: Catalog): void {
    this.#plans.clear()
    for (const table of catalog.tables) {
      const plan = new TablePlan(table, this.#rules)
      this.#plans.set(table.name, plan)
      if (table.name.startsWith('public.')) this.#plans.set(table.name.slice('public.'.length), plan)
    }
  }

  /** Throws TENANTRY_UNKNOWN_TABLE. */
  get(name: string): TablePlan {
    const plan = this.#plans.get(name)
    if (plan !== undefined) return plan
    throw new TenantryError(
      'TENANTRY_UNKNOWN_TABLE',
      `there is no table ${name} that effects may touch${didYouMean(name, this.#plans.keys())}`,
      { table: name },
    )
  }
}

/** A set of columns that is being written, reached by walking the row's keys: no string is built for a row that is like others. */
class Node {
  readonly columns: readonly WriteColumn[]
  /** Upserts of this set by their conflict columns; the insert, which has none, by undefined. */
  readonly writes = new Map<string | undefined, Write>()
  readonly #next = new Map<string, Node>()
  #lastName = ''
  #last: Node | undefined

  constructor(columns: readonly WriteColumn[]) {
    this.columns = columns
  }

  /** Undefined where the row's next column was never seen at this place. */
  get(name: string): Node | undefined {
    if (name === this.#lastName) return this.#last
    const node = this.#next.get(name)
    if (node !== undefined) {
      this.#lastName = name
      this.#last = node
    }
    return node
  }

  add(name: string, column: WriteColumn, remember: boolean): Node {
    const node = new Node([...this.columns, column])
    if (remember) this.#next.set(name, node)
    return node
  }
}

/** A row spread from a payload can have its keys in any order: past this many orders none is remembered any more. */
const maxNodes = 4_096

type WriteColumn = {
  readonly name: string
  readonly index: number
  readonly encode: Encode
  readonly bare: boolean
}

/** A shape, and which of the row's values goes where in it; a tenant that the row left out is index -1. */
type Write = { readonly shape: Shape; readonly order: readonly number[] }

/** Types whose texts hold nothing that means something in an array, and are neither empty nor the word null. */
const bareTypes: ReadonlySet<string> = new Set(['uuid', 'int2', 'int4', 'int8', 'float4', 'float8', 'numeric', 'bool'])

/** What stands in no name of PostgreSQL's. */
const between = '\0'

export class TablePlan {
  readonly #table: Table
  readonly #columns = new Map<string, WriteColumn>()
  readonly #byName = new Map<string, Column>()
  readonly #root = new Node([])
  #nodes = 0
  readonly #tenant: WriteColumn | undefined

  constructor(table: Table, rules: TableRules) {
    this.#table = table
    for (const [index, column] of table.columns.entries()) {
      this.#byName.set(column.name, column)
      if (!column.generated)
        this.#columns.set(column.name, {
          name: column.name,
          index,
          encode: encoderOf(table.name, column, rules.maxDepth),
          bare: column.typeSchema === 'pg_catalog' && bareTypes.has(column.type),
        })
    }
    this.#tenant = this.#columns.get(rules.tenantColumn)
  }

  /**
   * The effect of writing `row` for `tenant`. Throws TENANTRY_UNKNOWN_COLUMN, TENANTRY_BAD_VALUE, TENANTRY_OTHER_TENANT,
   * and for an upsert TENANTRY_BAD_CONFLICT.
   */
  write(row: Row, tenant: string, conflict: readonly string[] | undefined): RowEffect {
    let node = this.#root
    const encoded: SqlText[] = []
    for (const name in row) {
      const known = node.get(name)
      node = known ?? node.add(name, this.#column(name), this.#nodes++ < maxNodes)
      const column = node.columns[encoded.length]
      if (column === undefined) continue
      const text = column.encode(row[name])
      if (column === this.#tenant && text !== tenant) throw this.#otherTenant()
      encoded.push(text)
    }
    const write = node.writes.get(conflict?.join(between)) ?? this.#plan(node, conflict)
    const { shape, order } = write
    const values: SqlText[] = []
    for (const index of order) values.push(index < 0 ? this.#ownTenant(tenant) : (encoded[index] ?? null))
    return { kind: 'row', shape, values }
  }

  #ownTenant(tenant: string): SqlText {
    return this.#tenant?.encode(tenant) ?? null
  }

  #otherTenant(): TenantryError {
    const place = `${this.#table.name}.${this.#tenant?.name ?? ''}`
    return new TenantryError(
      'TENANTRY_OTHER_TENANT',
      `${place} names another tenant than the message's: leave the column out`,
      { column: place },
    )
  }

  #column(name: string): WriteColumn {
    const column = this.#columns.get(name)
    if (column !== undefined) return column
    const place = `${this.#table.name}.${name}`
    if (this.#byName.has(name)) {
      throw new TenantryError('TENANTRY_UNKNOWN_COLUMN', `${place} is generated and cannot be written`, {
        column: place,
      })
    }
    throw new TenantryError(
      'TENANTRY_UNKNOWN_COLUMN',
      `there is no column ${place}${didYouMean(name, this.#columns.keys())}`,
      { column: place },
    )
  }

  /** Columns go in the catalog's order, whatever the row's, so that rows with the same columns share a statement. */
  #plan(node: Node, conflict: readonly string[] | undefined): Write {
    const places = node.columns.map((column, position) => ({ column, position }))
    const tenant = this.#tenant
    if (tenant !== undefined && !node.columns.includes(tenant)) places.push({ column: tenant, position: -1 })
    if (places.length === 0) {
      throw new TenantryError('TENANTRY_UNKNOWN_COLUMN', `a row for ${this.#table.name} has no columns`, {
        column: this.#table.name,
      })
    }
    places.sort((a, b) => a.column.index - b.column.index)
    const columns = places.map(({ column }) => column.name)
    const arbiter = conflict === undefined ? undefined : this.#arbiter(conflict, columns)
    const bare = places.map(({ column }) => column.bare)
    // A column that has come to be of another type makes another shape.
    const base = { table: this.#table.name, columns, bare }
    const key = JSON.stringify([base, arbiter])
    const shape: Shape = arbiter === undefined ? { key, ...base } : { key, ...base, conflict: arbiter }
    const write: Write = { shape, order: places.map(({ position }) => position) }
    node.writes.set(conflict?.join(between), write)
    return write
  }

  #arbiter(conflict: readonly string[], columns: readonly string[]): readonly string[] {
    const unique = this.#table.uniques.find(
      (set) => set.length === conflict.length && set.every((name) => conflict.includes(name)),
    )
    const facts = { table: this.#table.name, conflict }
    if (unique === undefined) {
      const known = this.#table.uniques.map((set) => `(${set.join(', ')})`).join(' or ')
      throw new TenantryError(
        'TENANTRY_BAD_CONFLICT',
        `${this.#table.name} has no unique constraint on (${conflict.join(', ')}); ${known === '' ? 'it has none at all' : `conflict can be ${known}`}`,
        facts,
      )
    }
    const tenant = this.#tenant?.name
    if (tenant !== undefined && !unique.includes(tenant)) {
      throw new TenantryError(
        'TENANTRY_BAD_CONFLICT',
        `an upsert into ${this.#table.name} by (${unique.join(', ')}) could overwrite another tenant's row: make ${tenant} part of the constraint`,
        facts,
      )
    }
    const missing = unique.find((name) => !columns.includes(name))
    if (missing === undefined) return unique
    throw new TenantryError(
      'TENANTRY_BAD_CONFLICT',
      `the row for ${this.#table.name} lacks ${missing}, which its conflict names`,
      facts,
    )
  }
}

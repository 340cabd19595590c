/**
 * The tables that effects may touch, as PostgreSQL's catalog describes them at start. Read by core/postgres/catalog.ts,
 * handed to every worker thread, so that a wrong table or column is an error with names in it before anything is sent.
 */
export type Column = {
  readonly name: string
  /** `pg_type.typname`: int8, text, jsonb, _int4 for an array of int4, a domain's or an enum's own name. */
  readonly type: string
  /** Schema of the type. */
  readonly typeSchema: string
  /** The type that values are written as: a domain's own base, however many domains lie between; else `type`. */
  readonly base: string
  /** `typtype`/`typcategory` folded: what the encoder must know. A domain has its base type's kind. */
  readonly kind:
    | 'boolean'
    | 'integer'
    | 'float'
    | 'numeric'
    | 'text'
    | 'json'
    | 'bytea'
    | 'timestamp'
    | 'uuid'
    | 'array'
    | 'other'
  readonly nullable: boolean
  /** Generated always: cannot be written. */
  readonly generated: boolean
}

export type Table = {
  /** Schema-qualified: `public.campaigns`. */
  readonly name: string
  readonly columns: readonly Column[]
  /** Column sets of the unique constraints and unique indexes that an upsert may name. */
  readonly uniques: readonly (readonly string[])[]
  /** Names of the tables that this one's foreign keys refer to. */
  readonly references: readonly string[]
}

/** An unqualified name in an effect means `public`. */
export type Catalog = { readonly tables: readonly Table[] }

const kinds: Readonly<Record<string, Column['kind']>> = {
  bool: 'boolean',
  int2: 'integer',
  int4: 'integer',
  int8: 'integer',
  oid: 'integer',
  float4: 'float',
  float8: 'float',
  numeric: 'numeric',
  text: 'text',
  varchar: 'text',
  bpchar: 'text',
  name: 'text',
  citext: 'text',
  json: 'json',
  jsonb: 'json',
  bytea: 'bytea',
  timestamptz: 'timestamp',
  timestamp: 'timestamp',
  date: 'timestamp',
  uuid: 'uuid',
}

/** The kind of a type by its `typname`. `_text`, an array, has none of its own here: it is told by the category. */
export function kindOfType(type: string): Column['kind'] {
  return kinds[type] ?? 'other'
}

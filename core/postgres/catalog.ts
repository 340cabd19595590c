import { type Catalog, type Column, kindOfType, type Table } from '../catalog.ts'
import type { Ask } from './control.ts'

/**
 * The tables that effects may touch: ordinary and partitioned tables of all schemas but PostgreSQL's and tenantry's own,
 * that this role may insert into. Names with a dot are left out, as the driver would take it for a schema's.
 */
export async function readCatalog(sql: Ask): Promise<Catalog> {
  const [columns, uniques, references] = await Promise.all([readColumns(sql), readUniques(sql), readReferences(sql)])
  const tables = new Map<string, { name: string; columns: Column[]; uniques: string[][]; references: string[] }>()
  for (const { table_name, ...column } of columns) {
    const table = tables.get(table_name) ?? { name: table_name, columns: [], uniques: [], references: [] }
    tables.set(table_name, table)
    table.columns.push({
      name: column.column_name,
      type: column.type_name,
      typeSchema: column.type_schema,
      base: column.base_type,
      kind: kindOf(column.base_type, column.category),
      nullable: column.nullable,
      generated: column.generated,
    })
  }
  for (const { table_name, columns: names } of uniques) tables.get(table_name)?.uniques.push(names)
  for (const { table_name, referred } of references) tables.get(table_name)?.references.push(referred)
  return { tables: [...tables.values()].map((table): Table => table) }
}

type ColumnRow = {
  table_name: string
  column_name: string
  type_name: string
  type_schema: string
  base_type: string
  category: string
  nullable: boolean
  generated: boolean
}

function readColumns(sql: Ask): Promise<ColumnRow[]> {
  return sql<ColumnRow[]>`
    select spaces.nspname || '.' || tables.relname as table_name,
      columns.attname as column_name,
      types.typname as type_name,
      type_spaces.nspname as type_schema,
      base.typname as base_type,
      base.typcategory::text as category,
      not columns.attnotnull as nullable,
      columns.attgenerated <> '' or columns.attidentity = 'a' as generated
    from pg_class as tables
    join pg_namespace as spaces on spaces.oid = tables.relnamespace
    join pg_attribute as columns on columns.attrelid = tables.oid and columns.attnum > 0 and not columns.attisdropped
    join pg_type as types on types.oid = columns.atttypid
    join pg_namespace as type_spaces on type_spaces.oid = types.typnamespace
    join pg_type as base on base.oid = pg_basetype(types.oid)
    where tables.relkind in ('r', 'p')
      and not tables.relispartition
      and spaces.nspname not in ('pg_catalog', 'information_schema', 'sys')
      and spaces.nspname not like 'pg\\_%'
      and position('.' in spaces.nspname || tables.relname || columns.attname) = 0
      and has_schema_privilege(spaces.oid, 'usage')
      and has_any_column_privilege(tables.oid, 'insert')
    order by table_name, columns.attnum`
}

function readUniques(sql: Ask): Promise<{ table_name: string; columns: string[] }[]> {
  return sql<{ table_name: string; columns: string[] }[]>`
    select spaces.nspname || '.' || tables.relname as table_name,
      to_json(array(
        select columns.attname from unnest(indexes.indkey::smallint[]) with ordinality as keys (number, place)
        join pg_attribute as columns on columns.attrelid = tables.oid and columns.attnum = keys.number
        order by keys.place
      )) as columns
    from pg_index as indexes
    join pg_class as tables on tables.oid = indexes.indrelid
    join pg_namespace as spaces on spaces.oid = tables.relnamespace
    where indexes.indisunique and indexes.indimmediate and indexes.indisvalid
      and indexes.indpred is null and indexes.indexprs is null
      and indexes.indnkeyatts = indexes.indnatts
    order by indexes.indexrelid`
}

function readReferences(sql: Ask): Promise<{ table_name: string; referred: string }[]> {
  return sql<{ table_name: string; referred: string }[]>`
    select spaces.nspname || '.' || tables.relname as table_name, other_spaces.nspname || '.' || others.relname as referred
    from pg_constraint as keys
    join pg_class as tables on tables.oid = keys.conrelid
    join pg_namespace as spaces on spaces.oid = tables.relnamespace
    join pg_class as others on others.oid = keys.confrelid
    join pg_namespace as other_spaces on other_spaces.oid = others.relnamespace
    where keys.contype = 'f'
    order by keys.oid`
}

function kindOf(type: string, category: string): Column['kind'] {
  return category === 'A' ? 'array' : kindOfType(type)
}

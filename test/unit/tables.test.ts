import fc from 'fast-check'
import * as assert from 'uvu/assert'
import { Tables } from '../../actors/tables.ts'
import type { Catalog, Column } from '../../core/catalog.ts'
import { TenantryError } from '../../core/errors.ts'
import { test } from '../harness.ts'

const column = (name: string, kind: Column['kind'] = 'text', generated = false): Column => ({
  name,
  type: kind === 'integer' ? 'int4' : 'text',
  typeSchema: 'pg_catalog',
  base: kind === 'integer' ? 'int4' : 'text',
  kind,
  nullable: true,
  generated,
})

const catalog: Catalog = {
  tables: [
    {
      name: 'public.campaigns',
      columns: [column('id'), column('tenant_id'), column('budget', 'integer'), column('sum', 'integer', true)],
      uniques: [['tenant_id', 'id'], ['id']],
      references: [],
    },
    {
      name: 'audit.events',
      columns: [column('a'), column('b'), column('c'), column('d'), column('e'), column('f'), column('g')],
      uniques: [],
      references: [],
    },
  ],
}

const rules = { tenantColumn: 'tenant_id', maxDepth: 64 }
const tables = new Tables(catalog, rules)
const write = (table: string, row: Record<string, unknown>, conflict?: readonly string[]) =>
  tables.get(table).write(row, 'acme', conflict)

function codeOf(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    if (error instanceof TenantryError) return `${error.code} ${error.message}`
    throw error
  }
  return 'accepted'
}

test('a row gets its tenant when it leaves the column out, in the table’s order', () => {
  const { shape, values } = write('campaigns', { budget: 5, id: 'c-1' })
  assert.equal(shape.columns, ['id', 'tenant_id', 'budget'])
  assert.equal(values, ['c-1', 'acme', '5'])
  assert.is(shape.table, 'public.campaigns')
})

test('a row may name its own tenant and no other', () => {
  assert.equal(write('public.campaigns', { tenant_id: 'acme', id: 'x' }).values, ['x', 'acme'])
  assert.match(
    codeOf(() => write('campaigns', { tenant_id: 'other', id: 'x' })),
    'TENANTRY_OTHER_TENANT',
  )
  assert.match(
    codeOf(() => write('campaigns', { tenant_id: null, id: 'x' })),
    'TENANTRY_OTHER_TENANT',
  )
})

test('rows with the same columns have one shape, whatever the order of their keys', () => {
  const letters = ['a', 'b', 'c', 'd', 'e', 'f', 'g']
  fc.assert(
    fc.property(fc.shuffledSubarray(letters, { minLength: 7, maxLength: 7 }), (order) => {
      const { shape, values } = write('audit.events', Object.fromEntries(order.map((name) => [name, name])))
      assert.equal(shape.columns, letters)
      assert.equal(values, letters)
    }),
  )
  assert.is(write('campaigns', { id: 'x', budget: 1 }).shape, write('campaigns', { id: 'y', budget: 2 }).shape)
})

test('more orders of keys than are remembered still give right rows', () => {
  const many = new Tables(catalog, { tenantColumn: 'tenant_id', maxDepth: 64 })
  const permute = (rest: readonly string[]): string[][] =>
    rest.length === 0
      ? [[]]
      : rest.flatMap((name) => permute(rest.filter((other) => other !== name)).map((tail) => [name, ...tail]))
  for (const order of permute(['a', 'b', 'c', 'd', 'e', 'f', 'g'])) {
    assert.equal(
      many.get('audit.events').write(Object.fromEntries(order.map((name) => [name, name])), 'acme', undefined).values,
      ['a', 'b', 'c', 'd', 'e', 'f', 'g'],
    )
  }
})

test('a wrong table or column is named with the nearest right one', () => {
  assert.match(
    codeOf(() => write('campaings', { id: 'x' })),
    /TENANTRY_UNKNOWN_TABLE .*did you mean (public\.)?campaigns/,
  )
  assert.match(
    codeOf(() => write('campaigns', { bugdet: 5 })),
    /TENANTRY_UNKNOWN_COLUMN .*public\.campaigns\.bugdet \(did you mean budget\?\)/,
  )
  assert.match(
    codeOf(() => write('campaigns', { 'id"; drop table campaigns; --': 5 })),
    /TENANTRY_UNKNOWN_COLUMN/,
  )
  assert.match(
    codeOf(() => write('campaigns', { sum: 5 })),
    /public\.campaigns\.sum is generated/,
  )
  assert.match(
    codeOf(() => write('audit.events', {})),
    /no columns/,
  )
  for (const name of ['toString', 'constructor', '__proto__']) {
    assert.match(
      codeOf(() => write(name, { id: 'x' })),
      'TENANTRY_UNKNOWN_TABLE',
    )
    assert.match(
      codeOf(() => write('campaigns', Object.fromEntries([[name, 1]]))),
      'TENANTRY_UNKNOWN_COLUMN',
    )
  }
})

test('columns whose names hold what stands between names are others', () => {
  const columns = ['a', 'b', 'a,b'].map((name) => column(name))
  const uniques = [['a', 'b'], ['a,b']]
  const odd = new Tables({ tables: [{ name: 'public.odd', columns, uniques, references: [] }] }, rules)
  const shapeOf = (names: readonly string[], conflict?: readonly string[]) =>
    odd.get('odd').write(Object.fromEntries(names.map((name) => [name, 'x'])), 'acme', conflict).shape
  const shapes = [
    shapeOf(['a', 'b']),
    shapeOf(['a,b']),
    shapeOf(['a', 'b', 'a,b'], ['a', 'b']),
    shapeOf(['a', 'b', 'a,b'], ['a,b']),
  ]
  assert.is(new Set(shapes.map(({ key }) => key)).size, shapes.length)
  assert.equal(
    shapes.map(({ conflict }) => conflict),
    [undefined, undefined, ['a', 'b'], ['a,b']],
  )
})

test('an upsert names a unique constraint that its row fills and that holds the tenant', () => {
  const { shape } = write('campaigns', { id: 'x', budget: 1 }, ['id', 'tenant_id'])
  assert.equal(shape.conflict, ['tenant_id', 'id'])
  assert.is.not(shape.key, write('campaigns', { id: 'x', budget: 1 }).shape.key)
  assert.match(
    codeOf(() => write('campaigns', { id: 'x' }, ['budget'])),
    /no unique constraint on \(budget\); conflict can be \(tenant_id, id\) or \(id\)/,
  )
  assert.match(
    codeOf(() => write('campaigns', { budget: 1 }, ['tenant_id', 'id'])),
    /lacks id/,
  )
  assert.match(
    codeOf(() => write('campaigns', { id: 'x' }, ['id'])),
    /another tenant's row/,
  )
  assert.match(
    codeOf(() => write('audit.events', { a: 'x' }, ['a'])),
    /it has none at all/,
  )
})

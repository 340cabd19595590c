import type { Effect, Shape, SqlEffect, SqlText } from '../effects.ts'
import type { Catalog } from '../catalog.ts'
import { plainArray, textArray } from './array-text.ts'
import type { Run } from './runs.ts'
import type { Outcome } from './transactions.ts'

/** One statement of a commit: many rows of one shape, as an array a column, or one statement of an actor's own. */
export type EffectStatement =
  | { readonly kind: 'rows'; readonly shape: Shape; readonly arrays: readonly string[] }
  | { readonly kind: 'sql'; readonly tenant: string; readonly effect: SqlEffect }

type Slot =
  | { readonly shape: Shape; rows: (readonly SqlText[])[] }
  | { readonly shape: null; readonly tenant: string; readonly effect: SqlEffect }

/**
 * Groups a commit's effects into as few statements as keep what each tenant sees: a tenant's effects stand in program
 * order wherever two touch the same table, are joined by a foreign key, or one is raw SQL.
 *
 * Statements are slots in a row. A row may join the earliest slot of its shape that no conflicting effect of its tenant
 * follows; else it opens a new one at the end. With one shape, or shapes of unrelated tables, that is one slot a shape.
 */
export class EffectGrouping {
  /** Tables that a table's rows must not be reordered with: itself, and those its foreign keys join it to. */
  readonly #related: ReadonlyMap<string, ReadonlySet<string>>

  constructor(catalog: Catalog) {
    const related = new Map<string, Set<string>>()
    const join = (a: string, b: string) => {
      const set = related.get(a)
      if (set) set.add(b)
      else related.set(a, new Set([b]))
    }
    for (const table of catalog.tables) {
      join(table.name, table.name)
      for (const other of table.references) {
        join(table.name, other)
        join(other, table.name)
      }
    }
    this.#related = related
  }

  /** `split` sends every row of an upsert alone: after a 21000, when two spellings of a key are one row. */
  group(outcomes: readonly Outcome[], split = false): EffectStatement[] {
    const slots: Slot[] = []
    const byShape = new Map<string, number[]>()
    const ordered = split || !this.#independent(outcomes)
    const lastOf = new Map<string, Map<string, number>>()
    let common: Slot | undefined
    // By index here and below: this runs for every message, and iterators are garbage.
    for (let i = 0; i < outcomes.length; i++) {
      const outcome = outcomes[i]
      if (outcome === undefined || outcome.result.kind !== 'done') continue
      const { tenant } = outcome
      const { effects } = outcome.result
      for (let j = 0; j < effects.length; j++) {
        const effect = effects[j]
        if (effect === undefined || effect.kind === 'publish') continue
        if (!ordered && effect.kind === 'row' && effect.shape === common?.shape) {
          common.rows.push(effect.values)
          continue
        }
        const after = ordered ? this.#after(lastOf, tenant, effect) : 0
        const place =
          effect.kind === 'sql'
            ? slots.push({ shape: null, tenant, effect }) - 1
            : this.#place(slots, byShape, effect.shape, effect.values, after, split)
        if (!ordered) {
          common = slots[place]
          continue
        }
        const table = effect.kind === 'sql' ? rawSql : effect.shape.table
        const last = lastOf.get(tenant)
        if (last) last.set(table, Math.max(last.get(table) ?? 0, place))
        else lastOf.set(tenant, new Map([[table, place]]))
      }
    }
    return slots.map((slot) =>
      slot.shape === null
        ? { kind: 'sql', tenant: slot.tenant, effect: slot.effect }
        : { kind: 'rows', shape: slot.shape, arrays: arraysOf(slot.shape, folded(slot.shape, slot.rows)) },
    )
  }

  /** The same from whole stretches of workers' frames, which no value is looked at for; undefined where order matters. */
  join(runs: readonly Run[]): EffectStatement[] | undefined {
    const parts = new Map<string, { readonly shape: Shape; readonly columns: readonly string[][] }>()
    for (const { columns, from, to } of runs) {
      for (const { shape, columns: texts } of columns.rows(from, to)) {
        let joined = parts.get(shape.key)
        if (joined === undefined) {
          joined = { shape, columns: texts.map(() => []) }
          parts.set(shape.key, joined)
        }
        for (let i = 0; i < texts.length; i++) joined.columns[i]?.push(texts[i] ?? '')
      }
    }
    const joined = [...parts.values()]
    if (!this.#unrelated(joined.map(({ shape }) => shape))) return undefined
    return joined.map(({ shape, columns }) => ({
      kind: 'rows',
      shape,
      arrays: columns.map((texts) => plainArray(texts)),
    }))
  }

  /** Whether no two shapes of the commit are related, and nothing is raw: then order among tables cannot be seen. */
  #independent(outcomes: readonly Outcome[]): boolean {
    const shapes = new Map<string, Shape>()
    let last: Shape | undefined
    for (let i = 0; i < outcomes.length; i++) {
      const result = outcomes[i]?.result
      if (result?.kind !== 'done') continue
      for (let j = 0; j < result.effects.length; j++) {
        const effect = result.effects[j]
        if (effect?.kind === 'sql') return false
        if (effect?.kind !== 'row' || effect.shape === last) continue
        last = effect.shape
        shapes.set(effect.shape.key, effect.shape)
      }
    }
    return this.#unrelated([...shapes.values()])
  }

  #unrelated(shapes: readonly Shape[]): boolean {
    return shapes.every(({ table }, i) => shapes.every((other, j) => i === j || !this.#relates(table, other.table)))
  }

  #relates(table: string, other: string): boolean {
    return table === other || (this.#related.get(table)?.has(other) ?? false)
  }

  /** The earliest slot that this tenant's next effect may stand in. */
  #after(
    lastOf: ReadonlyMap<string, ReadonlyMap<string, number>>,
    tenant: string,
    effect: Exclude<Effect, { kind: 'publish' }>,
  ): number {
    let after = 0
    for (const [table, place] of lastOf.get(tenant) ?? []) {
      const conflicts = effect.kind === 'sql' || table === rawSql || this.#relates(table, effect.shape.table)
      if (conflicts) after = Math.max(after, place)
    }
    return after
  }

  #place(
    slots: Slot[],
    byShape: Map<string, number[]>,
    shape: Shape,
    values: readonly SqlText[],
    after: number,
    split: boolean,
  ): number {
    let places = byShape.get(shape.key)
    if (places === undefined) {
      places = []
      byShape.set(shape.key, places)
    }
    const alone = split && shape.conflict !== undefined
    const found = alone ? undefined : places.find((place) => place >= after)
    if (found !== undefined) {
      const slot = slots[found]
      if (slot !== undefined && slot.shape !== null) slot.rows.push(values)
      return found
    }
    const place = slots.push({ shape, rows: [values] }) - 1
    places.push(place)
    return place
  }
}

/** Stands for all tables: raw SQL may touch any. */
const rawSql = ''

function arraysOf({ columns }: Shape, rows: readonly (readonly SqlText[])[]): readonly string[] {
  return columns.map((_, i) => textArray(rows.map((row): SqlText => row[i] ?? null)))
}

/**
 * Two rows with one key in an upsert are refused (21000): the last one wins. Sorted, so that two lanes cannot deadlock.
 * A null is nobody's key (where an index says otherwise, 21000 splits the statement): such rows all stay, in their order.
 */
function folded(shape: Shape, rows: readonly (readonly SqlText[])[]): readonly (readonly SqlText[])[] {
  const { conflict } = shape
  if (conflict === undefined) return rows
  const places = conflict.map((column) => shape.columns.indexOf(column))
  const last = new Map<string, readonly SqlText[]>()
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i]
    if (row === undefined) continue
    const key = places.map((place) => row[place] ?? null)
    const text = JSON.stringify(key)
    last.set(key.includes(null) ? `${text}${String(i).padStart(9, '0')}` : text, row)
  }
  return [...last].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)).map(([, row]) => row)
}

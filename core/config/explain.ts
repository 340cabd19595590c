import { stringify } from 'yaml'
import { TenantryError } from '../errors.ts'
import type { Loaded } from './load.ts'
import { pathOf } from './key-path.ts'
import { shown, shownTree } from './secrets.ts'
import type { Config } from './schema.ts'
import { type Plain, rootShape, type Shape, shapeAt, type Value } from './shape.ts'
import { keyName, type Origin } from './tree.ts'

/** A key, its value and where that came from. Secrets are masked. */
export type Explanation = {
  readonly key: string
  /** As it was written; null where it is not set and has no default. */
  readonly value: Plain
  readonly origin: Origin | null
  /** The schema's default; null for none. */
  readonly default: Plain
  readonly type: string
  readonly doc: string
  /** What the value came to, where that is not what was written: `auto`. */
  readonly effective?: Plain
}

/**
 * Explains a key, or every key of a section. Throws TENANTRY_CONFIG_UNKNOWN_KEY, with the nearest known one.
 */
export function explain({ config, tree }: Loaded, key: string): readonly Explanation[] {
  const found = pathOf(key, (path) => tree.keys(path))
  if (!('path' in found))
    throw new TenantryError(
      'TENANTRY_CONFIG_UNKNOWN_KEY',
      `${found.problem} (\`tenantry config print\` shows all keys)`,
      { key },
    )
  const { path } = found
  const shape = shapeAt(path)
  if (shape === undefined) return []
  return [...leaves(path, shape, (below) => tree.keys(below))].map(({ path: leaf, shape: value }) => {
    const written = tree.get(leaf)
    const effective = written === 'auto' ? autoValues(config)[keyName(leaf)] : undefined
    return {
      key: keyName(leaf),
      value: written === undefined ? null : shownTree(written, leaf),
      origin: written === undefined ? null : (tree.origin(leaf) ?? null),
      default: value.default === undefined ? null : shown(leaf, value.default),
      type: typeName(value),
      doc: value.doc,
      ...(effective !== undefined && { effective }),
    }
  })
}

/** What `auto` came to. */
function autoValues({ workers, commit, backpressure }: Config): Readonly<Record<string, number>> {
  return {
    'workers.count': workers.count,
    'workers.maxResidentBytes': workers.maxResidentBytes,
    'commit.lanes': commit.lanes,
    'backpressure.budgetRecords': backpressure.budgetRecords,
    'backpressure.mailboxRecords': backpressure.mailboxRecords,
  }
}

function* leaves(
  path: readonly string[],
  shape: Shape,
  names: (path: readonly string[]) => readonly string[],
): Generator<{ path: readonly string[]; shape: Value }> {
  if (shape.kind === 'value') yield { path, shape }
  else if (shape.kind === 'map') for (const name of names(path)) yield* leaves([...path, name], shape.each, names)
  else for (const [key, entry] of shape.entries) yield* leaves([...path, key], entry, names)
}

/** `duration`, `size`, `true or false`, `one of a, b`. */
export function typeName({ unit, choices, time, types, minimum, maximum }: Value): string {
  if (unit !== undefined) return choices.length > 0 ? `${unit}, or ${choices.join(', ')}` : unit
  if (types.has('array')) return 'list'
  if (types.has('boolean') && types.has('string')) return 'text, number, or true or false'
  if (types.has('boolean')) return 'true or false'
  if (types.has('integer') || types.has('number')) {
    const range = minimum !== undefined && maximum !== undefined ? ` from ${minimum} to ${maximum}` : ''
    const number = `${types.has('integer') ? 'whole number' : 'number'}${range}`
    return choices.length > 0 ? `${choices.join(', ')}, or a ${number}` : number
  }
  if (time) return `one of ${choices.join(', ')}, or a time`
  return choices.length > 0 ? `one of ${choices.join(', ')}` : 'text'
}

/** The whole configuration as YAML that could be used as a file: with secrets masked, and each value's origin beside it. */
export function printed({ tree }: Loaded): string {
  const lines: string[] = []
  write(rootShape(), [], 0)
  return `${lines.join('\n')}\n`

  function write(shape: Shape, path: readonly string[], depth: number): void {
    const names = shape.kind === 'section' ? [...shape.entries.keys()] : tree.keys(path)
    for (const name of names) {
      const below = [...path, name]
      const value = tree.get(below)
      const next = shape.kind === 'section' ? shape.entries.get(name) : shape.kind === 'map' ? shape.each : undefined
      if (value === undefined || next === undefined) continue
      const indent = '  '.repeat(depth)
      const key = stringify(name).trim()
      if (next.kind === 'value') {
        const origin = tree.origin(below)
        const from = origin === undefined || origin.kind === 'default' ? '' : ` # ${origin.where}`
        lines.push(`${indent}${key}: ${inline(shownTree(value, below))}${from}`)
      } else if (tree.keys(below).length === 0) lines.push(`${indent}${key}: {}`)
      else {
        lines.push(`${indent}${key}:`)
        write(next, below, depth + 1)
      }
    }
  }
}

/** One line of YAML: JSON is YAML, and plain words need no quotes. */
function inline(value: Plain): string {
  if (
    typeof value === 'string' &&
    /^[A-Za-z][A-Za-z0-9 ._/-]*$/.test(value) &&
    !/^(true|false|null|yes|no|on|off|y|n)$/i.test(value)
  )
    return value
  return JSON.stringify(value)
}

import { nearestName } from '../nearest-name.ts'
import { rootShape, type Shape, valueKeys } from './shape.ts'
import { keyName } from './tree.ts'

/** Names that exist below a map (topics, groups, a driver's keys). */
export type Names = (path: readonly string[]) => readonly string[]

/**
 * The parts of a key as people write it. Names may hold dots (`topics.core.commands.v1.partitions`), so those that exist
 * come first, longest first.
 */
export function pathOf(key: string, names: Names): { readonly path: readonly string[] } | { readonly problem: string } {
  let shape: Shape = rootShape()
  const path: string[] = []
  let rest = key.split('.')
  while (rest.length > 0) {
    if (shape.kind === 'value') return { problem: `${keyName(path)} has no keys below it` }
    const taken: number = shape.kind === 'section' ? 1 : nameLength(rest, shape.each, names(path), shape.driver)
    const name = rest.slice(0, taken).join('.')
    const next: Shape | undefined = shape.kind === 'section' ? shape.entries.get(name) : shape.each
    if (next === undefined) return { problem: unknown(key, path, shape) }
    path.push(name)
    shape = next
    rest = rest.slice(taken)
  }
  return { path }
}

function nameLength(rest: readonly string[], each: Shape, names: readonly string[], isDriver: boolean): number {
  for (let length = rest.length; length > 0; length--)
    if (names.includes(rest.slice(0, length).join('.'))) return length
  if (isDriver || each.kind !== 'section') return rest.length
  const below = rest.findLastIndex((part, index) => index > 0 && each.entries.has(part))
  return below === -1 ? rest.length : below
}

function unknown(key: string, path: readonly string[], shape: Shape): string {
  const all = [...valueKeys()].map(({ path: candidate }) => keyName(candidate))
  const siblings = shape.kind === 'section' ? [...shape.entries.keys()].map((name) => keyName([...path, name])) : []
  const last = key.split('.').at(-1)
  const near = nearestName(key, [...siblings, ...all]) ?? all.find((candidate) => candidate.split('.').at(-1) === last)
  return near === undefined ? `unknown key ${key}` : `unknown key ${key}: did you mean ${near}?`
}

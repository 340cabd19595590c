import { type Plain, rootShape, type Shape } from './shape.ts'
import { type Origin, type Tree } from './tree.ts'

const byDefault: Origin = { kind: 'default', where: 'default' }

/** Names that are there without being given: the four standard topics. Laid down first, so that everything may change them. */
export function nameDefaults(tree: Tree): void {
  for (const [key, shape] of rootShape().entries) if (shape.kind === 'map') lay(tree, [key], shape.default)
}

function lay(tree: Tree, path: readonly string[], value: Plain): void {
  if (typeof value === 'object' && value !== null && !isList(value))
    for (const [key, item] of Object.entries(value)) lay(tree, [...path, key], item)
  else tree.set({ path, value, origin: byDefault })
}

function isList(value: Plain): value is readonly Plain[] {
  return Array.isArray(value)
}

/** The schema's default for every key that nothing has set. */
export function fillDefaults(tree: Tree): void {
  fill(tree, [], rootShape())
}

function fill(tree: Tree, path: readonly string[], shape: Shape): void {
  if (shape.kind === 'value') {
    if (shape.default !== undefined && !tree.has(path)) tree.set({ path, value: shape.default, origin: byDefault })
    return
  }
  if (shape.kind === 'map') {
    if (path.length > 0) tree.touch(path, byDefault)
    for (const name of tree.keys(path)) fill(tree, [...path, name], shape.each)
    return
  }
  if (shape.optional && path.length > 0 && !tree.has(path)) return
  for (const [key, entry] of shape.entries) fill(tree, [...path, key], entry)
}

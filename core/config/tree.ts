import type { Plain } from './shape.ts'

/** Where a value came from. `where` is a position in the file, a variable's name, a flag, or `default`. */
export type Origin = { readonly kind: 'default' | 'file' | 'environment' | 'flag'; readonly where: string }

/** A value for a key, and where it was found. */
export type Assignment = { readonly path: readonly string[]; readonly value: Plain; readonly origin: Origin }

/** Keys as people write them: `http.port`, `topics.core.commands.v1.partitions`. */
export function keyName(path: readonly string[]): string {
  return path.join('.')
}

type Node = Map<string, Node | Plain>

/** Assignments laid over one another: the last one of a key counts, and each key remembers where it came from. */
export class Tree {
  readonly #root: Node = new Map()
  readonly #origins = new Map<string, Origin>()

  set({ path, value, origin }: Assignment): void {
    const last = path.at(-1)
    if (last === undefined) return
    this.#ensure(path.slice(0, -1)).set(last, value)
    this.#origins.set(JSON.stringify(path), origin)
  }

  /** The section or map at `path` is there, though perhaps empty. */
  touch(path: readonly string[], origin: Origin): void {
    if (this.has(path)) return
    this.#ensure(path)
    this.#origins.set(JSON.stringify(path), origin)
  }

  has(path: readonly string[]): boolean {
    return this.get(path) !== undefined
  }

  get(path: readonly string[]): Plain | undefined {
    const last = path.at(-1)
    if (last === undefined) return toPlain(this.#root)
    const found = this.#nodeAt(path.slice(0, -1))?.get(last)
    return found instanceof Map ? toPlain(found) : found
  }

  /** Names of the keys below `path`. */
  keys(path: readonly string[]): readonly string[] {
    return [...(this.#nodeAt(path)?.keys() ?? [])]
  }

  /** Where the value of a key came from, or the nearest key above it that is known; undefined for none. */
  origin(path: readonly string[]): Origin | undefined {
    for (let length = path.length; length > 0; length--) {
      const origin = this.#origins.get(JSON.stringify(path.slice(0, length)))
      if (origin) return origin
    }
    return undefined
  }

  #ensure(path: readonly string[]): Node {
    let node = this.#root
    for (const part of path) {
      const next = node.get(part)
      if (next instanceof Map) {
        node = next
        continue
      }
      const made: Node = new Map()
      node.set(part, made)
      node = made
    }
    return node
  }

  #nodeAt(path: readonly string[]): Node | undefined {
    let node = this.#root
    for (const part of path) {
      const next = node.get(part)
      if (!(next instanceof Map)) return undefined
      node = next
    }
    return node
  }
}

function toPlain(node: Node): Plain {
  return Object.fromEntries([...node].map(([key, value]) => [key, value instanceof Map ? toPlain(value) : value]))
}

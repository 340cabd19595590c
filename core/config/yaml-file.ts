import {
  type Alias,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  type YAMLMap,
} from 'yaml'
import { nearestName } from '../nearest-name.ts'
import type { Problem } from './problems.ts'
import { type Plain, plain, rootShape, type Shape, type Value, valueKeys } from './shape.ts'
import { type Assignment, keyName, type Origin } from './tree.ts'
import { interpolate, wordFor } from './words.ts'

/** What a file says, key by key, and what is wrong with it. Everything has its line and column. */
export type FileLayer = {
  readonly assignments: readonly Assignment[]
  /** Sections and named entries that are there, though perhaps empty. */
  readonly present: readonly { readonly path: readonly string[]; readonly origin: Origin }[]
  readonly problems: readonly Problem[]
}

/** More aliases than anybody writes by hand; ten of ten of ten would be a thousand million. */
const maxAliases = 100
const forbiddenKeys: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype'])

/** Reads YAML 1.2 (JSON is YAML, too). `name` is how the file is called in positions. */
export function readYaml(text: string, name: string, env: Readonly<Record<string, string | undefined>>): FileLayer {
  return new Reader(name, env).read(text)
}

class Reader {
  readonly #name: string
  readonly #env: Readonly<Record<string, string | undefined>>
  readonly #lines = new LineCounter()
  readonly #assignments: Assignment[] = []
  readonly #present: { path: readonly string[]; origin: Origin }[] = []
  readonly #problems: Problem[] = []
  #resolve: (alias: Alias) => Node | undefined = () => undefined
  #aliases = 0

  constructor(name: string, env: Readonly<Record<string, string | undefined>>) {
    this.#name = name
    this.#env = env
  }

  read(text: string): FileLayer {
    // No prettyErrors: they quote the source, which may hold a password.
    const document = parseDocument(text, {
      version: '1.2',
      lineCounter: this.#lines,
      prettyErrors: false,
      uniqueKeys: true,
      stringKeys: true,
      merge: false,
    })
    const syntax = document.errors.find(({ code }) => code !== 'DUPLICATE_KEY')
    // After a first error of syntax all others are its echo.
    for (const error of syntax ? [syntax] : [...document.errors, ...document.warnings]) {
      this.#problems.push({ where: this.#at(error.pos[0]), key: '', what: sentenceOf(error.code, error.message) })
    }
    if (document.errors.length === 0) {
      this.#resolve = (alias) => alias.resolve(document)
      const { contents } = document
      if (contents !== null) this.#walk(contents, rootShape(), [], { kind: 'file', where: this.#where(contents) })
    }
    return { assignments: this.#assignments, present: this.#present, problems: this.#problems }
  }

  #walk(node: unknown, shape: Shape, path: readonly string[], origin: Origin): void {
    if (isAlias(node)) {
      const target = ++this.#aliases > maxAliases ? undefined : this.#resolve(node)
      if (target) this.#walk(target, shape, path, origin)
      else
        this.#problem(
          node,
          path,
          this.#aliases > maxAliases
            ? `the file has more than ${maxAliases} aliases`
            : 'refers to an anchor that is not there',
        )
      return
    }
    if (shape.kind === 'value') return this.#value(node, shape, path, origin)
    if (node === null || (isScalar(node) && node.value === null)) {
      this.#present.push({ path, origin })
      return
    }
    if (!isMap(node)) return this.#problem(node, path, 'expected keys with values, one a line')
    this.#present.push({ path, origin })
    this.#entries(node, shape, path)
  }

  #entries(map: YAMLMap, shape: Exclude<Shape, Value>, path: readonly string[]): void {
    for (const { key, value } of map.items) {
      if (!isScalar(key) || typeof key.value !== 'string') {
        this.#problem(key, path, 'expected a name as the key')
        continue
      }
      const name = key.value
      const entry = shape.kind === 'map' ? shape.each : shape.entries.get(name)
      if (entry === undefined || forbiddenKeys.has(name))
        this.#problem(key, [...path, name], unknownKey(name, path, shape))
      else this.#walk(value, entry, [...path, name], { kind: 'file', where: this.#where(key) })
    }
  }

  #value(node: unknown, shape: Value, path: readonly string[], origin: Origin): void {
    if (isScalar(node)) {
      const { value, source } = node
      if (value === null) return this.#problem(node, path, 'has no value: remove the key, or give it one', origin)
      if (typeof value === 'bigint') return this.#problem(node, path, 'is too large a number')
      if (typeof value === 'number' && source !== undefined && /^[-+]?0\d/.test(source)) {
        return this.#problem(node, path, `starts with a zero: write ${value}, or put it in quotes`)
      }
      const text = typeof value === 'string' ? interpolate(value, this.#env) : undefined
      if (text) {
        for (const missing of text.missing) {
          this.#problem(
            node,
            path,
            `the environment variable ${missing} is not set: set it, or write \${${missing}:-value}`,
          )
        }
        this.#assignments.push({ path, value: wordFor(shape, text.text), origin })
        return
      }
      if (typeof value === 'string' && shape.types.has('array')) {
        this.#assignments.push({ path, value: wordFor(shape, value), origin })
        return
      }
      this.#assignments.push({ path, value: plain(value) ?? null, origin })
      return
    }
    if (isSeq(node)) {
      const items: Plain[] = []
      for (const item of node.items) {
        const found = isAlias(item) && ++this.#aliases <= maxAliases ? this.#resolve(item) : item
        const text =
          isScalar(found) && typeof found.value === 'string' ? interpolate(found.value, this.#env) : undefined
        for (const missing of text?.missing ?? [])
          this.#problem(found, path, `the environment variable ${missing} is not set`)
        if (isScalar(found)) items.push(text?.text ?? plain(found.value) ?? null)
        else this.#problem(found, path, 'expected a list of plain values')
      }
      this.#assignments.push({ path, value: items, origin })
      return
    }
    this.#problem(
      node,
      path,
      isMap(node) ? 'expected a value, not keys' : 'has no value: remove the key, or give it one',
      origin,
    )
  }

  #problem(node: unknown, path: readonly string[], what: string, origin?: Origin): void {
    const where = isNode(node) && node.range ? this.#where(node) : (origin?.where ?? this.#name)
    this.#problems.push({ where, key: keyName(path), what })
  }

  #where(node: Node): string {
    return node.range ? this.#at(node.range[0]) : this.#name
  }

  #at(offset: number): string {
    const { line, col } = this.#lines.linePos(offset)
    return `${this.#name}:${line}:${col}`
  }
}

function sentenceOf(code: string, message: string): string {
  if (code === 'DUPLICATE_KEY') return 'this key stands twice; which one counts would be chance: remove one'
  if (code === 'TAB_AS_INDENT') return 'a tab indents this line: YAML wants spaces'
  if (code === 'MULTIPLE_DOCS') return 'the file has several documents (---): keep one'
  return message.split('\n', 1)[0] ?? message
}

/** `unknown key "prot": did you mean port?` */
function unknownKey(name: string, path: readonly string[], shape: Shape): string {
  const siblings = shape.kind === 'section' ? [...shape.entries.keys()] : []
  const near = nearestName(name, siblings)
  if (near !== undefined) return `unknown key: did you mean ${keyName([...path, near])}?`
  const elsewhere = [...valueKeys()].find(({ path: candidate }) => candidate.at(-1) === name)
  if (elsewhere) return `unknown key here: did you mean ${keyName(elsewhere.path)}?`
  return siblings.length > 0
    ? `unknown key: ${path.length > 0 ? keyName(path) : 'the file'} has ${siblings.join(', ')}`
    : 'unknown key'
}

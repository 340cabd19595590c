import type { Effect, PublishEffect, RowEffect, Shape, SqlText } from '../core/effects.ts'
import { escaped } from '../core/postgres/array-text.ts'
import type { Decision, Done, Duplicate, Failed } from '../core/workers.ts'
import { at, type DecisionFrame, failureKinds, maxTold, tags } from './decision-frame.ts'
import { Words } from './wire.ts'

/** What the supervisor has been told by a thread: one for each thread's life, shared by its packers. */
export class Told {
  #newShapes: Shape[] = []
  #newNames: string[] = []
  #anew = false
  #shapes = new Map<string, number>()
  #shapeOf = new WeakMap<Shape, number>()
  #names = new Map<string, number>()

  /** What the next frame must tell. */
  take(): Pick<DecisionFrame, 'shapes' | 'names' | 'anew'> {
    const news = { shapes: this.#newShapes, names: this.#newNames, anew: this.#anew }
    this.#newShapes = []
    this.#newNames = []
    this.#anew = false
    return news
  }

  /** No packer has anything: shapes and names may be told anew. */
  rest(): void {
    if (this.#shapes.size <= maxTold && this.#names.size <= maxTold) return
    this.#shapes = new Map()
    this.#shapeOf = new WeakMap()
    this.#names = new Map()
    this.#anew = true
  }

  name(name: string): number {
    let id = this.#names.get(name)
    if (id === undefined) {
      id = this.#names.size
      this.#names.set(name, id)
      this.#newNames.push(name)
    }
    return id
  }

  shape(shape: Shape): number {
    return this.#shapeOf.get(shape) ?? this.#add(shape)
  }

  #add(shape: Shape): number {
    let id = this.#shapes.get(shape.key)
    if (id === undefined) {
      id = this.#shapes.size
      this.#shapes.set(shape.key, id)
      this.#newShapes.push(shape)
    }
    this.#shapeOf.set(shape, id)
    return id
  }
}

/** Packs the decisions of one thread for one lane. */
export class DecisionPacker {
  readonly #told: Told
  readonly #words = new Words(4_096)
  #text = ''
  #textLength = 0
  #bytes: Uint8Array[] = []
  #bytesLength = 0
  #keys: string[] = []
  #keyDay = -1
  #plain = true
  #count = 0
  #size = 0
  #done = 0
  #rows: ShapeRows[] = []
  #lastShape: Shape | undefined
  #lastRows: ShapeRows | undefined

  constructor(told: Told) {
    this.#told = told
  }

  /** Decisions packed since the last `take`. */
  get count(): number {
    return this.#count
  }

  /** What their effects and states take, about. */
  get size(): number {
    return this.#size
  }

  add({ mailbox, run, offset, outcome }: Decision): void {
    const words = this.#words
    const head = words.length
    const textFrom = this.#textLength
    const bytesFrom = this.#bytesLength
    this.#count++
    if (outcome.kind === 'done') this.#size += outcome.bytes
    words.push(tags[outcome.kind])
    words.pushLarge(mailbox)
    words.pushLarge(run)
    words.pushLarge(offset)
    words.push(outcome.kind === 'done' ? outcome.bytes : 0)
    words.push(outcome.kind === 'done' && outcome.publishes ? 1 : 0)
    words.push(outcome.kind === 'duplicate' ? 0 : (outcome.served ?? 0))
    words.push(0)
    words.push(0)
    words.push(0)
    if (outcome.kind === 'done') this.#addDone(outcome)
    else if (outcome.kind === 'failed') this.#addFailed(outcome)
    else this.#addDuplicate(outcome)
    words.set(head + at.words, words.length - head)
    words.set(head + at.text, this.#textLength - textFrom)
    words.set(head + at.bytes, this.#bytesLength - bytesFrom)
  }

  take(): DecisionFrame {
    const frame: DecisionFrame = {
      kind: 'decisions',
      words: this.#words.take(),
      text: this.#text,
      bytes: joined(this.#bytes, this.#bytesLength),
      keys: this.#keys.join(','),
      keyDay: this.#keys.length === this.#done ? this.#keyDay : -1,
      plain: this.#plain,
      done: this.#done,
      rows: this.#rows.map((rows) => rows.taken()),
      ...this.#told.take(),
    }
    this.#text = ''
    this.#textLength = 0
    this.#bytes = []
    this.#bytesLength = 0
    this.#keys = []
    this.#plain = true
    this.#count = 0
    this.#size = 0
    this.#done = 0
    this.#rows = []
    this.#lastShape = undefined
    this.#lastRows = undefined
    return frame
  }

  #addDone({ type, key, traceId, messageId, state, effects }: Done): void {
    const words = this.#words
    this.#done++
    // A type that was handled is one of the actor's own; a bad record's could be anything, and is not remembered.
    words.push(this.#told.name(type))
    if (key === null) {
      words.push(-1)
      words.push(-1)
    } else {
      if (this.#keys.length === 0) this.#keyDay = key.day
      else if (this.#keyDay !== key.day) this.#keyDay = -1
      words.push(key.day)
      words.push(this.#keys.push(key.uuid) - 1)
    }
    this.#string(traceId)
    // Most ids are UUIDs in canonical form: the key says it already.
    if (key?.uuid === messageId) words.push(-1)
    else this.#string(messageId)
    if (state === null) {
      words.push(-1)
      words.push(0)
    } else {
      words.push(state.version)
      this.#blob(Buffer.from(state.json))
    }
    words.push(effects.length)
    for (const effect of effects) this.#effect(effect)
  }

  #addFailed({ type, key, traceId, messageId, failure }: Failed): void {
    const words = this.#words
    this.#string(type)
    words.push(key === null ? -1 : key.day)
    this.#string(key?.uuid ?? '')
    this.#string(traceId)
    this.#string(messageId)
    words.push(failureKinds.indexOf(failure.kind))
    this.#string(failure.reason)
    this.#string(failure.errorClass)
    this.#string(failure.message)
    this.#string(failure.stack)
    this.#value(failure.sqlstate ?? null)
    this.#value(failure.dependency ?? null)
  }

  #addDuplicate({ type, traceId, messageId }: Duplicate): void {
    this.#string(type)
    this.#string(traceId)
    this.#string(messageId)
  }

  #effect(effect: Effect): void {
    switch (effect.kind) {
      case 'row':
        this.#row(effect)
        return
      case 'sql':
        this.#plain = false
        this.#words.push(tags.sql)
        this.#words.push(effect.text.length)
        this.#words.push(effect.values.length)
        for (const part of effect.text) this.#string(part)
        for (const value of effect.values) this.#value(value)
        return
      case 'publish':
        this.#publish(effect)
    }
  }

  #row({ shape, values }: RowEffect): void {
    // Most rows have the shape of the one before.
    if (shape !== this.#lastShape) {
      const id = this.#told.shape(shape)
      let rows = this.#rows.find((one) => one.id === id)
      if (rows === undefined) {
        rows = new ShapeRows(id, shape)
        this.#rows.push(rows)
        if (shape.conflict !== undefined) this.#plain = false
      }
      this.#lastShape = shape
      this.#lastRows = rows
    }
    const rows = this.#lastRows
    if (rows === undefined) return
    this.#words.push(tags.row)
    this.#words.push(rows.id)
    rows.add(values, this.#words)
  }

  #publish({ topic, messageId, key, value, headers }: PublishEffect): void {
    this.#words.push(tags.publish)
    this.#string(topic)
    this.#string(messageId)
    this.#blob(key)
    this.#blob(value)
    this.#words.push(headers.length)
    for (const [name, text] of headers) {
      this.#words.push(this.#told.name(name))
      this.#string(text)
    }
  }

  #string(text: string): void {
    this.#words.push(text.length)
    this.#textLength += text.length
    this.#text += text
  }

  #value(value: SqlText): void {
    if (value === null) this.#words.push(-1)
    else this.#string(value)
  }

  #blob(bytes: Uint8Array): void {
    this.#words.push(bytes.length)
    this.#bytesLength += bytes.length
    this.#bytes.push(bytes)
  }
}

/** The rows of one shape on their way out, column by column. */
class ShapeRows {
  readonly id: number
  readonly #bare: readonly boolean[]
  readonly #columns: SqlText[][]
  /** Whether a column holds a null. */
  readonly #nulls: boolean[]
  /** Where each column's next element begins. */
  readonly #ends: number[]

  constructor(id: number, { columns, bare }: Shape) {
    this.id = id
    this.#bare = bare
    this.#columns = columns.map(() => [])
    this.#nulls = columns.map(() => false)
    this.#ends = columns.map(() => 0)
  }

  /** Writes down for each value where its element begins and how long it is between its quotes; -1 for null. */
  add(values: readonly SqlText[], words: Words): void {
    for (let i = 0; i < values.length; i++) {
      const value = values[i] ?? null
      const from = this.#ends[i] ?? 0
      words.push(from)
      if (value === null) {
        words.push(-1)
        this.#nulls[i] = true
        this.#columns[i]?.push(null)
        this.#ends[i] = from + 5
      } else if (this.#bare[i] === true) {
        words.push(value.length)
        this.#columns[i]?.push(value)
        this.#ends[i] = from + value.length + 1
      } else {
        const inner = escaped(value)
        words.push(inner.length)
        this.#columns[i]?.push(inner)
        this.#ends[i] = from + inner.length + 3
      }
    }
  }

  taken(): DecisionFrame['rows'][number] {
    const columns = this.#columns.map((values, i) => {
      const quote = this.#bare[i] === true ? '' : '"'
      if (this.#nulls[i] === true)
        return values.map((value) => (value === null ? 'NULL' : `${quote}${value}${quote}`)).join(',')
      // Joined at once, nothing is allocated but the result.
      return `${quote}${values.join(`${quote},${quote}`)}${quote}`
    })
    return { shape: this.id, columns }
  }
}

function joined(parts: readonly Uint8Array[], length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

import type { DecisionColumns, Packed, ShapeColumns } from '../core/columns.ts'
import type { Effect, Failure, PublishEffect, RowEffect, Shape, SqlEffect, SqlText } from '../core/effects.ts'
import type { MessageKey } from '../core/message-key.ts'
import { unescaped } from '../core/postgres/array-text.ts'
import type { Decision, Done, Duplicate, Failed } from '../core/workers.ts'
import { at, type DecisionFrame, failureKinds, keyStride, maxTold, tags } from './decision-frame.ts'
import { WordReader } from './wire.ts'

const maxKnown = 4 * maxTold

/** Unpacks what one thread packs, from its first frame on. */
export class DecisionUnpacker {
  #shapes: Shape[] = []
  #names: string[] = []
  /** Shapes by key over all threads, so that equal ones are one object. */
  readonly #known: Map<string, Shape>

  constructor(known: Map<string, Shape>) {
    this.#known = known
  }

  unpack(frame: DecisionFrame): Decision[] {
    // Frames that came before go on with theirs.
    if (frame.anew) {
      this.#shapes = []
      this.#names = []
    }
    // Equal ones may be several objects then.
    if (this.#known.size > maxKnown) this.#known.clear()
    for (const shape of frame.shapes) {
      const known = this.#known.get(shape.key) ?? shape
      this.#known.set(shape.key, known)
      this.#shapes.push(known)
    }
    for (const name of frame.names) this.#names.push(name)
    return new Answer(frame, this.#shapes, this.#names).decisions()
  }
}

/** A frame that has arrived. It stays for as long as one of its decisions does. */
class Answer implements DecisionColumns {
  readonly frame: DecisionFrame
  readonly words: Int32Array
  readonly bytes: Buffer
  readonly #shapes: readonly Shape[]
  readonly #names: readonly string[]

  constructor(frame: DecisionFrame, shapes: readonly Shape[], names: readonly string[]) {
    this.frame = frame
    this.words = frame.words
    this.bytes = Buffer.from(frame.bytes.buffer, frame.bytes.byteOffset, frame.bytes.byteLength)
    this.#shapes = shapes
    this.#names = names
  }

  get count(): number {
    return this.frame.done
  }

  get plain(): boolean {
    return this.frame.plain
  }

  get keyDay(): number {
    return this.frame.keyDay
  }

  decisions(): Decision[] {
    const { words } = this
    const reader = new WordReader(words)
    const decisions: Decision[] = []
    let text = 0
    let bytes = 0
    let done = 0
    while (!reader.done) {
      const head = reader.at
      const tag = reader.next()
      const mailbox = reader.nextLarge()
      const run = reader.nextLarge()
      const offset = reader.nextLarge()
      const outcome =
        tag === tags.done
          ? new PackedDone(this, done++, head, text, bytes)
          : tag === tags.failed
            ? failedAt(this, head, text)
            : duplicateAt(this, head, text)
      decisions.push({ mailbox, run, offset, outcome })
      reader.at = head + this.word(head + at.words)
      text += this.word(head + at.text)
      bytes += this.word(head + at.bytes)
    }
    return decisions
  }

  keys(from: number, to: number): string {
    const { keys } = this.frame
    return from === 0 && to === this.count ? keys : keys.substring(from * keyStride, to * keyStride - 1)
  }

  rows(from: number, to: number): readonly ShapeColumns[] {
    const { rows } = this.frame
    if (from === 0 && to === this.count)
      return rows.map(({ shape, columns }) => ({ shape: this.shape(shape), columns }))
    const edges = this.#edges(from, to)
    return rows.flatMap(({ shape: id, columns }) => {
      const edge = edges.get(id)
      if (edge === undefined) return []
      const shape = this.shape(id)
      const cut = columns.map((column, i) =>
        column.substring(this.word(edge.first + 2 * i), this.#endOf(edge.last + 2 * i, shape.bare[i] === true)),
      )
      return [{ shape, columns: cut }]
    })
  }

  word(index: number): number {
    return this.words[index] ?? 0
  }

  name(index: number): string {
    return this.#names[index] ?? ''
  }

  shape(id: number): Shape {
    const shape = this.#shapes[id]
    if (shape === undefined) throw new TypeError('a frame names a shape that it never gave')
    return shape
  }

  /** The value whose two words are at `index`, out of its column. */
  value(index: number, column: string, bare: boolean): SqlText {
    const from = this.word(index)
    const length = this.word(index + 1)
    if (length < 0) return null
    if (bare) return column.substring(from, from + length)
    return unescaped(column.substring(from + 1, from + 1 + length))
  }

  #endOf(index: number, bare: boolean): number {
    const length = this.word(index + 1)
    return this.word(index) + (length < 0 ? 'NULL'.length : bare ? length : length + 2)
  }

  /** For each shape where the words of its first row and of its last are, among the done decisions [from, to). */
  #edges(from: number, to: number): Map<number, { readonly first: number; last: number }> {
    const edges = new Map<number, { readonly first: number; last: number }>()
    let place = 0
    for (let head = 0; place < to && head < this.words.length; head += this.word(head + at.words)) {
      if (this.word(head + at.tag) !== tags.done || place++ < from) continue
      const reader = new WordReader(this.words, head + at.effects)
      for (let count = this.word(head + at.effectCount); count > 0; count--) {
        if (reader.next() === tags.row) {
          const id = reader.next()
          const edge = edges.get(id)
          if (edge === undefined) edges.set(id, { first: reader.at, last: reader.at })
          else edge.last = reader.at
          reader.at += 2 * this.shape(id).columns.length
        } else {
          // Topic, id, key and value; then each header's name and length.
          reader.at += 4
          const headers = reader.next()
          reader.at += 2 * headers
        }
      }
    }
    return edges
  }
}

/** A done decision, decoded only where somebody looks: a commit takes most of them as columns. */
class PackedDone implements Done, Packed {
  readonly kind = 'done'
  readonly columns: Answer
  readonly place: number
  readonly #head: number
  readonly #textAt: number
  readonly #bytesAt: number
  #effects: readonly Effect[] | undefined

  constructor(columns: Answer, place: number, head: number, textAt: number, bytesAt: number) {
    this.columns = columns
    this.place = place
    this.#head = head
    this.#textAt = textAt
    this.#bytesAt = bytesAt
  }

  get packed(): Packed {
    return this
  }

  get publishes(): boolean {
    return this.#word(at.publishes) !== 0
  }

  get stateful(): boolean {
    return this.#word(at.stateVersion) >= 0
  }

  get bytes(): number {
    return this.#word(at.weight)
  }

  get served(): number {
    return this.#word(at.served)
  }

  get type(): string {
    return this.columns.name(this.#word(at.type))
  }

  get key(): MessageKey | null {
    const place = this.#word(at.keyPlace)
    if (place < 0) return null
    const uuid = this.columns.frame.keys.substring(place * keyStride, (place + 1) * keyStride - 1)
    return { uuid, day: this.#word(at.keyDay) }
  }

  get traceId(): string {
    return this.columns.frame.text.substring(this.#textAt, this.#textAt + this.#word(at.traceLength))
  }

  get messageId(): string {
    const length = this.#word(at.idLength)
    if (length < 0) return this.key?.uuid ?? ''
    const from = this.#textAt + this.#word(at.traceLength)
    return this.columns.frame.text.substring(from, from + length)
  }

  get state(): Done['state'] {
    const version = this.#word(at.stateVersion)
    if (version < 0) return null
    // Decoded from bytes: cut from the frame's text, a state kept for long would keep all of it.
    const json = this.columns.bytes.toString('utf8', this.#bytesAt, this.#bytesAt + this.#word(at.stateLength))
    return { version, json }
  }

  get effects(): readonly Effect[] {
    this.#effects ??= this.#decodeEffects()
    return this.#effects
  }

  #decodeEffects(): readonly Effect[] {
    const textAt = this.#textAt + this.#word(at.traceLength) + Math.max(0, this.#word(at.idLength))
    const body = new Body(this.columns, this.#head + at.effects, textAt, this.#bytesAt + this.#word(at.stateLength))
    const effects: Effect[] = []
    for (let count = this.#word(at.effectCount); count > 0; count--) effects.push(body.effect())
    return effects
  }

  #word(place: number): number {
    return this.columns.word(this.#head + place)
  }
}

function failedAt(answer: Answer, head: number, textAt: number): Failed {
  const body = new Body(answer, head + at.body, textAt, 0)
  const type = body.string()
  const day = body.word()
  const uuid = body.string()
  const traceId = body.string()
  const messageId = body.string()
  const key = day < 0 ? null : { uuid, day }
  return {
    kind: 'failed',
    failure: body.failure(),
    key,
    type,
    traceId,
    messageId,
    served: answer.word(head + at.served),
  }
}

function duplicateAt(answer: Answer, head: number, textAt: number): Duplicate {
  const body = new Body(answer, head + at.body, textAt, 0)
  const type = body.string()
  const traceId = body.string()
  return { kind: 'duplicate', messageId: body.string(), type, traceId }
}

/** Reads what follows a head, one thing after the other. */
class Body {
  readonly #answer: Answer
  readonly #words: WordReader
  #textAt: number
  #bytesAt: number

  constructor(answer: Answer, from: number, textAt: number, bytesAt: number) {
    this.#answer = answer
    this.#words = new WordReader(answer.words, from)
    this.#textAt = textAt
    this.#bytesAt = bytesAt
  }

  word(): number {
    return this.#words.next()
  }

  string(): string {
    return this.#cut(this.#words.next())
  }

  failure(): Failure {
    const kind = failureKinds[this.word()] ?? 'transient'
    const reason = this.string()
    const errorClass = this.string()
    const message = this.string()
    const stack = this.string()
    const sqlstate = this.#value()
    const dependency = this.#value()
    return {
      reason,
      errorClass,
      message,
      stack,
      kind,
      ...(sqlstate !== null && { sqlstate }),
      ...(dependency !== null && { dependency }),
    }
  }

  effect(): Effect {
    const tag = this.word()
    return tag === tags.row ? this.#row() : tag === tags.sql ? this.#sql() : this.#publish()
  }

  #row(): RowEffect {
    const id = this.word()
    const shape = this.#answer.shape(id)
    const columns = this.#answer.frame.rows.find((rows) => rows.shape === id)?.columns ?? []
    const values: SqlText[] = []
    for (let i = 0; i < columns.length; i++) {
      values.push(this.#answer.value(this.#words.at, columns[i] ?? '', shape.bare[i] === true))
      this.#words.at += 2
    }
    return { kind: 'row', shape, values }
  }

  #sql(): SqlEffect {
    const parts = this.word()
    const count = this.word()
    const text: string[] = []
    for (let i = 0; i < parts; i++) text.push(this.string())
    const values: SqlText[] = []
    for (let i = 0; i < count; i++) values.push(this.#value())
    return { kind: 'sql', text, values }
  }

  #publish(): PublishEffect {
    const topic = this.string()
    const messageId = this.string()
    const key = this.#blob()
    const value = this.#blob()
    const headers: (readonly [string, string])[] = []
    for (let count = this.word(); count > 0; count--) headers.push([this.#answer.name(this.word()), this.string()])
    return { kind: 'publish', topic, messageId, key, value, headers }
  }

  #value(): SqlText {
    const length = this.#words.next()
    return length < 0 ? null : this.#cut(length)
  }

  #cut(length: number): string {
    const from = this.#textAt
    this.#textAt += length
    return this.#answer.frame.text.substring(from, this.#textAt)
  }

  #blob(): Uint8Array {
    const from = this.#bytesAt
    this.#bytesAt += this.#words.next()
    return this.#answer.bytes.subarray(from, this.#bytesAt)
  }
}

import type { Effect, Failure, PublishEffect, RowEffect, Shape, SqlEffect, SqlText } from '../core/effects.ts'
import type { Decision, Done, Failed } from '../core/workers.ts'
import { WordReader, Words } from './wire.ts'

/** What crosses: `words` and `bytes` are transferred, `text` is copied as memory. */
export type DecisionFrame = {
  readonly kind: 'decisions'
  readonly words: Int32Array<ArrayBuffer>
  readonly text: string
  /** Values of outgoing messages and states. */
  readonly bytes: Uint8Array<ArrayBuffer>
  /** Shapes that this worker names from now on by their place among all it has sent. */
  readonly shapes: readonly Shape[]
  /** The same for types and header names. */
  readonly names: readonly string[]
}

const doneTag = 0
const failedTag = 1
const rowTag = 0
const sqlTag = 1
const publishTag = 2

const failureKinds: readonly Failure['kind'][] = ['bad-record', 'permanent', 'transient']

/** Packs a worker's decisions. One for each thread's life: it remembers what the supervisor has been told. */
export class DecisionPacker {
  readonly #words = new Words(4_096)
  #text = ''
  #bytes: Uint8Array[] = []
  #newShapes: Shape[] = []
  #newNames: string[] = []
  readonly #shapes = new Map<string, number>()
  readonly #shapeOf = new WeakMap<Shape, number>()
  #lastShape: Shape | undefined
  #lastShapeId = 0
  readonly #names = new Map<string, number>()
  #count = 0

  /** Decisions packed since the last `take`. */
  get count(): number {
    return this.#count
  }

  add(decision: Decision): void {
    const words = this.#words
    const { outcome } = decision
    this.#count++
    words.push(outcome.kind === 'done' ? doneTag : failedTag)
    words.pushLarge(decision.mailbox)
    words.pushLarge(decision.run)
    words.pushLarge(decision.offset)
    // Microseconds: finer than the clock, and it fits for 35 minutes.
    words.push(Math.min(0x7fffffff, Math.round(outcome.elapsedMs * 1_000)))
    // A type that was handled is one of the actor's own; a bad record's could be anything, and is not remembered.
    if (outcome.kind === 'done') words.push(this.#name(outcome.type))
    else this.#string(outcome.type)
    this.#string(outcome.traceId)
    words.push(outcome.key === null ? -1 : outcome.key.day)
    if (outcome.key !== null) this.#text += outcome.key.uuid
    // Most ids are UUIDs in canonical form: the key says it already.
    if (outcome.key !== null && outcome.key.uuid === outcome.messageId) words.push(-1)
    else this.#string(outcome.messageId)
    if (outcome.kind === 'done') this.#done(outcome)
    else this.#failure(outcome.failure)
  }

  take(): DecisionFrame {
    const frame: DecisionFrame = {
      kind: 'decisions',
      words: this.#words.take(),
      text: this.#text,
      bytes: joined(this.#bytes),
      shapes: this.#newShapes,
      names: this.#newNames,
    }
    this.#text = ''
    this.#bytes = []
    this.#newShapes = []
    this.#newNames = []
    this.#count = 0
    return frame
  }

  #done(outcome: Done): void {
    const words = this.#words
    if (outcome.state === null) {
      words.push(-1)
    } else {
      words.push(outcome.state.version)
      this.#blob(Buffer.from(outcome.state.json))
    }
    words.push(outcome.effects.length)
    for (const effect of outcome.effects) this.#effect(effect)
  }

  #failure(failure: Failure): void {
    this.#words.push(failureKinds.indexOf(failure.kind))
    this.#string(failure.reason)
    this.#string(failure.errorClass)
    this.#string(failure.message)
    this.#string(failure.stack)
    this.#value(failure.sqlstate ?? null)
  }

  #effect(effect: Effect): void {
    switch (effect.kind) {
      case 'row':
        this.#words.push(rowTag)
        this.#words.push(this.#shape(effect.shape))
        for (const value of effect.values) this.#value(value)
        return
      case 'sql':
        this.#words.push(sqlTag)
        this.#words.push(effect.text.length)
        this.#words.push(effect.values.length)
        for (const part of effect.text) this.#string(part)
        for (const value of effect.values) this.#value(value)
        return
      case 'publish':
        this.#words.push(publishTag)
        this.#string(effect.topic)
        this.#string(effect.messageId)
        this.#blob(effect.key)
        this.#blob(effect.value)
        this.#words.push(effect.headers.length)
        for (const [name, value] of effect.headers) {
          this.#words.push(this.#name(name))
          this.#string(value)
        }
        return
    }
  }

  #string(text: string): void {
    this.#words.push(text.length)
    this.#text += text
  }

  #value(value: SqlText): void {
    if (value === null) this.#words.push(-1)
    else this.#string(value)
  }

  #blob(bytes: Uint8Array): void {
    this.#words.push(bytes.length)
    this.#bytes.push(bytes)
  }

  #name(name: string): number {
    let id = this.#names.get(name)
    if (id === undefined) {
      id = this.#names.size
      this.#names.set(name, id)
      this.#newNames.push(name)
    }
    return id
  }

  #shape(shape: Shape): number {
    // Most rows have the shape of the one before.
    if (shape !== this.#lastShape) {
      this.#lastShapeId = this.#shapeOf.get(shape) ?? this.#addShape(shape)
      this.#lastShape = shape
    }
    return this.#lastShapeId
  }

  #addShape(shape: Shape): number {
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

function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  let length = 0
  for (const part of parts) length += part.length
  const bytes = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

/** Unpacks what one thread packs, from its first frame on. */
export class DecisionUnpacker {
  readonly #shapes: Shape[] = []
  readonly #names: string[] = []
  /** Shapes by key over all threads, so that equal ones are one object. */
  readonly #known: Map<string, Shape>

  constructor(known: Map<string, Shape>) {
    this.#known = known
  }

  unpack(frame: DecisionFrame): Decision[] {
    for (const shape of frame.shapes) {
      const known = this.#known.get(shape.key) ?? shape
      this.#known.set(shape.key, known)
      this.#shapes.push(known)
    }
    for (const name of frame.names) this.#names.push(name)
    const reading = new Reading(frame, this.#shapes, this.#names)
    const decisions: Decision[] = []
    while (!reading.done) decisions.push(reading.decision())
    return decisions
  }
}

const noEffects: readonly Effect[] = []

class Reading {
  readonly #words: WordReader
  readonly #text: string
  readonly #bytes: Buffer
  readonly #shapes: readonly Shape[]
  readonly #names: readonly string[]
  #textAt = 0
  #bytesAt = 0

  constructor(frame: DecisionFrame, shapes: readonly Shape[], names: readonly string[]) {
    this.#words = new WordReader(frame.words)
    this.#text = frame.text
    this.#bytes = Buffer.from(frame.bytes.buffer, frame.bytes.byteOffset, frame.bytes.byteLength)
    this.#shapes = shapes
    this.#names = names
  }

  get done(): boolean {
    return this.#words.done
  }

  decision(): Decision {
    const words = this.#words
    const tag = words.next()
    const mailbox = words.nextLarge()
    const run = words.nextLarge()
    const offset = words.nextLarge()
    const elapsedMs = words.next() / 1_000
    const type = tag === doneTag ? this.#name() : this.#string()
    const traceId = this.#string()
    const day = words.next()
    const key = day < 0 ? null : { uuid: this.#cut(36), day }
    const idLength = words.next()
    const messageId = idLength < 0 ? (key?.uuid ?? '') : this.#cut(idLength)
    const outcome: Done | Failed =
      tag === doneTag
        ? { kind: 'done', key, state: this.#state(), effects: this.#effects(), type, traceId, messageId, elapsedMs }
        : { kind: 'failed', failure: this.#failure(), key, type, traceId, messageId, elapsedMs }
    return { mailbox, run, offset, outcome }
  }

  #state(): Done['state'] {
    const version = this.#words.next()
    if (version < 0) return null
    // Decoded from bytes: cut from the frame's text, a state kept for long would keep all of it.
    const from = this.#bytesAt
    this.#bytesAt += this.#words.next()
    return { version, json: this.#bytes.toString('utf8', from, this.#bytesAt) }
  }

  #failure(): Failure {
    const kind = failureKinds[this.#words.next()] ?? 'transient'
    const reason = this.#string()
    const errorClass = this.#string()
    const message = this.#string()
    const stack = this.#string()
    const sqlstate = this.#value()
    const failure: Failure = { reason, errorClass, message, stack, kind }
    return sqlstate === null ? failure : { ...failure, sqlstate }
  }

  #effects(): readonly Effect[] {
    const count = this.#words.next()
    if (count === 0) return noEffects
    // Of the size that it has: an array that grows begins with room for seventeen.
    const effects = new Array<Effect>(count)
    for (let i = 0; i < count; i++) {
      const tag = this.#words.next()
      effects[i] = tag === rowTag ? this.#row() : tag === sqlTag ? this.#sql() : this.#publish()
    }
    return effects
  }

  #row(): RowEffect {
    const shape = this.#shapes[this.#words.next()]
    if (shape === undefined) throw new TypeError('a frame names a shape that it never gave')
    const count = shape.columns.length
    const values = new Array<SqlText>(count)
    for (let i = 0; i < count; i++) values[i] = this.#value()
    return { kind: 'row', shape, values }
  }

  #sql(): SqlEffect {
    const parts = this.#words.next()
    const count = this.#words.next()
    const text: string[] = []
    for (let i = 0; i < parts; i++) text.push(this.#string())
    const values: SqlText[] = []
    for (let i = 0; i < count; i++) values.push(this.#value())
    return { kind: 'sql', text, values }
  }

  #publish(): PublishEffect {
    const topic = this.#string()
    const messageId = this.#string()
    const key = this.#blob()
    const value = this.#blob()
    const headers: (readonly [string, string])[] = []
    for (let count = this.#words.next(); count > 0; count--) headers.push([this.#name(), this.#string()])
    return { kind: 'publish', topic, messageId, key, value, headers }
  }

  #name(): string {
    return this.#names[this.#words.next()] ?? ''
  }

  #string(): string {
    return this.#cut(this.#words.next())
  }

  #value(): SqlText {
    const length = this.#words.next()
    return length < 0 ? null : this.#cut(length)
  }

  #cut(length: number): string {
    const from = this.#textAt
    this.#textAt += length
    return this.#text.substring(from, this.#textAt)
  }

  #blob(): Uint8Array {
    const from = this.#bytesAt
    this.#bytesAt += this.#words.next()
    return this.#bytes.subarray(from, this.#bytesAt)
  }
}

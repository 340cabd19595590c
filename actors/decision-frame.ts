import type { Failure, Shape } from '../core/effects.ts'

/**
 * A worker's answer as it crosses: `words` and `bytes` are transferred, strings are copied as memory. Each decision is a
 * head of fixed length in `words`, and a body that need not be read: decisions are decoded only where somebody looks.
 */
export type DecisionFrame = {
  readonly kind: 'decisions'
  readonly words: Int32Array<ArrayBuffer>
  readonly text: string
  /** Values of outgoing messages and states. */
  readonly bytes: Uint8Array<ArrayBuffer>
  /** UUIDs of the done decisions' keys, by commas. */
  readonly keys: string
  /** The day of all of them; -1 if they differ, or a done decision has none. */
  readonly keyDay: number
  /** All done decisions' effects are inserted rows and outgoing messages. */
  readonly plain: boolean
  /** How many are done. */
  readonly done: number
  /** Rows: the number of their shape, and for each column the values as elements of an array's text, by commas. */
  readonly rows: readonly { readonly shape: number; readonly columns: readonly string[] }[]
  /** Shapes that this worker names from now on by their place among all it has sent. */
  readonly shapes: readonly Shape[]
  /** The same for types and header names. */
  readonly names: readonly string[]
  /** Of those before this frame none is named any more: places count from this one's first. */
  readonly anew: boolean
}

/**
 * Past so many shapes, or so many names, both sides forget all: what payloads have of twenty optional fields makes a million
 * shapes, and a header's name may be a message's own.
 */
export const maxTold = 4_096

/** Where the words of a decision are, counted from its first. */
export const at = {
  tag: 0,
  mailbox: 1,
  run: 3,
  offset: 5,
  /** Of a done decision's effects and state, about. */
  weight: 7,
  publishes: 8,
  /** Dependencies that served its handler, as bits. */
  served: 9,
  /** Of the whole decision: words, characters of text, bytes. */
  words: 10,
  text: 11,
  bytes: 12,
  /** Here the fields of a failed decision and of a duplicate begin. A done one's are these; lengths are of text and bytes in this order. */
  body: 13,
  type: 13,
  keyDay: 14,
  keyPlace: 15,
  traceLength: 16,
  /** -1: the key says it. */
  idLength: 17,
  stateVersion: 18,
  stateLength: 19,
  effectCount: 20,
  effects: 21,
} as const

export const tags = { done: 0, failed: 1, duplicate: 2, row: 0, sql: 1, publish: 2 } as const

export const failureKinds: readonly Failure['kind'][] = ['bad-record', 'permanent', 'transient']

/** Characters of a UUID and the comma after it. */
export const keyStride = 37

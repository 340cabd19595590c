import type { Shape } from './effects.ts'

/**
 * The done decisions of one answer of a worker, as they lie in its frame: keys and rows column by column, already as
 * elements of PostgreSQL's array text. A commit that takes many of them in a row joins a few long strings and looks into
 * none: decoding each and writing the arrays anew was a third of the supervisor's thread.
 */
export interface DecisionColumns {
  /** How many there are. */
  readonly count: number
  /** Their effects are inserted rows and outgoing messages, and nothing else. */
  readonly plain: boolean
  /** The day that all their keys carry; -1 where these differ or some have no key. */
  readonly keyDay: number
  /** UUIDs of the keys of [from, to), by commas; only where `keyDay` is not -1. */
  keys(from: number, to: number): string
  /** Rows of [from, to). */
  rows(from: number, to: number): readonly ShapeColumns[]
}

/** Rows of one shape: for each column their values in order, by commas. */
export type ShapeColumns = { readonly shape: Shape; readonly columns: readonly string[] }

/** A decision's place among those of its frame. */
export type Packed = { readonly columns: DecisionColumns; readonly place: number }

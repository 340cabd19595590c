/** What a message may be. Past a limit it is a dead letter that names the limit. Sizes in bytes. */
export type Limits = {
  readonly maxPayloadBytes: number
  /** Nesting of objects and arrays in an envelope. */
  readonly maxDepth: number
  /** Characters of message_id, tenant_id, type, trace_id. */
  readonly maxIdLength: number
  readonly maxHeaders: number
  readonly maxEffects: number
  /** All effects of one message, encoded. */
  readonly maxEffectBytes: number
  /** An actor's state as JSON. */
  readonly maxStateBytes: number
}

/**
 * More than this maxIdLength cannot be: PostgreSQL's indexes take 2,704 bytes, and a character of an id has three at most.
 * One that did not fit would be refused with the commit, whose message it is nobody knows.
 */
export const longestId = 896

export const defaultLimits: Limits = {
  maxPayloadBytes: 8 * 1024 * 1024,
  maxDepth: 64,
  maxIdLength: 256,
  maxHeaders: 256,
  maxEffects: 1_000,
  maxEffectBytes: 8 * 1024 * 1024,
  maxStateBytes: 1024 * 1024,
}

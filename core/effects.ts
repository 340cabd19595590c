/**
 * What an actor wants to become true, as it travels from a worker thread to the commit. Values are already PostgreSQL's
 * text form (null is SQL NULL), so that the supervisor's thread only concatenates: it is the thread that runs out first.
 */
export type SqlText = string | null

/**
 * A table and the columns written, in order. Effects of one shape, which is told by its `key`, are grouped into one
 * statement. What arrives from the workers has one object for each, as a rule, whichever thread it came from.
 */
export type Shape = {
  readonly key: string
  /** Schema-qualified, as the catalog spells it: `public.campaigns`. */
  readonly table: string
  readonly columns: readonly string[]
  /** For each column whether its values can stand in an array's text without quotes: numbers, UUIDs, booleans. */
  readonly bare: readonly boolean[]
  /** Columns of the unique constraint for an upsert; undefined for an insert. */
  readonly conflict?: readonly string[]
}

export type RowEffect = { readonly kind: 'row'; readonly shape: Shape; readonly values: readonly SqlText[] }

/** One statement of the actor's own: the tagged template's text parts and its parameters. */
export type SqlEffect = { readonly kind: 'sql'; readonly text: readonly string[]; readonly values: readonly SqlText[] }

/** A message for the outbox. The value and headers are final; the id inside the value is derived, so a rerun repeats it. */
export type PublishEffect = {
  readonly kind: 'publish'
  readonly topic: string
  readonly messageId: string
  readonly key: Uint8Array
  readonly value: Uint8Array
  readonly headers: readonly (readonly [name: string, value: string])[]
}

export type Effect = RowEffect | SqlEffect | PublishEffect

/** Why a record, or an attempt at it, failed. `message` and `stack` are cut to a limit and hold no NUL. */
export type Failure = {
  /** A stable word: bad_json, no_tenant, schema, handler, effect, … (docs/actors.md and docs/envelope.md list them). */
  readonly reason: string
  /** The thrown error's class, or ''. */
  readonly errorClass: string
  readonly message: string
  readonly stack: string
  /** `bad-record`: the record can never be processed. `permanent`: do not retry. `transient`: the retry policy decides. */
  readonly kind: 'bad-record' | 'permanent' | 'transient'
  /** SQLSTATE, where the failure came from an effect's statement. */
  readonly sqlstate?: string
  /** What `ctx.call` called, where the failure came from there. */
  readonly dependency?: string
}

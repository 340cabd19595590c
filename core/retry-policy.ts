/**
 * How often, and after what pauses, a handler that failed is tried again (RFC-PHOENIX-02: three times, after 1, 2 and
 * 5 seconds). When the pauses are used up, the record becomes a dead letter.
 */
export type RetryPolicy = {
  /** Milliseconds before the second attempt, the third, … */
  readonly delaysMs: readonly number[]
  /** The same for some of the message types. */
  readonly byType: ReadonlyMap<string, readonly number[]>
  /** Each pause is longer or shorter by up to this share of it, so that tenants that failed together do not return together. */
  readonly jitter: number
}

/**
 * The pause after a record of this type has failed for the `attempts`th time; null: it is given up. `chance` is in
 * [0, 1).
 */
export function retryDelayMs(
  { delaysMs, byType, jitter }: RetryPolicy,
  type: string,
  attempts: number,
  chance: number,
): number | null {
  const delay = (byType.get(type) ?? delaysMs)[attempts - 1]
  return delay === undefined ? null : jittered(delay, jitter, chance)
}

/** The same for what is tried again however often it has failed: the last pause is that of all further ones, too. */
export function pauseMs(
  { delaysMs, byType, jitter }: RetryPolicy,
  type: string,
  times: number,
  chance: number,
): number {
  const delays = byType.get(type) ?? delaysMs
  return jittered(delays[times - 1] ?? delays.at(-1) ?? defaultPauseMs, jitter, chance)
}

/** Where nothing is to be tried again but must be. */
const defaultPauseMs = 1_000

function jittered(ms: number, jitter: number, chance: number): number {
  return ms * (1 + jitter * (2 * chance - 1))
}

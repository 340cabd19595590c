/** Counts what may happen only so often within a time. */
export class RestartLimit {
  readonly #most: number
  readonly #windowMs: number
  #times: number[] = []

  constructor(most: number, windowMs: number) {
    this.#most = most
    this.#windowMs = windowMs
  }

  /** It has happened once more. Returns whether that is once too often. */
  note(now: number): boolean {
    this.#times = this.#times.filter((time) => now - time < this.#windowMs)
    this.#times.push(now)
    return this.#times.length > this.#most
  }
}

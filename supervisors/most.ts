/** Of many, the few that weigh most. Cheap for each that is offered: all are sorted only now and then. */
export class Most<T> {
  readonly #limit: number
  readonly #room: number
  #kept: { readonly weight: number; readonly value: T }[] = []
  /** What weighs less than this is not among them. */
  #least = Number.NEGATIVE_INFINITY
  /** How many were offered. */
  count = 0

  constructor(limit: number) {
    this.#limit = limit
    this.#room = 2 * limit + 100
  }

  offer(weight: number, value: T): void {
    this.count++
    if (weight <= this.#least) return
    this.#kept.push({ weight, value })
    if (this.#kept.length > this.#room) this.#cut()
  }

  /** The heaviest first. */
  take(): T[] {
    this.#cut()
    return this.#kept.map(({ value }) => value)
  }

  #cut(): void {
    this.#kept.sort((a, b) => b.weight - a.weight)
    this.#kept.length = Math.min(this.#kept.length, this.#limit)
    if (this.#kept.length === this.#limit) this.#least = this.#kept.at(-1)?.weight ?? this.#least
  }
}

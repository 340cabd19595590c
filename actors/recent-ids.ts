/** Remembers at least the last `limit` texts that were added, and at most twice as many. */
export class RecentIds {
  readonly #limit: number
  #newer = new Set<string>()
  #older = new Set<string>()

  constructor(limit: number) {
    this.#limit = limit
  }

  has(id: string): boolean {
    return this.#newer.has(id) || this.#older.has(id)
  }

  add(id: string): void {
    this.#newer.add(id)
    if (this.#newer.size < this.#limit) return
    this.#older = this.#newer
    this.#newer = new Set()
  }
}

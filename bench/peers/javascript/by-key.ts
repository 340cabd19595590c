/** A record, as every driver gives it. */
export type KeyedRecord = { readonly key: Uint8Array | string | null; readonly value: Uint8Array | string | null }

/** Runs many records at once, those of a key one after the other. */
export class ByKey {
  readonly #handle: (record: KeyedRecord) => Promise<void>
  readonly #finished: () => void
  readonly #waiting: (() => void)[] = []
  #free: number

  constructor(concurrency: number, handle: (record: KeyedRecord) => Promise<void>, finished: () => void) {
    this.#free = concurrency
    this.#handle = handle
    this.#finished = finished
  }

  /** Resolves when all are done. Rejects with the first error, once nothing of these records runs any more. */
  async run(records: readonly KeyedRecord[]): Promise<void> {
    const keys = new Map<string, KeyedRecord[]>()
    for (const record of records) {
      const key = String(record.key)
      const before = keys.get(key)
      if (before === undefined) keys.set(key, [record])
      else before.push(record)
    }
    const ends = await Promise.allSettled([...keys.values()].map((same) => this.#inTurn(same)))
    for (const end of ends) if (end.status === 'rejected') throw end.reason
  }

  async #inTurn(records: readonly KeyedRecord[]): Promise<void> {
    await this.#take()
    try {
      for (const record of records) {
        await this.#handle(record)
        this.#finished()
      }
    } finally {
      this.#give()
    }
  }

  #take(): Promise<void> | undefined {
    if (this.#free === 0) return new Promise((resolve) => void this.#waiting.push(resolve))
    this.#free--
    return undefined
  }

  #give(): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#free++
    else next()
  }
}

import { Fifo } from '../core/fifo.ts'

/** Reads that wait: each tenant's in order, and the tenants in turn, however many reads one of them has asked for. */
export class ReadTurns<T> {
  readonly #waiting = new Map<string, Fifo<T>>()

  push(tenant: string, read: T): void {
    const own = this.#waiting.get(tenant)
    if (own !== undefined) return own.push(read)
    const first = new Fifo<T>()
    first.push(read)
    this.#waiting.set(tenant, first)
  }

  /** The next one; undefined where none waits. */
  shift(): T | undefined {
    for (const [tenant, own] of this.#waiting) {
      const read = own.shift()
      this.#waiting.delete(tenant)
      // The others come before its next.
      if (own.length > 0) this.#waiting.set(tenant, own)
      return read
    }
    return undefined
  }
}

import type { Id } from './ids.ts'

/** Every (message id, tenant) of the logs that were read, numbered from 0 in the order of their first records. */
export class Messages {
  /** Records of it that are done. */
  done = new Uint32Array(1024)
  /** Whether one of them became a dead letter and so holds the id, also when it was brought back and is parked. */
  dead = new Uint8Array(1024)
  /** Whether one of them was brought back and has ended well, after newer ones of its tenant. */
  replayed = new Uint8Array(1024)
  /** Whether one of them is parked. */
  parked = new Uint8Array(1024)
  /** Keys in sys.request_keys. */
  keys = new Uint8Array(1024)
  /** Where its first record stands: the number of its log, and the offset. */
  log = new Uint16Array(1024)
  offset = new Float64Array(1024)
  size = 0
  readonly #tenants = new Map<string, number>()
  readonly #tenantNames: string[] = []
  #ids = new Uint32Array(4 * 1024)
  #tenantOf = new Uint32Array(1024)
  /** Open addressing by id; holds number + 1. */
  #table = new Uint32Array(4 * 1024)
  readonly #grown: (() => void)[] = []

  /** The number of a message, new ones included. */
  add(id: Id, tenant: string, log: number, offset: number): number {
    const owner = this.#tenantNumber(tenant)
    let place = this.#start(id)
    for (;;) {
      const found = (this.#table[place] ?? 0) - 1
      if (found < 0) break
      if (this.#is(found, id) && this.#tenantOf[found] === owner) return found
      place = (place + 1) % this.#table.length
    }
    const number = this.size++
    this.#table[place] = number + 1
    this.#ids.set(id, number * 4)
    this.#tenantOf[number] = owner
    this.log[number] = log
    this.offset[number] = offset
    if (this.size === this.done.length) this.#grow()
    return number
  }

  /** The number of a message that was added; -1 if there is none. Without a tenant, any tenant's with this id. */
  find(id: Id, tenant?: string): number {
    const owner = tenant === undefined ? -1 : (this.#tenants.get(tenant) ?? -2)
    for (let place = this.#start(id); ; place = (place + 1) % this.#table.length) {
      const found = (this.#table[place] ?? 0) - 1
      if (found < 0) return -1
      if (this.#is(found, id) && (owner === -1 || this.#tenantOf[found] === owner)) return found
    }
  }

  id(number: number): Id {
    const [a = 0, b = 0, c = 0, d = 0] = this.#ids.subarray(number * 4, number * 4 + 4)
    return [a, b, c, d]
  }

  tenant(number: number): string {
    return this.#tenantNames[this.#tenantOf[number] ?? 0] ?? ''
  }

  /** A count for each message, which grows with them. */
  counter(): { readonly at: (number: number) => number; readonly raise: (number: number) => void } {
    let counts = new Uint16Array(this.done.length)
    this.#grown.push(() => {
      counts = extended(counts, new Uint16Array(this.done.length))
    })
    return {
      at: (number) => counts[number] ?? 0,
      raise: (number) => {
        counts[number] = Math.min(65_535, (counts[number] ?? 0) + 1)
      },
    }
  }

  #tenantNumber(tenant: string): number {
    const known = this.#tenants.get(tenant)
    if (known !== undefined) return known
    this.#tenants.set(tenant, this.#tenantNames.length)
    this.#tenantNames.push(tenant)
    return this.#tenantNames.length - 1
  }

  #start([a, b, c, d]: Id): number {
    const mixed = Math.imul(a ^ Math.imul(b, 0x9e3779b1) ^ Math.imul(c, 0x85ebca6b) ^ d, 0xc2b2ae35)
    return ((mixed ^ (mixed >>> 15)) >>> 0) % this.#table.length
  }

  #is(number: number, [a, b, c, d]: Id): boolean {
    const ids = this.#ids
    const at = number * 4
    return ids[at] === a && ids[at + 1] === b && ids[at + 2] === c && ids[at + 3] === d
  }

  #grow(): void {
    const room = this.done.length * 2
    this.done = extended(this.done, new Uint32Array(room))
    this.dead = extended(this.dead, new Uint8Array(room))
    this.replayed = extended(this.replayed, new Uint8Array(room))
    this.parked = extended(this.parked, new Uint8Array(room))
    this.keys = extended(this.keys, new Uint8Array(room))
    this.log = extended(this.log, new Uint16Array(room))
    this.offset = extended(this.offset, new Float64Array(room))
    this.#tenantOf = extended(this.#tenantOf, new Uint32Array(room))
    this.#ids = extended(this.#ids, new Uint32Array(room * 4))
    this.#table = new Uint32Array(room * 4)
    for (let number = 0; number < this.size; number++) {
      let place = this.#start(this.id(number))
      while (this.#table[place] !== 0) place = (place + 1) % this.#table.length
      this.#table[place] = number + 1
    }
    for (const grown of this.#grown) grown()
  }
}

function extended<T extends { set(from: T): void }>(from: T, to: T): T {
  to.set(from)
  return to
}

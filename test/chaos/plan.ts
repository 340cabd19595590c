import { hash } from 'node:crypto'

const tenants = 40
/** Every so many records one is a copy of an earlier one: 2 %. */
const copyEvery = 50
const copyReach = 200

/** The load of a run, known beforehand: everything about a record follows from its number. */
export class Plan {
  readonly #seed: string
  readonly #copies: boolean

  constructor(seed: string, options: { readonly copies: boolean }) {
    this.#seed = seed
    this.#copies = options.copies
  }

  /** The record that `n` repeats, or `n` itself. */
  original(n: number): number {
    let at = n
    while (this.#copies && at % copyEvery === copyEvery - 1)
      at = Math.max(0, at - 1 - (this.#number(at, 'copy') % copyReach))
    return at
  }

  /** A quarter of all messages are one tenant's. */
  tenant(n: number): string {
    const original = this.original(n)
    const draw = this.#number(original, 'tenant')
    return `tenant-${draw % 4 === 0 ? 0 : (draw >>> 2) % tenants}`
  }

  /** Mostly UUIDs; a third are names, whose keys are kept elsewhere. */
  id(n: number): string {
    const original = this.original(n)
    if (original % 3 === 0) return `step ${original} of ${this.#seed}`
    const hex = hash('sha256', `${this.#seed} id ${original}`, 'hex')
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`
  }

  message(n: number): { readonly key: Buffer; readonly value: Buffer } {
    const tenant = this.tenant(n)
    const value = { message_id: this.id(n), type: 'step', tenant_id: tenant, payload: { n: this.original(n) } }
    return { key: Buffer.from(tenant), value: Buffer.from(JSON.stringify(value)) }
  }

  /** A hash, because which records are copies and whose they are must not go hand in hand. */
  #number(n: number, use: string): number {
    return Number.parseInt(hash('sha256', `${this.#seed} ${use} ${n}`, 'hex').slice(0, 8), 16)
  }
}

import { hash } from 'node:crypto'

const tenants = 40
/** Every so many records one is a copy of an earlier one: 2 %. */
const copyEvery = 50
const copyReach = 200

/** Records that end as dead letters, each for another reason. */
const poisons = ['no JSON', 'no id', 'a wrong payload', "another's tenant", 'a handler that fails'] as const
type Poison = (typeof poisons)[number]
/** Of so many records one is poison. */
const poisonEvery = 400

/** The load of a run, known beforehand: everything about a record follows from its number. */
export class Plan {
  readonly #seed: string
  readonly #copies: boolean
  readonly #poison: boolean

  constructor(seed: string, options: { readonly copies: boolean; readonly poison?: boolean }) {
    this.#seed = seed
    this.#copies = options.copies
    this.#poison = options.poison ?? false
  }

  /** The record that `n` repeats, or `n` itself. Poison is never repeated. */
  original(n: number): number {
    let at = n
    while (this.#copies && at % copyEvery === copyEvery - 1)
      at = Math.max(0, at - 1 - (this.#number(at, 'copy') % copyReach))
    return this.#drawn(at) === undefined ? at : n
  }

  /** Why record `n` must become a dead letter. */
  poison(n: number): Poison | undefined {
    return this.original(n) === n ? this.#drawn(n) : undefined
  }

  #drawn(n: number): Poison | undefined {
    if (!this.#poison || n % copyEvery === copyEvery - 1 || this.#number(n, 'poison') % poisonEvery > 0)
      return undefined
    return poisons[this.#number(n, 'kind') % poisons.length]
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
    const poison = this.poison(n)
    const text = poison === undefined ? JSON.stringify(value) : poisoned(value, n, poison)
    return { key: Buffer.from(tenant), value: Buffer.from(text) }
  }

  /** A hash, because which records are copies and whose they are must not go hand in hand. */
  #number(n: number, use: string): number {
    return Number.parseInt(hash('sha256', `${this.#seed} ${use} ${n}`, 'hex').slice(0, 8), 16)
  }
}

/** The number of a poisoned record, by its value. */
export function poisonIn(value: string): number | undefined {
  const found = /"poison":(\d+)/.exec(value)?.[1]
  return found === undefined ? undefined : Number(found)
}

function poisoned(value: object, n: number, poison: Poison): string {
  switch (poison) {
    case 'no JSON':
      return `{"poison":${n},`
    case 'no id':
      return JSON.stringify({ ...value, message_id: undefined, payload: { n, poison: n } })
    case 'a wrong payload':
      return JSON.stringify({ ...value, payload: { n: 'none', poison: n } })
    case "another's tenant":
      return JSON.stringify({ ...value, tenant_id: 'somebody-else', payload: { n, poison: n } })
    case 'a handler that fails':
      return JSON.stringify({ ...value, payload: { n, poison: n, fails: true } })
  }
}

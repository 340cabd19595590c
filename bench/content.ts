import { type Delivery, deliveries } from '../examples/webhooks/recorded.ts'

/** What a topic of the bench holds. Everything in it is a function of this and of a record's number: nothing is stored. */
export type Content = {
  /** `order`: small JSON messages of one type. `webhook`: the recorded webhooks of GitHub, about 10 KB each. */
  readonly kind: 'order' | 'webhook'
  /** Records, copies included. */
  readonly records: number
  readonly tenants: number
  /**
   * Where records go: over all tenants alike, half of them to the first one, each to the tenant of its number, or to
   * the k-th one about 1/k of what the first gets (Zipf's law).
   */
  readonly spread: 'even' | 'skewed' | 'numbered' | 'zipf'
  readonly ids: 'v4' | 'v7'
  /** Every so many records, one is a copy of an earlier one; 0 for none. */
  readonly copyEvery: number
  /** The day of ids that carry a time, since 1970: keys of other days would go to other tables. */
  readonly day: number
  /** Size of an order's payload in bytes; when left out, orders are `orderBytes` long as a whole. */
  readonly payloadBytes?: number
  /** From when in the day ids carry a time; from its beginning when left out. */
  readonly dayMs?: number
}

export type Message = { readonly key: Buffer; readonly value: Buffer }

/** Size of an order, in bytes. */
export const orderBytes = 290

/** How far back a copy's original may lie. */
const copyReach = 5_000

/** A short name that differs for different contents. */
export function nameOf(content: Content): string {
  const { kind, records, tenants, spread, ids, copyEvery, day, payloadBytes, dayMs = 0 } = content
  const copies = copyEvery === 0 ? '' : `-c${copyEvery}`
  const size = payloadBytes === undefined ? '' : `-p${payloadBytes}`
  const from = dayMs === 0 ? '' : `-t${dayMs}`
  return `${kind}-${records}-${tenants}${spread === 'even' ? '' : `-${spread}`}-${ids}${copies}${size}${from}-${day}`
}

/** The messages of a content. */
export class Messages {
  readonly content: Content
  readonly #webhooks: readonly Delivery[]
  readonly #keys: Buffer[] = []
  /** As long as any order's note. */
  readonly #note: string

  constructor(content: Content) {
    this.content = content
    this.#note = filler.repeat(Math.ceil((content.payloadBytes ?? orderBytes) / filler.length))
    this.#webhooks = content.kind === 'webhook' ? deliveries() : []
  }

  /** The number of the record that `n` repeats, or `n` itself. A record's row has this number. */
  original(n: number): number {
    const { copyEvery } = this.content
    let at = n
    while (copyEvery > 0 && mix(at, 11) % copyEvery === 0 && at > copyReach) at -= 1 + (mix(at, 12) % copyReach)
    return at
  }

  tenant(n: number): string {
    return `tenant-${this.#tenantNumber(n)}`
  }

  /** The message_id of an original. */
  id(n: number): string {
    const first = hex8(mix(n, 1))
    const second = hex8(mix(n, 2))
    const third = hex8(mix(n, 3))
    const fourth = ((mix(n, 4) & 0x3fff) | 0x8000).toString(16)
    if (this.content.ids === 'v4')
      return `${first}-${second.slice(0, 4)}-4${second.slice(5)}-${fourth}-${third}${hex8(mix(n, 5)).slice(4)}`
    // A hundred ids a millisecond, and in random order within it, as many producers would make them.
    const { day, dayMs = 0 } = this.content
    const time = (day * 86_400_000 + dayMs + Math.floor(n / 100)).toString(16).padStart(12, '0')
    return `${time.slice(0, 8)}-${time.slice(8)}-7${second.slice(5)}-${fourth}-${third}${first.slice(4)}`
  }

  /** The record with this number. */
  message(n: number): Message {
    const original = this.original(n)
    return { key: this.#key(original), value: this.#value(original) }
  }

  #tenantNumber(n: number): number {
    const { tenants, spread } = this.content
    if (spread === 'numbered') return n % tenants
    if (spread === 'zipf') return Math.floor(Math.exp((mix(n, 7) / 2 ** 32) * Math.log(tenants + 1))) - 1
    if (spread === 'skewed' && (mix(n, 6) & 1) === 0) return 0
    return mix(n, 7) % tenants
  }

  #key(n: number): Buffer {
    const tenant = this.#tenantNumber(n)
    return (this.#keys[tenant] ??= Buffer.from(`tenant-${tenant}`))
  }

  #value(n: number): Buffer {
    const { day, payloadBytes } = this.content
    const occurred = new Date(day * 86_400_000 + Math.floor(n / 100)).toISOString()
    const head = `{"message_id":"${this.id(n)}","tenant_id":"${this.tenant(n)}","trace_id":"${hex8(mix(n, 8))}${hex8(mix(n, 9))}${hex8(mix(n, 8))}${hex8(mix(n, 9))}","occurred_at":"${occurred}","schema_version":1,`
    const webhook = this.#webhooks[n % Math.max(1, this.#webhooks.length)]
    if (webhook)
      return Buffer.from(`${head}"type":"github.${webhook.kind}","payload":{"n":${n},"event":${webhook.json}}}`)
    const payload = `{"n":${n},"amount":${1 + (mix(n, 10) % 10_000)},"note":"`
    const text = `${head}"type":"order.place","payload":${payload}`
    const noteBytes = payloadBytes === undefined ? orderBytes - 3 - text.length : payloadBytes - 2 - payload.length
    return Buffer.from(`${text}${this.#note.slice(0, Math.max(0, noteBytes))}"}}`)
  }
}

const filler = 'two of them, and please ring at the side door; '

/** 32 bits that look random; for one `use`, different numbers give different ones. */
function mix(n: number, use: number): number {
  let hash = Math.imul(n ^ Math.imul(use, 0x9e3779b1), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 16), 0xc2b2ae35)
  hash = Math.imul(hash ^ (hash >>> 13), 0x27d4eb2f)
  return (hash ^ (hash >>> 16)) >>> 0
}

function hex8(word: number): string {
  return word.toString(16).padStart(8, '0')
}

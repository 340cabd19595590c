import { hash } from 'node:crypto'

/**
 * A message id as four 32-bit words, the way docs/envelope.md defines equality: every spelling of a UUID is one id, a
 * ULID keeps its bits, anything else is the UUIDv8 of its SHA-256. Written anew here: the checker must not share the
 * engine's mistakes.
 */
export type Id = readonly [a: number, b: number, c: number, d: number]

const uuid = /^(?:urn:uuid:|\{)?([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\}?$/i
const ulid = /^[0-7][0-9a-hjkmnp-tv-z]{25}$/i
const crockford = '0123456789abcdefghjkmnpqrstvwxyz'

export function idOf(text: string): Id {
  const found = uuid.exec(text)?.[1]
  if (found !== undefined) return words(found)
  if (ulid.test(text)) {
    let bits = 0n
    for (const letter of text.toLowerCase()) bits = bits * 32n + BigInt(crockford.indexOf(letter))
    return [Number(bits >> 96n), word(bits >> 64n), word(bits >> 32n), word(bits)]
  }
  const digest = hash('sha256', `tenantry\0message-id\0${text}`, 'hex')
  const variant = ((Number.parseInt(digest.charAt(15), 16) & 3) | 8).toString(16)
  return words(
    `${digest.slice(0, 8)}-${digest.slice(8, 12)}-8${digest.slice(12, 15)}-${variant}${digest.slice(16, 19)}-${digest.slice(19, 31)}`,
  )
}

/** Whether an id is unique by itself, without the source that gave it: a UUID in any spelling, or a ULID. */
export function isGlobal(text: string): boolean {
  return uuid.test(text) || ulid.test(text)
}

function words(hyphened: string): Id {
  return [
    Number.parseInt(hyphened.slice(0, 8), 16),
    Number.parseInt(hyphened.slice(9, 13) + hyphened.slice(14, 18), 16),
    Number.parseInt(hyphened.slice(19, 23) + hyphened.slice(24, 28), 16),
    Number.parseInt(hyphened.slice(28, 36), 16),
  ]
}

function word(bits: bigint): number {
  return Number(bits & 0xffff_ffffn)
}

/** An id as a UUID in its usual spelling. */
export function textOf([a, b, c, d]: Id): string {
  const hex = [a, b, c, d].map((one) => one.toString(16).padStart(8, '0')).join('')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

import { hash } from 'node:crypto'
import type { MessageKey } from './message-key.ts'

/**
 * Message ids and the keys made of them. A UUID (any case, also in braces or as urn:uuid:) and a ULID keep their 128
 * bits; any other id becomes a UUIDv8 of its SHA-256. Two spellings of one UUID are one id, everything else is compared
 * character by character.
 */

const looseUuid = /^(?:urn:uuid:|\{)?([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\}?$/i
const ulid = /^[0-7][0-9a-hjkmnp-tv-z]{25}$/i

const dayMs = 86_400_000

/** The third group of ids that this module derives: version 8, and twelve bits that say that the time comes first. */
const derivedGroup = '87e4'

/** The key of a message id. The id must have passed the envelope's checks: not empty, bounded, no control characters. */
export function messageKey(id: string): MessageKey {
  const uuid = canonicalUuid(id)
  if (uuid !== undefined) return { uuid, day: dayOf(uuidTime(uuid)) }
  if (id.length === 26 && ulid.test(id)) return ulidKey(id)
  const digest = hash('sha256', `tenantry\0message-id\0${id}`, 'hex')
  return { uuid: layOut(digest.slice(0, 12), `8${digest.slice(12, 15)}`, digest.slice(15)), day: 0 }
}

/** Milliseconds since 1970 that the id itself carries (UUIDv7, ULID, our derived ids); -1 where it carries none. */
export function timeOfId(id: string): number {
  const uuid = canonicalUuid(id)
  if (uuid !== undefined) return uuidTime(uuid)
  return id.length === 26 && ulid.test(id) ? ulidTime(id) : -1
}

/** The id as 36 lower-case characters, undefined unless it is a UUID in one of its spellings. */
export function canonicalUuid(id: string): string | undefined {
  if (isLowerUuid(id)) return id
  if (id.length < 36) return undefined
  return looseUuid.exec(id)?.[1]?.toLowerCase()
}

/** 1 for a hexadecimal digit in lower case, 2 for a hyphen. */
const uuidCharacters = new Uint8Array(128)
for (const digit of '0123456789abcdef') uuidCharacters[digit.charCodeAt(0)] = 1
uuidCharacters[0x2d] = 2

/** Half the time that a regular expression takes: every message's id comes by here. */
function isLowerUuid(id: string): boolean {
  if (id.length !== 36) return false
  if (
    id.charCodeAt(8) !== 0x2d ||
    id.charCodeAt(13) !== 0x2d ||
    id.charCodeAt(18) !== 0x2d ||
    id.charCodeAt(23) !== 0x2d
  )
    return false
  let sum = 0
  for (let i = 0; i < 36; i++) {
    const code = id.charCodeAt(i)
    const found = code < 128 ? (uuidCharacters[code] ?? 0) : 0
    if (found === 0) return false
    sum += found
  }
  // 32 digits and no fifth hyphen.
  return sum === 40
}

/** What a derived id is a function of. `use` keeps outgoing messages, `ctx.id` and the calls of each dependency apart. */
export type Derivation = {
  readonly use: 'message' | 'id' | `call ${string}`
  readonly group: string
  readonly actor: string
  readonly tenant: string
  /** The input's key, so that every spelling of its id derives the same. */
  readonly uuid: string
  readonly index: number
  /** Milliseconds since 1970: the input id's own time where it has one, else its record's. Negative counts as 0. */
  readonly time: number
}

/**
 * The same id for the same facts, for ever: a message that runs again sends the same messages. Time comes first, as in
 * UUIDv7, so that indexes stay warm and `day` is known; 62 bits of SHA-256 follow.
 */
export function deriveId(from: Derivation): string {
  const facts = `tenantry\0${from.use}\0${from.group}\0${from.actor}\0${from.tenant}\0${from.uuid}\0${from.index}`
  const digest = hash('sha256', facts, 'hex')
  const time = Math.min(Math.max(0, Math.floor(from.time)), 2 ** 48 - 1)
  return layOut(time.toString(16).padStart(12, '0'), derivedGroup, digest)
}

function layOut(first12: string, third4: string, hex: string): string {
  // Two bits of the fourth group say that this is an RFC 9562 UUID.
  const variant = ((Number.parseInt(hex.charAt(0), 16) & 3) | 8).toString(16)
  return `${first12.slice(0, 8)}-${first12.slice(8, 12)}-${third4}-${variant}${hex.slice(1, 4)}-${hex.slice(4, 16)}`
}

function uuidTime(uuid: string): number {
  const carriesTime = uuid.charCodeAt(14) === 0x37 || uuid.startsWith(derivedGroup, 14)
  return carriesTime ? hexAt(uuid, 0, 8) * 65_536 + hexAt(uuid, 9, 13) : -1
}

/** The value of lower-case hexadecimal digits. */
function hexAt(text: string, from: number, to: number): number {
  let value = 0
  for (let i = from; i < to; i++) {
    const code = text.charCodeAt(i)
    value = value * 16 + (code >= 0x61 ? code - 0x57 : code - 0x30)
  }
  return value
}

function dayOf(time: number): number {
  return time < 0 ? 0 : Math.floor(time / dayMs)
}

const crockford = '0123456789abcdefghjkmnpqrstvwxyz'

function ulidTime(id: string): number {
  let time = 0
  for (const character of id.slice(0, 10).toLowerCase()) time = time * 32 + crockford.indexOf(character)
  return time
}

function ulidKey(id: string): MessageKey {
  let bits = 0n
  for (const character of id.toLowerCase()) bits = (bits << 5n) | BigInt(crockford.indexOf(character))
  const hex = bits.toString(16).padStart(32, '0')
  const uuid = `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
  return { uuid, day: dayOf(ulidTime(id)) }
}

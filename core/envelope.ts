import { isUtf8 } from 'node:buffer'
import { BadRecord } from './bad-record.ts'
import { readCloudEvent } from './cloud-events.ts'
import { parseJson } from './json.ts'
import type { Limits } from './limits.ts'
import type { MessageHeaders } from './message-headers.ts'
import { decodeMsgpack } from './msgpack.ts'
import { isTimestamp } from './timestamp.ts'

/** A decoded message. docs/envelope.md says what each field may be and what happens to a record that breaks a rule. */
export type Envelope = {
  readonly message_id: string
  readonly type: string
  readonly tenant_id: string
  /** '' where the producer gave none that can be used. */
  readonly trace_id: string
  /** The message_id of the message that caused this one; '' where there is none. */
  readonly causation_id: string
  /** When it happened, in the producer's words (RFC 3339); '' where it does not say. */
  readonly occurred_at: string
  readonly schema_version: number
  readonly payload: unknown
}

/** A record's value within a larger buffer, and what decides how it is read. */
export type EncodedMessage = {
  readonly bytes: Buffer
  readonly start: number
  /** -1 for a null value. */
  readonly end: number
  readonly headers: MessageHeaders
  /** The caller has checked already that the value is UTF-8 (a whole frame costs less than its parts). */
  readonly knownUtf8: boolean
}

/** Past this many hops a message is taken to cause itself. */
const maxHops = 64

/**
 * Decodes a record's value into an envelope of `tenant`, the mailbox's own. Throws BadRecord for whatever it is not; the
 * reasons are listed in docs/envelope.md. About 1.5 µs for 290 bytes of JSON, most of it in JSON.parse.
 */
export function decodeEnvelope(message: EncodedMessage, tenant: string, limits: Limits): Envelope {
  const { bytes, start, end, headers } = message
  if (headers.problem !== null) throw headers.problem
  if (end - start > limits.maxPayloadBytes)
    throw new BadRecord('too_large', `the value is larger than ${limits.maxPayloadBytes} bytes`)
  if (headers.hops > maxHops)
    throw new BadRecord(
      'too_many_hops',
      `the message has come through more than ${maxHops} actors: does it cause itself?`,
    )
  if (headers.cloudEvent !== null) return fromCloudEvent(message, headers.cloudEvent, tenant, limits)
  if (end < 0) throw new BadRecord('null_value', 'the record has no value')
  switch (formatOf(headers.contentType)) {
    case 'json': {
      const text = textOf(message)
      const value = parseJson(text, limits.maxDepth)
      if (!isFields(value)) throw notAnEnvelope()
      // JSON has control characters and half surrogate pairs by escapes alone, and the bytes were UTF-8.
      const escaped = text.indexOf('\\')
      refuseTwoTypes(text, value['type'], escaped)
      return fromFields(value, tenant, limits, escaped < 0)
    }
    case 'msgpack': {
      const value = decodeMsgpack(bytes.subarray(start, end), limits.maxDepth)
      if (!isFields(value)) throw notAnEnvelope()
      return fromFields(value, tenant, limits, false)
    }
    case undefined:
      throw new BadRecord('unknown_content_type', 'the content-type is neither JSON nor MessagePack')
  }
}

function formatOf(contentType: string): 'json' | 'msgpack' | undefined {
  switch (contentType) {
    case '':
    case 'application/json':
    case 'text/json':
      return 'json'
    case 'application/msgpack':
    case 'application/x-msgpack':
    case 'application/vnd.msgpack':
      return 'msgpack'
    default:
      return undefined
  }
}

function textOf({ bytes, start, end, knownUtf8 }: EncodedMessage): string {
  if (!knownUtf8 && !isUtf8(bytes.subarray(start, end))) throw new BadRecord('bad_utf8', 'the value is not UTF-8')
  return bytes.toString('utf8', start, end)
}

type Fields = Readonly<Record<string, unknown>>

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)
}

function notAnEnvelope(): BadRecord {
  return new BadRecord('not_an_envelope', 'the value is not an object')
}

function fromFields(fields: Fields, tenant: string, limits: Limits, clean: boolean): Envelope {
  const payload = fields['payload']
  if (payload === undefined) throw new BadRecord('no_payload', 'the envelope has no payload')
  const tenantId = fields['tenant_id']
  if (tenantId === undefined || tenantId === null) throw new BadRecord('no_tenant', 'the envelope has no tenant_id')
  return complete(
    fields['message_id'],
    fields['type'],
    tenantId,
    tenant,
    fields['trace_id'],
    fields['causation_id'],
    fields['occurred_at'],
    fields['schema_version'],
    payload,
    limits,
    clean,
  )
}

function fromCloudEvent(
  message: EncodedMessage,
  attributes: ReadonlyMap<string, string>,
  tenant: string,
  limits: Limits,
): Envelope {
  const event = readCloudEvent(attributes)
  return complete(
    event.messageId,
    event.type,
    event.tenantId ?? tenant,
    tenant,
    event.traceId,
    event.causationId,
    event.occurredAt,
    event.schemaVersion,
    dataOf(message, limits),
    limits,
    false,
  )
}

function dataOf(message: EncodedMessage, limits: Limits): unknown {
  const { bytes, start, end, headers } = message
  if (end < 0) return null
  const format = headers.contentType.endsWith('+json') ? 'json' : formatOf(headers.contentType)
  if (format === 'json') return parseJson(textOf(message), limits.maxDepth)
  if (format === 'msgpack') return decodeMsgpack(bytes.subarray(start, end), limits.maxDepth)
  throw new BadRecord(
    'unknown_content_type',
    'the content-type of the CloudEvent’s data is neither JSON nor MessagePack',
  )
}

/** The one place where an envelope's fields are judged. */
function complete(
  messageId: unknown,
  type: unknown,
  tenantId: unknown,
  tenant: string,
  traceId: unknown,
  causationId: unknown,
  occurredAt: unknown,
  schemaVersion: unknown,
  payload: unknown,
  limits: Limits,
  /** The texts are known to hold no control characters and no half surrogate pairs. */
  clean: boolean,
): Envelope {
  const maxLength = limits.maxIdLength
  if (tenantId !== tenant)
    throw new BadRecord('tenant_mismatch', 'the envelope names another tenant than the record’s key')
  if (messageId === undefined || messageId === null)
    throw new BadRecord('no_message_id', 'the envelope has no message_id')
  if (typeof messageId !== 'string' || !isName(messageId, maxLength, clean)) {
    throw new BadRecord(
      'bad_message_id',
      `message_id must be a string of 1 to ${maxLength} characters without control characters`,
    )
  }
  if (typeof type !== 'string' || !isName(type, maxLength, clean)) {
    throw new BadRecord(
      'unknown_type',
      `type must be a string of 1 to ${maxLength} characters without control characters`,
    )
  }
  if (occurredAt !== undefined && occurredAt !== null && (typeof occurredAt !== 'string' || !isTimestamp(occurredAt))) {
    throw new BadRecord('bad_occurred_at', 'occurred_at must be an RFC 3339 timestamp with a zone')
  }
  const version = schemaVersion ?? 1
  if (typeof version !== 'number' || !Number.isInteger(version) || version < 1 || version > 0x7fffffff) {
    throw new BadRecord('unknown_version', 'schema_version must be a whole number from 1 to 2^31 - 1')
  }
  return {
    message_id: messageId,
    type,
    tenant_id: tenant,
    trace_id: typeof traceId === 'string' && isName(traceId, maxLength, clean) ? traceId : '',
    causation_id: typeof causationId === 'string' && isName(causationId, maxLength, clean) ? causationId : '',
    occurred_at: typeof occurredAt === 'string' ? occurredAt : '',
    schema_version: version,
    payload,
  }
}

function isName(text: string, maxLength: number, clean: boolean): boolean {
  return clean ? text.length > 0 && text.length <= maxLength : isWord(text, maxLength)
}

/**
 * Whether a name is fit for a key, a log line and a column: not empty, bounded, well-formed, and without the control
 * characters U+0000 to U+001F.
 */
export function isWord(text: string, maxLength: number): boolean {
  return text.length > 0 && text.length <= maxLength && text.isWellFormed() && !hasControl(text)
}

function hasControl(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    if (text.charCodeAt(i) < 0x20) return true
  }
  return false
}

function duplicateKey(): BadRecord {
  return new BadRecord('duplicate_key', 'type stands in the envelope twice: a gateway may have read the other one')
}

/** The type that was found last, and how it stands in compact JSON: most messages have the one before's. */
let lastType = ''
let lastTypeText = '"type":""'

/**
 * JSON.parse keeps the last of two equal keys. Whoever let a message pass by the first `type` must not be bypassed by a
 * second one, so an envelope with two is refused. The usual message shows at a glance that it has one: the first
 * `"type":"…"` stands before any nesting and any escape, and holds what was parsed. Only others are scanned, at about
 * 1 µs for 290 bytes. (Other fields may stand twice: the tenant is the key's, and nobody is let in by the rest.)
 */
function refuseTwoTypes(text: string, type: unknown, escaped: number): void {
  if (typeof type !== 'string') return
  if (type !== lastType) {
    lastType = type
    lastTypeText = `"type":"${type}"`
  }
  const at = text.indexOf('"type"')
  const nested = text.indexOf('{', 1)
  const plain = at >= 0 && (nested < 0 || at < nested) && (escaped < 0 || at + lastTypeText.length <= escaped)
  if (!plain || !text.startsWith(lastTypeText, at)) scanForTwoTypes(text)
}

/** Walks JSON that is known to be valid and looks at the outermost object's keys. */
function scanForTwoTypes(text: string): void {
  let seen = false
  let depth = 0
  let keyNext = false
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case 0x22: {
        const from = i
        i = endOfString(text, i + 1)
        if (!keyNext) break
        keyNext = false
        const raw = text.slice(from, i + 1)
        const isType = raw === '"type"' || (raw.includes('\\') && JSON.parse(raw) === 'type')
        if (isType && seen) throw duplicateKey()
        seen ||= isType
        break
      }
      case 0x7b:
      case 0x5b:
        keyNext = ++depth === 1
        break
      case 0x7d:
      case 0x5d:
        depth--
        break
      case 0x2c:
        keyNext = depth === 1
        break
    }
  }
}

function endOfString(text: string, from: number): number {
  let end = text.indexOf('"', from)
  while (end >= 0 && isEscaped(text, end)) end = text.indexOf('"', end + 1)
  return end < 0 ? text.length : end
}

function isEscaped(text: string, at: number): boolean {
  let slashes = 0
  while (text.charCodeAt(at - 1 - slashes) === 0x5c) slashes++
  return slashes % 2 === 1
}

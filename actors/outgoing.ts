import { cloudEventHeaders, travellingHeaders } from '../core/cloud-events.ts'
import type { PublishEffect } from '../core/effects.ts'
import { isWord, type Envelope } from '../core/envelope.ts'
import { TenantryError } from '../core/errors.ts'
import { parseJson, stringifyJson } from '../core/json.ts'
import { topicNameForm } from '../core/kafka/names.ts'
import type { Limits } from '../core/limits.ts'
import type { MessageHeaders } from '../core/message-headers.ts'
import { encodeMsgpack } from '../core/msgpack.ts'
import type { Outgoing } from './define-actor.ts'

/** Where an outgoing message comes from; all of it the same however often the incoming one runs. */
export type Origin = {
  readonly group: string
  readonly tenant: string
  readonly cause: Envelope
  readonly headers: MessageHeaders
  /** The incoming message's canonical UUID. */
  readonly causeUuid: string
  readonly now: Date
  readonly derivedId: string
}

/** The effect of publishing. Throws TENANTRY_BAD_OUTGOING, or TENANTRY_NOT_JSON for the payload. */
export function outgoing(topic: string, message: Outgoing, origin: Origin, limits: Limits): PublishEffect {
  if (typeof topic !== 'string' || !topicNameForm.test(topic)) throw bad('the topic’s name is not one that Kafka takes')
  const { format = 'json' } = message
  if (!formats.has(format)) throw bad(`format must be 'json', 'msgpack' or 'cloudevents'`)
  const messageId = message.messageId ?? origin.derivedId
  if (typeof messageId !== 'string' || !isWord(messageId, limits.maxIdLength))
    throw bad('messageId must be a string of usual characters')
  if (typeof message.type !== 'string' || !isWord(message.type, limits.maxIdLength))
    throw bad('type must be a string of usual characters')
  const version = message.schemaVersion ?? 1
  if (!Number.isInteger(version) || version < 1 || version > 0x7fffffff)
    throw bad('schemaVersion must be a whole number from 1')
  if (message.payload === undefined) throw bad('payload is undefined: give null')
  const key = keyBytes(message.key === undefined ? origin.tenant : message.key)
  const { value, headers } = encode(message, messageId, version, origin, limits)
  return { kind: 'publish', topic, messageId, key, value, headers: [...headers, ...travellingHeaders(origin.headers)] }
}

const formats = new Set(['json', 'msgpack', 'cloudevents'])

function bad(what: string): TenantryError {
  return new TenantryError('TENANTRY_BAD_OUTGOING', `a message cannot be published: ${what}`)
}

function keyBytes(key: string): Uint8Array {
  if (typeof key !== 'string' || !key.isWellFormed()) throw bad('key must be a string')
  return Buffer.from(key)
}

const jsonHeaders = [['content-type', 'application/json']] as const
const msgpackHeaders = [['content-type', 'application/msgpack']] as const

function encode(
  message: Outgoing,
  messageId: string,
  version: number,
  origin: Origin,
  limits: Limits,
): { value: Uint8Array; headers: readonly (readonly [string, string])[] } {
  const rules = { maxDepth: limits.maxDepth - 1, forPostgres: false }
  const occurredAt = origin.now.toISOString()
  if (message.format === 'cloudevents') {
    const headers = cloudEventHeaders({
      id: messageId,
      source: `/tenantry/${origin.group}`,
      type: message.type,
      tenantId: origin.tenant,
      time: occurredAt,
      contentType: 'application/json',
      schemaVersion: version,
      causationId: origin.cause.message_id,
    })
    return { value: Buffer.from(stringifyJson(message.payload, rules)), headers }
  }
  const fields = {
    message_id: messageId,
    type: message.type,
    tenant_id: origin.tenant,
    // Without a trace the first message of the chain names it, so that a rerun says the same.
    trace_id: origin.cause.trace_id === '' ? origin.causeUuid.replaceAll('-', '') : origin.cause.trace_id,
    causation_id: origin.cause.message_id,
    occurred_at: occurredAt,
    schema_version: version,
  }
  if (message.format === 'msgpack') {
    // By way of JSON, so that dates and the like become what the reader takes.
    const payload = stringifyJson(message.payload, { ...rules, readBack: true })
    if (halfPair.test(payload)) throw bad('MessagePack’s text, which is UTF-8, cannot hold half a surrogate pair')
    return { value: packed({ ...fields, payload: parseJson(payload, limits.maxDepth) }), headers: msgpackHeaders }
  }
  const payload = stringifyJson(message.payload, rules)
  return { value: Buffer.from(`${JSON.stringify(fields).slice(0, -1)},"payload":${payload}}`), headers: jsonHeaders }
}

/** As JSON.stringify writes it: an escape that no backslash before it has escaped. */
const halfPair = /(?<!\\)(?:\\\\)*\\ud[89a-f]/

function packed(value: unknown): Uint8Array {
  try {
    return encodeMsgpack(value)
  } catch (error) {
    if (error instanceof RangeError) throw bad('MessagePack’s integers have 64 bits at most')
    throw error
  }
}

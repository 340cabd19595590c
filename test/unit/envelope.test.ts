import fc from 'fast-check'
import * as assert from 'uvu/assert'
import { BadRecord } from '../../core/bad-record.ts'
import { decodeEnvelope, type Envelope } from '../../core/envelope.ts'
import type { Headers } from '../../core/kafka/source.ts'
import { defaultLimits } from '../../core/limits.ts'
import { readHeaders } from '../../core/message-headers.ts'
import { test } from '../harness.ts'

const fields = {
  message_id: '0190f3a1-7c3b-7abc-9def-0123456789ab',
  type: 'campaign.create',
  tenant_id: 'acme',
  trace_id: '4bf92f3577b34da6a3ce929d0e0e4736',
  causation_id: 'cause-1',
  occurred_at: '2026-11-25T06:00:00.000Z',
  schema_version: 2,
  payload: { budget: 5 },
}

function headersOf(headers: Readonly<Record<string, string>> | Headers): Headers {
  return isList(headers)
    ? headers
    : Object.entries(headers).map(([name, value]) => [Buffer.from(name), Buffer.from(value)])
}

function isList(headers: Readonly<Record<string, string>> | Headers): headers is Headers {
  return Array.isArray(headers)
}

function decode(
  value: Buffer | string | null,
  headers: Readonly<Record<string, string>> | Headers = {},
  tenant = 'acme',
): Envelope {
  const bytes = typeof value === 'string' ? Buffer.from(value) : (value ?? Buffer.alloc(0))
  const read = readHeaders(headersOf(headers), defaultLimits.maxHeaders)
  return decodeEnvelope(
    { bytes, start: 0, end: value === null ? -1 : bytes.length, headers: read, knownUtf8: false },
    tenant,
    defaultLimits,
  )
}

function reasonOf(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    if (error instanceof BadRecord) return error.reason
    throw error
  }
  return 'accepted'
}

/** The reason for which an envelope with these fields changed is refused. */
function changed(changes: Readonly<Record<string, unknown>>): string {
  return reasonOf(() => decode(JSON.stringify({ ...fields, ...changes })))
}

test('a whole envelope is decoded as it is', () => {
  assert.equal(decode(JSON.stringify(fields)), fields)
})

test('what is optional may be missing or null', () => {
  const { message_id, type, tenant_id, payload } = fields
  const bare = {
    message_id,
    type,
    tenant_id,
    trace_id: '',
    causation_id: '',
    occurred_at: '',
    schema_version: 1,
    payload,
  }
  assert.equal(decode(JSON.stringify({ message_id, type, tenant_id, payload })), bare)
  assert.equal(
    decode(
      JSON.stringify({
        message_id,
        type,
        tenant_id,
        payload,
        trace_id: null,
        causation_id: null,
        occurred_at: null,
        schema_version: null,
      }),
    ),
    bare,
  )
  assert.is(decode(JSON.stringify({ message_id, type, tenant_id, payload: null })).payload, null)
})

test('another tenant than the key’s is refused, even one that differs in case or spaces only', () => {
  for (const tenant_id of ['other', 'Acme', 'acme ', '']) assert.is(changed({ tenant_id }), 'tenant_mismatch')
  assert.is(changed({ tenant_id: 7 }), 'tenant_mismatch')
  assert.is(changed({ tenant_id: null }), 'no_tenant')
  assert.is(changed({ tenant_id: undefined }), 'no_tenant')
})

test('a message_id is a bounded string without control characters', () => {
  assert.is(changed({ message_id: undefined }), 'no_message_id')
  assert.is(changed({ message_id: null }), 'no_message_id')
  for (const message_id of ['', 7, {}, ['x'], true, 'a\0b', 'a\nb', '\ud800', 'x'.repeat(257), 'x'.repeat(9_000)])
    assert.is(changed({ message_id }), 'bad_message_id')
  for (const message_id of ['x', 'Ünïcode-✓', '😀', 'x'.repeat(256)]) assert.is(changed({ message_id }), 'accepted')
})

test('a type is a bounded string, also when it is called like a property of every object', () => {
  for (const type of ['', undefined, null, 5, 'a\tb', 'x'.repeat(257)]) assert.is(changed({ type }), 'unknown_type')
  for (const type of ['__proto__', 'toString', 'constructor'])
    assert.is(decode(JSON.stringify({ ...fields, type })).type, type)
})

test('occurred_at must be a moment', () => {
  for (const occurred_at of [
    'infinity',
    'yesterday',
    '2026-11-25',
    '2026-11-25T06:00:00',
    '2026-02-30T00:00:00Z',
    1764050400000,
    {},
  ]) {
    assert.is(changed({ occurred_at }), 'bad_occurred_at')
  }
  for (const occurred_at of ['0001-01-01T00:00:00Z', '9999-12-31T23:59:59.999Z', '2036-01-01T00:00:00+05:30'])
    assert.is(changed({ occurred_at }), 'accepted')
})

test('a schema_version is a whole number from 1 to 2^31 − 1', () => {
  for (const schema_version of ['1', 0, -1, 1.5, 2 ** 31, true, {}])
    assert.is(changed({ schema_version }), 'unknown_version')
  assert.is(decode(JSON.stringify(fields).replace('"schema_version":2', '"schema_version":1.0')).schema_version, 1)
})

test('a trace or causation that cannot be used is forgotten, not refused', () => {
  for (const id of ['x'.repeat(10_000), 5, 'a\0', '\ud800']) {
    const envelope = decode(JSON.stringify({ ...fields, trace_id: id, causation_id: id }))
    assert.is(envelope.trace_id, '')
    assert.is(envelope.causation_id, '')
  }
})

test('what is no object is no envelope', () => {
  for (const text of ['""', 'null', '[]', '42', 'true', '"{}"'])
    assert.is(
      reasonOf(() => decode(text)),
      'not_an_envelope',
    )
  for (const text of ['', ' ', '{', '{}{}', '\ufeff{}'])
    assert.is(
      reasonOf(() => decode(text)),
      'bad_json',
    )
  assert.is(
    reasonOf(() => decode('{}')),
    'no_payload',
  )
  assert.is(
    reasonOf(() => decode(null)),
    'null_value',
  )
})

test('bytes that are not UTF-8 are refused, never altered', () => {
  const text = JSON.stringify({ ...fields, payload: { name: 'X' } })
  const at = text.indexOf('X')
  for (const wrong of [[0xff], [0xc3], [0xed, 0xa0, 0x80], [0xc0, 0x80], [0xf5, 0x80, 0x80, 0x80]]) {
    const bytes = Buffer.concat([Buffer.from(text.slice(0, at)), Buffer.from(wrong), Buffer.from(text.slice(at + 1))])
    assert.is(
      reasonOf(() => decode(bytes)),
      'bad_utf8',
    )
  }
})

test('a NUL or half a surrogate pair within the payload reaches the handler as it is', () => {
  assert.equal(decode(JSON.stringify({ ...fields, payload: { a: '\0', b: '\ud800' } })).payload, {
    a: '\0',
    b: '\ud800',
  })
})

test('size, depth and headers have limits', () => {
  assert.is(changed({ payload: 'x'.repeat(defaultLimits.maxPayloadBytes) }), 'too_large')
  let payload: unknown = 1
  for (let i = 0; i < defaultLimits.maxDepth; i++) payload = [payload]
  assert.is(changed({ payload }), 'too_deep')
  const many: Headers = Array.from({ length: 10_000 }, () => [Buffer.from('x'), null])
  assert.is(
    reasonOf(() => decode(JSON.stringify(fields), many)),
    'too_many_headers',
  )
})

test('a second type is refused, wherever it hides', () => {
  const twice = (text: string) => reasonOf(() => decode(text))
  const rest = '"tenant_id":"acme","payload":{}'
  assert.is(twice(`{"type":"a","type":"a","message_id":"1",${rest}}`), 'accepted')
  assert.is(twice(`{"message_id":"1","type":"a",${rest},"type":"b"}`), 'duplicate_key')
  assert.is(twice(`{"message_id":"1","ty\\u0070e":"a","type":"b",${rest}}`), 'duplicate_key')
  assert.is(
    twice(`{"payload":{"type":"b"},"message_id":"1","type":"a","tenant_id":"acme","type":"b"}`),
    'duplicate_key',
  )
  assert.is(twice(`{"x":"\\"type\\":\\"b\\"","message_id":"1","type":"a",${rest},"type":"b"}`), 'duplicate_key')
})

test('the same keys within the payload or in strings are nobody’s twins', () => {
  const one = (text: string) => reasonOf(() => decode(text))
  assert.is(
    one('{"payload":{"type":"x","message_id":"y","tenant_id":"z"},"message_id":"1","type":"a","tenant_id":"acme"}'),
    'accepted',
  )
  assert.is(
    one('{"message_id":"1","type":"a","tenant_id":"acme","payload":[{"type":"\\"type\\":"},{"type":2}]}'),
    'accepted',
  )
  assert.is(one(' { "payload" : "\\\\" , "type" : "a" , "message_id" : "1" , "tenant_id" : "acme" } '), 'accepted')
})

test('any JSON object with distinct keys passes for what it is, whatever their order and spacing', () => {
  const payloads = fc.jsonValue({ maxDepth: 3 }).filter((value) => !hasLargeInteger(value))
  fc.assert(
    fc.property(
      payloads,
      fc.shuffledSubarray(Object.keys(fields), { minLength: 8, maxLength: 8 }),
      fc.constantFrom(0, 1),
      (payload, order, spaces) => {
        const shuffled = Object.fromEntries(
          order.map((key) => [key, key === 'payload' ? payload : Reflect.get(fields, key)]),
        )
        const text = JSON.stringify(shuffled, null, spaces)
        const reason = reasonOf(() =>
          assert.equal(decode(text).payload, Reflect.get(Object(JSON.parse(text)), 'payload')),
        )
        assert.ok(reason === 'accepted' || reason === 'bad_key', reason)
      },
    ),
  )
})

function hasLargeInteger(value: unknown): boolean {
  if (typeof value === 'number') return Number.isInteger(value) && !Number.isSafeInteger(value)
  return typeof value === 'object' && value !== null && Object.values(value).some(hasLargeInteger)
}

test('no bytes whatever make the decoder do anything but decode or refuse', () => {
  const seeds = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc.string().map((text) => Buffer.from(text)),
    mutatedEnvelopes(),
  )
  const types = fc.constantFrom({}, { 'content-type': 'application/msgpack' }, { 'content-type': 'application/json' })
  fc.assert(
    fc.property(seeds, types, (bytes, headers) => {
      reasonOf(() => decode(Buffer.from(bytes), headers))
      assert.is(Reflect.get({}, 'polluted'), undefined)
    }),
    { numRuns: 3_000 },
  )
})

function mutatedEnvelopes(): fc.Arbitrary<Uint8Array> {
  const bytes = Buffer.from(JSON.stringify(fields))
  return fc
    .tuple(fc.nat(bytes.length - 1), fc.uint8Array({ maxLength: 4 }), fc.nat(4))
    .map(([at, insert, remove]) => Buffer.concat([bytes.subarray(0, at), insert, bytes.subarray(at + remove)]))
}

test('the content-type decides, its parameters and case do not', () => {
  const json = JSON.stringify(fields)
  for (const type of [
    'application/json',
    'Application/JSON; charset=UTF-8',
    'application/json;charset="utf-8"',
    'text/json',
  ]) {
    assert.is(
      reasonOf(() => decode(json, { 'Content-Type': type })),
      'accepted',
    )
  }
  assert.is(
    reasonOf(() => decode(json, { 'content-type': 'application/json; charset=latin1' })),
    'bad_content',
  )
  for (const type of ['application/xml', 'application/octet-stream', 'json'])
    assert.is(
      reasonOf(() => decode(json, { 'content-type': type })),
      'unknown_content_type',
    )
  assert.is(
    reasonOf(() => decode(json, { 'content-type': 'application/msgpack' })),
    'bad_msgpack',
  )
})

test('a content-type that stands twice is taken when both agree and refused when not', () => {
  const twice = (a: string, b: string): Headers => [
    [Buffer.from('content-type'), Buffer.from(a)],
    [Buffer.from('Content-Type'), Buffer.from(b)],
  ]
  const json = JSON.stringify(fields)
  assert.is(
    reasonOf(() => decode(json, twice('application/json', 'application/json'))),
    'accepted',
  )
  assert.is(
    reasonOf(() => decode(json, twice('application/json', 'application/msgpack'))),
    'duplicate_header',
  )
})

test('a message that has come through more than 64 actors is taken to cause itself', () => {
  const json = JSON.stringify(fields)
  assert.is(
    reasonOf(() => decode(json, { 'tenantry-hops': '64' })),
    'accepted',
  )
  assert.is(
    reasonOf(() => decode(json, { 'tenantry-hops': '65' })),
    'too_many_hops',
  )
})

test('a trace context is carried when it is well formed and forgotten when it is hostile or doubled', () => {
  const good = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
  const read = (headers: Headers) => readHeaders(headers, 10).traceparent
  assert.is(read([[Buffer.from('traceparent'), Buffer.from(good)]]), good)
  for (const bad of [
    '',
    'x',
    '00-00000000000000000000000000000000-00f067aa0ba902b7-01',
    'x'.repeat(5_000),
    good.toUpperCase(),
  ]) {
    assert.is(read([[Buffer.from('traceparent'), Buffer.from(bad)]]), '')
  }
  assert.is(
    read([
      [Buffer.from('traceparent'), Buffer.from(good)],
      [Buffer.from('traceparent'), Buffer.from(good)],
    ]),
    '',
  )
})

test('a tracestate travels with a good trace context, and is forgotten where it holds control characters', () => {
  const good: Headers[number] = [
    Buffer.from('traceparent'),
    Buffer.from('00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'),
  ]
  const read = (state: string) => readHeaders([good, [Buffer.from('tracestate'), Buffer.from(state)]], 10)
  assert.is(read('a=b,c=d').tracestate, 'a=b,c=d')
  for (const bad of ['a=\0b', 'a=b\r\nx: y', 'a=\x7f']) {
    assert.is(read(bad).tracestate, '')
    assert.is.not(read(bad).traceparent, '')
  }
})

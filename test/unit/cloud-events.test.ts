import { CloudEvent, Kafka, type KafkaMessage } from 'cloudevents'
import * as assert from 'uvu/assert'
import { defineActor } from '../../actors/define-actor.ts'
import { testActor } from '../../actors/testing.ts'
import { BadRecord } from '../../core/bad-record.ts'
import { decodeEnvelope, type Envelope } from '../../core/envelope.ts'
import type { Headers } from '../../core/kafka/source.ts'
import { defaultLimits } from '../../core/limits.ts'
import { readHeaders } from '../../core/message-headers.ts'
import { test } from '../harness.ts'
import { anything } from '../schemas.ts'

const uuid = '0190f3a1-7c3b-7abc-9def-0123456789ab'

function decode(message: KafkaMessage<unknown>, tenant = 'acme'): Envelope {
  // The SDK leaves headers undefined that an event has not; a producer does not send those.
  const present = Object.entries(message.headers).filter(([, value]) => value !== undefined)
  const headers: Headers = present.map(([name, value]) => [Buffer.from(name), Buffer.from(String(value))])
  const bytes = Buffer.from(typeof message.value === 'string' ? message.value : JSON.stringify(message.value))
  return decodeEnvelope(
    { bytes, start: 0, end: bytes.length, headers: readHeaders(headers, 100), knownUtf8: false },
    tenant,
    defaultLimits,
  )
}

const event = {
  specversion: '1.0',
  id: uuid,
  source: '/billing',
  type: 'invoice.paid',
  time: '2026-11-25T06:00:00.000Z',
  partitionkey: 'acme',
  data: { amount: 5 },
}

test('an event that the CloudEvents SDK writes in binary mode becomes an envelope', () => {
  assert.equal(decode(Kafka.binary(new CloudEvent({ ...event, causationid: 'c-1', schemaversion: 3 }))), {
    message_id: uuid,
    type: 'invoice.paid',
    tenant_id: 'acme',
    trace_id: '',
    causation_id: 'c-1',
    occurred_at: '2026-11-25T06:00:00.000Z',
    schema_version: 3,
    payload: { amount: 5 },
  })
})

test('an id that is unique only within its source is known by both', () => {
  assert.is(decode(Kafka.binary(new CloudEvent({ ...event, id: '17' }))).message_id, '/billing#17')
})

test('an event that names another tenant is refused, one that names none is the key’s', () => {
  assert.throws(
    () => decode(Kafka.binary(new CloudEvent({ ...event, partitionkey: 'other' }))),
    (error: unknown) => error instanceof BadRecord && error.reason === 'tenant_mismatch',
  )
  const { partitionkey: _, ...free } = event
  assert.is(decode(Kafka.binary(new CloudEvent(free))).tenant_id, 'acme')
})

test('another specversion or a missing attribute is refused', () => {
  const read = (headers: Record<string, string>) => () => decode({ headers, value: '{}', key: 'acme', body: '{}' })
  const bad = (error: unknown) => error instanceof BadRecord && error.reason === 'bad_cloud_event'
  assert.throws(read({ ce_specversion: '0.3', ce_id: uuid, ce_source: '/b', ce_type: 't' }), bad)
  assert.throws(read({ ce_specversion: '1.0', ce_source: '/b', ce_type: 't' }), bad)
  assert.throws(read({ ce_specversion: '1.0', ce_id: uuid, ce_source: '/b', ce_type: '' }), bad)
})

test('an event that tenantry writes is read by the SDK and passes its validation', async () => {
  const actor = defineActor({
    group: 'billing',
    topic: 'core.commands.v1',
    messages: { pay: anything },
    receive: (_message, ctx) =>
      ctx.publish('core.events.v1', {
        type: 'invoice.paid',
        payload: { amount: 5 },
        format: 'cloudevents',
        schemaVersion: 2,
      }),
  })
  const { published, failure } = await testActor(actor).send({
    type: 'pay',
    payload: {},
    tenant_id: 'acme',
    message_id: uuid,
  })
  assert.is(failure, undefined)
  const [sent] = published
  assert.ok(sent)
  const message: KafkaMessage<string> = {
    headers: { ...sent.headers },
    value: JSON.stringify(sent.value),
    key: sent.key,
    body: '',
  }
  const read = Kafka.toEvent(message)
  assert.ok(read instanceof CloudEvent)
  assert.ok(read.validate())
  assert.is(read.id, sent.messageId)
  assert.is(read.type, 'invoice.paid')
  assert.is(read.source, '/tenantry/billing')
  assert.is(read['partitionkey'], 'acme')
  assert.is(read['causationid'], uuid)
  assert.equal(read.data, { amount: 5 })
})

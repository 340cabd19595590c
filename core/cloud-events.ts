import { BadRecord } from './bad-record.ts'
import { canonicalUuid, timeOfId } from './message-id.ts'
import { hopsHeader, type MessageHeaders } from './message-headers.ts'

/**
 * CloudEvents 1.0 in Kafka's binary mode: the attributes are ce_ headers, the value is the data alone. The envelope's
 * words map to `id` (with `source`), `type`, `time`, and the extensions partitionkey or tenantid, causationid and
 * schemaversion.
 */

/** What the ce_ headers give of an envelope; the payload is the value. Undefined where the event does not say. */
export type CloudEventAttributes = {
  readonly messageId: string
  readonly type: string
  readonly tenantId: string | undefined
  readonly traceId: string | undefined
  readonly causationId: string | undefined
  readonly occurredAt: string | undefined
  readonly schemaVersion: number | undefined
}

/** Throws BadRecord `bad_cloud_event` for another version of the specification or a required attribute that is missing. */
export function readCloudEvent(attributes: ReadonlyMap<string, string>): CloudEventAttributes {
  const version = attributes.get('specversion')
  if (version !== '1.0') throw new BadRecord('bad_cloud_event', 'the CloudEvent is not of specversion 1.0')
  const id = required(attributes, 'id')
  const source = required(attributes, 'source')
  const schemaVersion = attributes.get('schemaversion')
  if (schemaVersion !== undefined && !/^[0-9]{1,10}$/.test(schemaVersion)) {
    throw new BadRecord('unknown_version', 'ce_schemaversion is not a whole number')
  }
  return {
    // An event is identified by source and id together. UUIDs and ULIDs are unique by themselves and keep their time.
    messageId: canonicalUuid(id) !== undefined || timeOfId(id) >= 0 ? id : `${source}#${id}`,
    type: required(attributes, 'type'),
    tenantId: attributes.get('tenantid') ?? attributes.get('partitionkey'),
    traceId: attributes.get('traceid'),
    causationId: attributes.get('causationid'),
    occurredAt: attributes.get('time'),
    schemaVersion: schemaVersion === undefined ? undefined : Number(schemaVersion),
  }
}

function required(attributes: ReadonlyMap<string, string>, name: string): string {
  const value = attributes.get(name)
  if (value === undefined || value === '') throw new BadRecord('bad_cloud_event', `the CloudEvent has no ${name}`)
  return value
}

/** A message to be written as a CloudEvent. */
export type OutgoingCloudEvent = {
  readonly id: string
  /** Identifies the producer: `/tenantry/<group>`. */
  readonly source: string
  readonly type: string
  readonly tenantId: string
  readonly time: string
  readonly contentType: string
  readonly schemaVersion: number
  readonly causationId: string
}

/** The headers of a CloudEvent in binary mode. */
export function cloudEventHeaders(event: OutgoingCloudEvent): readonly (readonly [name: string, value: string])[] {
  return [
    ['ce_specversion', '1.0'],
    ['ce_id', event.id],
    ['ce_source', event.source],
    ['ce_type', event.type],
    ['ce_time', event.time],
    ['ce_partitionkey', event.tenantId],
    ['ce_causationid', event.causationId],
    ['ce_schemaversion', String(event.schemaVersion)],
    ['content-type', event.contentType],
  ]
}

/** Headers that follow a message from actor to actor, whatever its format. */
export function travellingHeaders(incoming: MessageHeaders): readonly (readonly [name: string, value: string])[] {
  const hops: readonly [string, string] = [hopsHeader, String(incoming.hops + 1)]
  if (incoming.traceparent === '') return [hops]
  const trace: readonly [string, string] = ['traceparent', incoming.traceparent]
  return incoming.tracestate === '' ? [hops, trace] : [hops, trace, ['tracestate', incoming.tracestate]]
}

import { isUtf8 } from 'node:buffer'
import type { Failure } from '../core/effects.ts'
import type { KafkaRecord } from '../core/kafka/source.ts'

/** Whose a record is: the tenant's bytes as a map key, and as text; or why it is nobody's. */
export type Route = { readonly key: string; readonly tenant: string } | { readonly failure: Failure }

export type RouteOptions = {
  /** Take the tenant from this header instead of the record's key. */
  readonly tenantHeader: string | null
  readonly maxIdLength: number
}

/** The key of the mailbox for records without a tenant: not latin1, so no tenant's bytes can be it. */
export const nobody = '\u{fffd}nobody'

/**
 * Finds the tenant without decoding the value. The key is the bytes themselves (latin1 is one character a byte): what
 * differs in bytes is never one tenant, whatever a decoder makes of it.
 */
export function route(record: KafkaRecord, options: RouteOptions): Route {
  const bytes = options.tenantHeader === null ? record.key : headerOf(record, options.tenantHeader)
  if (bytes === null || bytes.length === 0) return refused('no_tenant', 'The record has no key, so no tenant.')
  if (bytes.length > options.maxIdLength) {
    return refused('tenant_too_long', `The tenant has ${bytes.length} bytes; ${options.maxIdLength} are allowed.`)
  }
  const key = bytes.toString('latin1')
  // Most keys are ASCII, whose text is the same in both; each call into the runtime costs as much as all of this loop.
  let plain = true
  for (let i = 0; i < key.length && plain; i++) {
    const code = key.charCodeAt(i)
    plain = code !== 0 && code < 0x80
  }
  if (plain) return { key, tenant: key }
  if (!isUtf8(bytes) || bytes.includes(0)) return refused('bad_tenant', 'The tenant is not UTF-8 text, or holds a NUL.')
  return { key, tenant: bytes.toString() }
}

/** The key of a tenant's mailbox, as `route` gives it for records. */
export function mailboxKey(tenant: string): string {
  return Buffer.from(tenant).toString('latin1')
}

/** The last header of that name, as Kafka's own `lastHeader` has it. */
function headerOf(record: KafkaRecord, name: string): Buffer | null {
  let found: Buffer | null = null
  for (const [key, value] of record.headers) if (key.toString() === name) found = value
  return found
}

function refused(reason: string, message: string): Route {
  return { failure: { reason, message, errorClass: '', stack: '', kind: 'bad-record' } }
}

/** What a record costs in memory while it is ours: its bytes, and about 200 for the objects around them. */
export function sizeOf(record: KafkaRecord): number {
  let bytes = 200 + (record.size ?? (record.key?.length ?? 0) + (record.value?.length ?? 0))
  if (record.headers.length > 0)
    for (const [name, value] of record.headers) bytes += name.length + (value?.length ?? 0) + 32
  return bytes
}

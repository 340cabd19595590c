import * as assert from 'uvu/assert'
import type { KafkaRecord } from '../../core/kafka/source.ts'
import { mailboxKey, nobody, route, type RouteOptions } from '../../supervisors/route.ts'
import { test } from '../harness.ts'

const byKey: RouteOptions = { tenantHeader: null, maxIdLength: 8 }
const byHeader: RouteOptions = { tenantHeader: 'tenant', maxIdLength: 8 }

function record(key: Buffer | null, headers: KafkaRecord['headers'] = []): KafkaRecord {
  return { offset: 0, timestamp: 0, key, value: Buffer.from('not looked at'), headers }
}

/** The tenant, or why there is none. */
function tenantOf(key: Buffer | string | null, options = byKey, headers: KafkaRecord['headers'] = []): string {
  const found = route(record(typeof key === 'string' ? Buffer.from(key) : key, headers), options)
  return 'failure' in found ? `${found.failure.kind}: ${found.failure.reason}` : `tenant ${found.tenant}`
}

test('the tenant is the key, whatever its bytes, and what is no text of the allowed length is nobody’s', () => {
  for (const key of ['acme', ' acme', 'ACME', 'größe', '😀', 'a\nb', 'sys.a', '10'])
    assert.is(tenantOf(key), `tenant ${key}`)
  assert.is(tenantOf(null), 'bad-record: no_tenant')
  assert.is(tenantOf(''), 'bad-record: no_tenant')
  assert.is(tenantOf('a'.repeat(8)), `tenant ${'a'.repeat(8)}`)
  assert.is(tenantOf('a'.repeat(9)), 'bad-record: tenant_too_long')
  assert.is(tenantOf('ö'.repeat(5)), 'bad-record: tenant_too_long', 'bytes count')
  for (const bytes of [[0xff], [0x61, 0x00], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xc3]])
    assert.is(tenantOf(Buffer.from(bytes)), 'bad-record: bad_tenant', String(bytes))
})

test('what differs in bytes is never one mailbox, and nobody’s is no tenant’s', () => {
  // Two ways to write é, and what a lenient decoder would make of broken bytes.
  const keys = ['\u00e9', 'e\u0301', '\ufffd', 'a', 'A', 'Ã©'].map((tenant) => {
    const found = route(record(Buffer.from(tenant)), byKey)
    assert.ok('key' in found)
    assert.is(found.key, mailboxKey(tenant), 'what is read back finds the same mailbox')
    return found.key
  })
  assert.is(new Set([...keys, nobody]).size, keys.length + 1)
  assert.ok(!/^[\0-\xff]*$/.test(nobody), 'no bytes as latin1 are it')
})

test('where configuration names a header, its last value is the tenant, and the key is not looked at', () => {
  const tenant = (value: string | null): KafkaRecord['headers'][number] => [
    Buffer.from('tenant'),
    value === null ? null : Buffer.from(value),
  ]
  assert.is(tenantOf('key', byHeader, [tenant('a')]), 'tenant a')
  assert.is(tenantOf(null, byHeader, [tenant('a'), [Buffer.from('Tenant'), Buffer.from('x')], tenant('b')]), 'tenant b')
  for (const headers of [[], [tenant(null)], [tenant('')], [tenant('a'), tenant(null)]])
    assert.is(tenantOf('key', byHeader, headers), 'bad-record: no_tenant')
})

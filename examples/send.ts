import { randomUUID } from 'node:crypto'
import { exitCodeOf } from '../cli/exit.ts'
import { data, tellError } from '../cli/output.ts'
import { TenantryError } from '../core/errors.ts'
import { deliver } from './deliver.ts'

// node tools/up.mjs examples/send.ts TOPIC TENANT TYPE PAYLOAD: sends one message to the Kafka of KAFKA_BROKERS, and
// prints its id.

try {
  const [topic, tenant, type, json] = process.argv.slice(2)
  if (topic === undefined || tenant === undefined || type === undefined || json === undefined)
    throw usage('send.ts wants TOPIC TENANT TYPE PAYLOAD')
  const id = randomUUID()
  const value = JSON.stringify({ message_id: id, type, tenant_id: tenant, payload: payloadOf(json) })
  await deliver([{ topic, key: Buffer.from(tenant), value: Buffer.from(value), headers: [] }])
  data(id)
} catch (error) {
  tellError(error, false)
  process.exitCode = exitCodeOf(error)
}

function payloadOf(json: string): unknown {
  try {
    return JSON.parse(json)
  } catch (error) {
    throw usage('The payload is not JSON', error)
  }
}

function usage(what: string, cause?: unknown): TenantryError {
  const example = `examples/send.ts greetings.v1 acme greet '{"name":"Ada"}'`
  return new TenantryError('TENANTRY_USAGE', `${what}, as in: ${example}`, {}, { cause })
}

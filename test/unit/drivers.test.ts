import * as assert from 'uvu/assert'
import { systemClock } from '../../core/clock.ts'
import { TenantryError } from '../../core/errors.ts'
import { createSource } from '../../core/kafka/drivers.ts'
import { silentLog } from '../../core/log.ts'
import { test } from '../harness.ts'

const options = {
  bootstrap: ['127.0.0.1:1'],
  clientId: 'drivers',
  group: 'drivers',
  topics: ['drivers'],
  protocol: 'consumer',
  sessionTimeoutMs: 10_000,
  releaseTimeoutMs: 5_000,
  maxFetchBytes: 1_048_576,
  clock: systemClock,
  log: silentLog,
} as const

const codeOf = async (work: () => unknown): Promise<string> => {
  try {
    await work()
    return ''
  } catch (error) {
    return error instanceof TenantryError ? error.code : String(error)
  }
}

test('driver settings that would break a guarantee are refused, others pass', async () => {
  for (const setting of ['enable.auto.commit', 'auto.offset.reset', 'isolation.level', 'group.id']) {
    assert.is(
      await codeOf(() => createSource({ ...options, driver: 'platformatic', passThrough: { [setting]: true } })),
      'TENANTRY_KAFKA_OPTION_REFUSED',
      setting,
    )
  }
  const source = await createSource({
    ...options,
    driver: 'platformatic',
    passThrough: { 'socket.send.buffer.bytes': 65_536 },
  })
  await source.stop()
})

test('without the addon auto takes the driver in TypeScript, and confluent is an error that says what to do', async () => {
  process.env['TENANTRY_NO_ADDON'] = '1'
  try {
    const source = await createSource({ ...options, driver: 'auto' })
    assert.is(source.constructor.name, 'PlatformaticSource')
    await source.stop()
    assert.is(await codeOf(() => createSource({ ...options, driver: 'confluent' })), 'TENANTRY_DRIVER_UNAVAILABLE')
  } finally {
    delete process.env['TENANTRY_NO_ADDON']
  }
})

import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Admin } from '@platformatic/kafka'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { checkout } from '../../cli/dev/programs.ts'
import { type Services, startServices } from '../../cli/dev/services.ts'
import { after, before, test } from '../harness.ts'
import { eventually, freshDatabase, freshTopic } from '../services.ts'

const dir = mkdtempSync(join(tmpdir(), 'tenantry-services-'))
let services: Services

before(async () => {
  leaveOver()
  services = await startServices({ dir, brokers: 3 })
})

/** What a start leaves that was killed half-way: a broker's folder formatted, others under way, a record cut off. */
function leaveOver(): void {
  for (const folder of ['kafka-1/data.tmp7', 'kafka-2/data', 'postgres.tmp7'])
    mkdirSync(join(dir, folder), { recursive: true })
  writeFileSync(join(dir, 'kafka-2/data/meta.properties'), 'version=1\nnode.id=2\n')
  writeFileSync(join(dir, 'postgres.tmp7/PG_VERSION'), '18\n')
  writeFileSync(join(dir, 'kafka-1.json'), '{"pid":')
  writeFileSync(join(dir, 'ports.json'), '')
  writeFileSync(join(dir, 'lock'), JSON.stringify({ pid: process.pid, start: 'another boot/1' }))
}

test('what a start has left that was killed half-way is repaired, and gone', () => {
  assert.ok(services.all.every((service) => service.pid() !== undefined))
  const left = readdirSync(dir, { recursive: true, encoding: 'utf8' }).filter((name) => name.includes('.tmp'))
  assert.equal(left, [])
})

after(() => services.wipe())

test('three brokers keep three copies of a partition, two of them in sync at least', async () => {
  const topic = await freshTopic({ kafka: services.kafkaAddress, partitions: 3, replicas: 3 })
  const admin = new Admin({ clientId: 'test', bootstrapBrokers: services.kafkaAddress.split(',') })
  try {
    const { topics } = await admin.metadata({ topics: [topic], forceUpdate: true })
    assert.equal(
      topics.get(topic)?.partitions.map((partition) => partition.replicas.length),
      [3, 3, 3],
    )
    const [found] = await admin.describeConfigs({ resources: [{ resourceType: 2, resourceName: topic }] })
    assert.is(found?.configs.find((config) => config.name === 'min.insync.replicas')?.value, '2')
  } finally {
    await admin.close()
  }
})

test('starting again finds the same servers, in well under a second', async () => {
  const pids = services.all.map((service) => service.pid())
  const again = await startServices({ dir, brokers: 3 })
  assert.equal(
    again.all.map((service) => service.pid()),
    pids,
  )
  assert.is(again.kafkaAddress, services.kafkaAddress)
})

test('another number of brokers on the same data is refused', async () => {
  try {
    await startServices({ dir, brokers: 1 })
    assert.unreachable()
  } catch (error) {
    assert.ok(error instanceof Error && 'code' in error && error.code === 'TENANTRY_DEV_BROKERS')
  }
})

test('a killed broker comes back on its port, with its data', async () => {
  const broker = services.kafka(2)
  const address = broker.address
  await broker.kill()
  assert.is(broker.pid(), undefined)
  await broker.start()
  await services.kafkaComplete()
  assert.is(broker.address, address)
})

test('PostgreSQL keeps its data through kill -9, and is repaired by the next start', async () => {
  const first = postgres(services.postgresUrl, { max: 1 })
  await first`create table kept as select 42 as answer`
  await first.end()
  await services.postgres.kill()
  const again = await startServices({ dir, brokers: 3 })
  const second = postgres(again.postgresUrl, { max: 1 })
  assert.equal([...(await second`select answer from kept`)], [{ answer: 42 }])
  await second.end()
})

test('PostgreSQL is durable: fsync, full_page_writes and synchronous_commit are on', async () => {
  const sql = postgres(services.postgresUrl, { max: 1 })
  const rows =
    await sql`select name, setting from pg_settings where name in ('fsync', 'full_page_writes', 'synchronous_commit') order by name`
  assert.equal(
    [...rows],
    ['fsync', 'full_page_writes', 'synchronous_commit'].map((name) => ({ name, setting: 'on' })),
  )
  await sql.end()
})

test('a frozen PostgreSQL answers nothing, backends included, until it is thawed', async () => {
  const sql = postgres(services.postgresUrl, { max: 1 })
  await sql`select 1`
  services.postgres.pause()
  let answered = false
  const query = sql`select 1`.then(() => (answered = true))
  await new Promise((resolve) => setTimeout(resolve, 300))
  assert.is(answered, false)
  services.postgres.resume()
  await query
  await sql.end()
})

test('stop leaves nothing running, and the ports stay the same at the next start', async () => {
  const pids = services.all.map((service) => service.pid())
  const addresses = services.all.map((service) => service.address)
  await services.stop()
  for (const pid of pids) assert.is(spawnSync('kill', ['-0', String(pid)]).status === 0 && !isZombie(pid), false)
  services = await startServices({ dir, brokers: 3 })
  assert.equal(
    services.all.map((service) => service.address),
    addresses,
  )
})

test('a test run whose cluster does not come up leaves nothing of it', () => {
  const programs = join(dir, 'programs')
  mkdirSync(programs)
  writeFileSync(join(programs, 'java'), '#!/bin/sh\nexit 1\n', { mode: 0o755 })
  const { JAVA_HOME: _, PATH = '', ...env } = process.env
  const { pid, status, stdout } = spawnSync(process.execPath, [join(checkout, 'test/run.ts'), 'test/integration/cli'], {
    encoding: 'utf8',
    env: { ...env, PATH: `${programs}:${PATH}` },
  })
  assert.is(status, 1, stdout)
  assert.match(stdout, 'the tests could not be run')
  assert.not(existsSync(join(checkout, '.tenantry', `test-${pid}`)))
})

test('a fresh database of the shared server is empty, and is gone once dropped', async () => {
  const { url, drop } = await freshDatabase()
  const sql = postgres(url, { max: 1 })
  assert.equal([...(await sql`select tablename from pg_tables where schemaname = 'public'`)], [])
  await sql.end()
  await drop()
  await eventually(async () => {
    const gone = postgres(url, { max: 1 })
    try {
      await gone`select 1`
      return false
    } catch {
      return true
    } finally {
      await gone.end({ timeout: 1 })
    }
  })
})

test('wiping removes servers, data and folder', async () => {
  await services.wipe()
  assert.is(existsSync(dir), false)
  assert.ok(services.all.every((service) => service.pid() === undefined))
})

function isZombie(pid: number | undefined): boolean {
  return spawnSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' }).stdout.startsWith('Z')
}

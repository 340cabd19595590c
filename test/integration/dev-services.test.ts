import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { z } from 'zod'
import { devAddresses, devDown, devLogs, devStatus, devUp } from '../../cli/dev/dev.ts'
import { loadConfig } from '../../core/config/load.ts'
import { prepareDev } from '../../cli/dev/prepare.ts'
import { after, test } from '../harness.ts'
import { checkout } from '../runner/runtimes.ts'

// Java tears settings at commas, and reads other letters as Latin ones.
const root = mkdtempSync(join(tmpdir(), 'tenantry dev, für å-'))
const addresses = z.object({ kafka: z.string(), postgres: z.string(), redis: z.string() })

after(async () => {
  await devDown({ root, wipe: true })
  rmSync(root, { recursive: true, force: true })
})

async function upInAnotherProcess(): Promise<z.infer<typeof addresses>> {
  const fixture = join(checkout, 'test/fixtures/set-up/dev-up.ts')
  const env = { ...process.env, LC_ALL: 'C' } // in which Java knows no other letters at all
  const { stdout } = await promisify(execFile)(process.execPath, [fixture, root], { env })
  return addresses.parse(JSON.parse(stdout))
}

test('nothing runs before the first up', async () => {
  assert.equal(await devStatus({ root }), [])
  assert.is(await devAddresses({ root }), undefined)
})

test('two programs that start the servers at once, in whatever folder, get the same ones, and they outlive both', async () => {
  const [first, second] = await Promise.all([upInAnotherProcess(), upInAnotherProcess()])
  assert.equal(first, second)
  assert.equal(await devAddresses({ root }), first)
  assert.ok((await devStatus({ root })).every((service) => service.running))
})

test('topics and schema are there after preparing, and preparing again changes nothing', async () => {
  const { config } = loadConfig({ env: {}, needs: [], cwd: root })
  const where = await devUp({ root })
  await prepareDev(where, config)
  await prepareDev(where, config)
  const sql = postgres(where.postgres, { max: 1 })
  const [found] = await sql`select count(*)::int as tables from pg_tables where schemaname = 'sys'`
  assert.ok(Number(found?.['tables']) > 3)
  await sql.end()
})

test('logs are shown by name, and an unknown name is answered with those that there are', () => {
  assert.match(devLogs('postgres', { root }), /ready to accept connections/)
  assert.throws(() => devLogs('kafka-7', { root }), /There are: kafka-1, postgres, redis/)
})

test('data are still there after down and up, and gone after a wipe', async () => {
  await devDown({ root })
  assert.ok((await devStatus({ root })).every((service) => !service.running))
  const where = await devUp({ root })
  const sql = postgres(where.postgres, { max: 1 })
  const [found] = await sql`select count(*)::int as tables from pg_tables where schemaname = 'sys'`
  assert.ok(Number(found?.['tables']) > 3)
  await sql.end()
  await devDown({ root, wipe: true })
  assert.is(existsSync(join(root, '.tenantry/dev')), false)
})

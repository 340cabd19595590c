// runtimes: node, bun
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { z } from 'zod'
import { httpGet } from '../../core/http-get.ts'
import { migrateUp } from '../../core/postgres/migrate.ts'
import { writeActor } from '../actor-folder.ts'
import { after, before, test } from '../harness.ts'
import { eventually, type FreshDatabase, freshDatabase, kafkaAddress } from '../services.ts'
import { runCli, startCli } from '../spawn-cli.ts'

// What a daemon cannot do without is waited for at start: it runs, is not ready, and says what it is.

const name = `waits.${randomBytes(4).toString('hex')}`
const login = `waits_${randomBytes(4).toString('hex')}`
let folder = ''
let database: FreshDatabase
let sql: postgres.Sql

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tenantry-waits-'))
  database = await freshDatabase()
  await migrateUp(database.url)
  sql = postgres(database.url, { max: 1, onnotice() {} })
  await sql`create role ${sql(login)} login`
  writeActor(
    folder,
    'idle',
    `import { defineActor } from 'tenantry'
import { z } from 'zod'
export default defineActor({ group: '${name}', topic: '${name}', messages: { go: z.object({}) }, receive() {} })
`,
  )
  writeFileSync(
    join(folder, 'tenantry.yml'),
    `kafka: { brokers: "\${BROKERS}" }\ntopics: { ${name}: { partitions: 2 } }\ngroups: { ${name}: { start: earliest } }\nhttp: { port: 0 }\ndeadLetters: { topic: off }\nworkers: { count: 1 }\n`,
  )
})

after(async () => {
  await sql`drop role ${sql(login)}`
  await sql.end({ timeout: 1 })
  await database.drop()
  rmSync(folder, { recursive: true, force: true })
})

const readiness = z.object({ ready: z.boolean(), reasons: z.array(z.string()) })

test(
  'a right in PostgreSQL, and then a topic, are waited for and named, and the daemon goes on when they are there',
  async () => {
    const url = new URL(database.url)
    url.username = login
    const env = { BROKERS: kafkaAddress(), DATABASE_URL: url.href }
    const daemon = startCli(['start'], { cwd: folder, env })
    const http = await eventually(() => /"url":"([^"]+)"/.exec(daemon.stdout())?.[1], { deadlineMs: 60_000 })
    const said = async (pattern: RegExp) =>
      eventually(
        async () => {
          const { ready, reasons } = readiness.parse(JSON.parse((await httpGet(`${http}/health/ready`, 5_000)).text))
          return pattern.test(ready ? 'ready' : reasons.join('\n'))
        },
        { deadlineMs: 60_000, what: String(pattern) },
      )
    await said(/^starting\npostgres: permission denied for schema sys$/)
    await sql`grant actuator to ${sql(login)}`
    await said(new RegExp(`kafka\\.topic ${name}: The topic ${name} does not exist: create it`))
    const { code } = await runCli(['topics', 'apply', '--dev'], { cwd: folder, env })
    assert.ok(code === 0 || code === 6, String(code))
    await said(/^ready$/)
    const readyAt = Date.now()
    const started = await eventually(() => /"time":"([^"]+)","event":"daemon.started"/.exec(daemon.stdout())?.[1])
    assert.ok(Date.parse(started) <= readyAt, 'it was ready before it had joined its group')
    daemon.child.kill('SIGTERM')
    assert.is((await daemon.ended).code, 0)
  },
  { timeoutMs: 240_000 },
)

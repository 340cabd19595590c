import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { loadConfig } from '../../core/config/load.ts'
import { deadLetterHeaders } from '../../core/dead-letter.ts'
import { migrateUp } from '../../core/postgres/migrate.ts'
import type { Outcome } from '../../core/postgres/transactions.ts'
import type { Failed } from '../../core/workers.ts'
import { after, before, test } from '../harness.ts'
import { blocksOf, commandsOf, Terminal } from '../pages.ts'
import { checkout } from '../runner/runtimes.ts'
import { type FreshDatabase, freshDatabase } from '../services.ts'
import { seedLetters } from './seeded-letters.ts'

// docs/dead-letters.md: what it has its reader run does what it shows.

const page = 'docs/dead-letters.md'
let folder = ''
let database: FreshDatabase
let sql: postgres.Sql
let terminal: Terminal

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tenantry-page-'))
  database = await freshDatabase()
  await migrateUp(database.url)
  sql = postgres(database.url, { max: 1, onnotice() {} })
  const timeout = {
    errorClass: 'TimeoutError',
    errorMessage: 'the ads API did not answer',
    errorStack: 'TimeoutError: the ads API did not answer\n    at createAd (actors/campaigns.ts:12:9)',
    headers: [[Buffer.from('content-type'), Buffer.from('application/json')]],
  } as const
  await seedLetters(sql, [
    {
      tenant: 'umbrella',
      type: '',
      reason: 'bad_json',
      errorClass: 'BadRecord',
      errorMessage: 'the value is no JSON',
      failedAt: '2026-11-02T09:10:00Z',
      value: Buffer.from('{'),
    },
    { ...timeout, failedAt: '2026-11-02T09:20:00Z', value: Buffer.from('{"payload":{"budget":499}}') },
    { ...timeout, failedAt: '2026-11-02T09:30:00Z', value: Buffer.from('{"payload": {"budget": 500.00}}  ') },
    {
      group: 'saga',
      topic: 'core.events.v1',
      tenant: 'umbrella',
      type: 'payment.settled',
      reason: 'schema',
      errorClass: 'BadRecord',
      errorMessage: 'payload.amount: expected a number',
      failedAt: '2026-11-02T09:41:00Z',
    },
  ])
  await sql`
    insert into sys.consumed_topics (group_name, topic, topic_id, cluster_id, partitions)
    select distinct group_name, topic, topic_id, 'cluster', 12 from sys.dead_letters`
  terminal = new Terminal({ cwd: checkout, env: { ...process.env, DATABASE_URL: database.url } })
})

after(async () => {
  await terminal?.close()
  await sql?.end({ timeout: 1 })
  await database?.drop()
  rmSync(folder, { recursive: true, force: true })
})

test(
  `what ${page} has its reader run does what it shows`,
  async () => {
    let said = ''
    let shown = 0
    for (const { language, text } of blocksOf(page)) {
      if (language === 'sh') {
        for (const command of commandsOf({ language, file: undefined, text })) said = await terminal.run(command)
      } else if (language === 'sql') {
        for (const statement of text.split(';').filter((part) => part.trim() !== ''))
          assert.ok((await sql.unsafe(statement)).columns.length > 0, statement)
      } else if (language === 'text' || language === 'json') {
        shown++
        assert.ok(said.startsWith(text.trimEnd()), `the page shows\n${text}\nand it is\n${said}`)
      }
    }
    assert.is(shown, 9)
  },
  { timeoutMs: 180_000 },
)

test('its configuration is one', () => {
  const written = /```yaml\n([\s\S]*?)```/.exec(readFileSync(join(checkout, page), 'utf8'))?.[1] ?? ''
  writeFileSync(join(folder, 'tenantry.yml'), written.replace(/^ {2}/gm, ''))
  const { config } = loadConfig({ cwd: folder, env: {}, needs: [] })
  assert.equal(config.topics['sys.deadletter.v1']?.configs, { 'max.message.bytes': 2_097_152 })
})

test('it lists every header of ours, and no other', () => {
  const failure = { reason: '', errorClass: '', message: '', stack: '', kind: 'permanent' } as const
  const failed: Failed = { kind: 'failed', failure, key: null, type: '', traceId: '', messageId: '' }
  const outcome: Outcome = {
    partition: 0,
    tenant: '',
    record: { offset: 0, timestamp: 0, key: null, value: null, headers: [] },
    actor: '',
    result: failed,
    attempts: 0,
    firstFailedAt: 0,
    failedAt: 0,
    retried: false,
    row: null,
    knownSince: null,
  }
  const ref = { group: '', topic: '', topicId: '', partition: 0 }
  const listed = readFileSync(join(checkout, page), 'utf8').matchAll(/`(tenantry-[a-z-]+)`/g)
  assert.equal(
    [...listed].map(([, name]) => name),
    deadLetterHeaders(outcome, failed, ref).map(([name]) => name.toString()),
  )
})

import { randomBytes, randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Admin, Producer } from '@platformatic/kafka'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { migrateUp } from '../../core/postgres/migrate.ts'
import { PostgresLedger } from '../../core/postgres/ledger.ts'
import { systemRandom } from '../../core/random.ts'
import { after, before, test } from '../harness.ts'
import { blocksOf, commandsOf, Terminal } from '../pages.ts'
import { checkout } from '../runner/runtimes.ts'
import { eventually, type FreshDatabase, freshDatabase, kafkaAddress } from '../services.ts'

// docs/offsets.md: what it has its reader run does what it shows, Kafka's own tool included.

const page = 'docs/offsets.md'
const role = `ops_${process.pid}`
const topic = `core.cmd.${randomBytes(4).toString('hex').slice(0, 7)}`
const group = `g${randomBytes(4).toString('hex').slice(0, 7)}`
/** The page's names, and others of the same length, as all test files share one Kafka and one PostgreSQL. */
const names = new Map([
  ['core.commands.v1', topic],
  ['actuator', group],
  ['role ops', `role ${role}`],
  ['to ops;', `to ${role};`],
])
let folder = ''
let database: FreshDatabase
let sql: postgres.Sql
let terminal: Terminal

before(async () => {
  database = await freshDatabase()
  await migrateUp(database.url)
  sql = postgres(database.url, { max: 1, onnotice() {} })
  const admin = new Admin({ clientId: 'test', bootstrapBrokers: kafkaAddress().split(',') })
  try {
    await admin.createTopics({ topics: [topic], partitions: 2, replicas: 1 })
    await eventually(async () => {
      const found = (await admin.metadata({ topics: [topic], forceUpdate: true })).topics.get(topic)
      return found?.partitions.every(({ leader }) => leader >= 0)
    })
    await produce()
    await begin(admin)
  } finally {
    await admin.close()
  }
  folder = mkdtempSync(join(tmpdir(), 'tenantry-page-'))
  const tool = join(checkout, 'test/fixtures/kafka-consumer-groups.ts')
  const script = `#!/bin/sh\nexec '${process.execPath}' '${tool}' "$@"\n`
  writeFileSync(join(folder, 'kafka-consumer-groups.sh'), script, { mode: 0o755 })
  const path = `${folder}:${process.env['PATH'] ?? ''}`
  const env = { ...process.env, DATABASE_URL: database.url, KAFKA_BROKERS: kafkaAddress(), PATH: path }
  terminal = new Terminal({ cwd: checkout, env })
})

after(async () => {
  await terminal?.close()
  await sql?.unsafe(`drop owned by ${role}; drop role ${role}`).catch(() => {}) // the page did not get so far
  await sql?.end({ timeout: 1 })
  await database?.drop()
  rmSync(folder, { recursive: true, force: true })
})

async function produce(): Promise<void> {
  const producer = new Producer({ clientId: 'test', bootstrapBrokers: kafkaAddress().split(','), idempotent: true })
  const messages = [0, 1].flatMap((partition) =>
    Array.from({ length: 100 }, () => ({ topic, partition, value: Buffer.from('{}') })),
  )
  await producer.send({ messages, acks: -1 })
  await producer.close()
}

/** The group as a daemon has left it, which has stopped since. */
async function begin(admin: Admin): Promise<void> {
  const metadata = await admin.metadata({ topics: [topic], forceUpdate: true })
  const topicId = metadata.topics.get(topic)?.id ?? ''
  const ledger = new PostgresLedger({ control: sql, random: systemRandom, frozenAfterMs: 300 })
  const refs = [0, 1].map((partition) => ({ group, topic, topicId, partition }))
  const starts = refs.map((ref) => ({ ref, position: 0 }))
  await ledger.begin(group, topic, topicId, metadata.id, 2, starts)
  for (const ref of refs) {
    const { epoch, seq } = await ledger.takeOver(ref)
    const [watermark, ahead] = ref.partition === 0 ? [80, '{[82,87)}'] : [100, '{}']
    await sql`
      insert into sys.partition_progress (group_name, topic_id, partition, seq, epoch, commit_id, watermark, ahead, kafka_offset)
      values (${group}, ${topicId}, ${ref.partition}, ${seq + 1}, ${epoch}, ${randomUUID()}, ${watermark}, ${ahead}, ${watermark})`
    const partitionOffsets = [{ partition: ref.partition, offset: BigInt(watermark) }]
    await admin.alterConsumerGroupOffsets({ groupId: group, topics: [{ name: topic, partitionOffsets }] })
  }
}

/** With the names of this run. */
function own(text: string): string {
  return [...names].reduce((all, [name, other]) => all.replaceAll(name, other), text)
}

test(
  `what ${page} has its reader run does what it shows`,
  async () => {
    let said = ''
    let shown = 0
    for (const { language, text } of blocksOf(page)) {
      if (language === 'sh') {
        for (const command of commandsOf({ language, file: undefined, text })) said = await terminal.run(own(command))
      } else if (language === 'sql') {
        for (const statement of own(text).split(';')) if (statement.trim() !== '') await sql.unsafe(statement)
      } else if (language === 'text') {
        shown++
        assert.ok(said.startsWith(own(text.trimEnd())), `the page shows\n${own(text)}\nand it is\n${said}`)
      }
    }
    assert.is(shown, 5)
    const actions = await sql<{ action: string }[]>`select action from sys.operator_actions order by id`
    assert.equal(
      actions.map(({ action }) => action),
      ['reset', 'accept', 'ignore'],
    )
  },
  { timeoutMs: 240_000 },
)

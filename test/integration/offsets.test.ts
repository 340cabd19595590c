import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Admin, Producer } from '@platformatic/kafka'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { z } from 'zod'
import { migrateUp } from '../../core/postgres/migrate.ts'
import { PostgresLedger } from '../../core/postgres/ledger.ts'
import type { Range } from '../../core/postgres/transactions.ts'
import { systemRandom } from '../../core/random.ts'
import { after, before, test } from '../harness.ts'
import { eventually, type FreshDatabase, freshDatabase, freshTopic, kafkaAddress } from '../services.ts'
import { runCli } from '../spawn-cli.ts'

// `tenantry offsets` on real servers, for a group whose daemons do not run.

const group = `offsets-${process.pid}-${Date.now().toString(36)}`
/** Of the first record. */
const began = Math.floor(Date.now() / 60_000 - 180) * 60_000
let folder = ''
let topic = ''
let topicId = ''
let database: FreshDatabase
let sql: postgres.Sql
let admin: Admin

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tenantry-offsets-'))
  database = await freshDatabase()
  await migrateUp(database.url)
  sql = postgres(database.url, { max: 2, onnotice() {} })
  admin = new Admin({ clientId: 'test', bootstrapBrokers: kafkaAddress().split(',') })
  topic = await freshTopic({ partitions: 2 })
  topicId = await idOf(topic)
  await produce(topic, 100)
  const { id: clusterId } = await admin.metadata({ topics: [] })
  const starts = [0, 1].map((partition) => ({ ref: { group, topic, topicId, partition }, position: 5 }))
  await ledger().begin(group, topic, topicId, clusterId, 2, starts)
})

after(async () => {
  await admin?.close()
  await sql?.end({ timeout: 1 })
  await database?.drop()
  rmSync(folder, { recursive: true, force: true })
})

function ledger(): PostgresLedger {
  return new PostgresLedger({ control: sql, random: systemRandom, frozenAfterMs: 300 })
}

async function idOf(name: string): Promise<string> {
  const { topics } = await admin.metadata({ topics: [name], forceUpdate: true })
  return topics.get(name)?.id ?? ''
}

/** `count` records in each partition, a minute apart. */
async function produce(name: string, count: number): Promise<void> {
  const producer = new Producer({ clientId: 'test', bootstrapBrokers: kafkaAddress().split(','), idempotent: true })
  const messages = [0, 1].flatMap((partition) =>
    Array.from({ length: count }, (_, n) => ({
      topic: name,
      partition,
      timestamp: BigInt(began + n * 60_000),
      value: Buffer.from('{}'),
    })),
  )
  await producer.send({ messages, acks: -1 })
  await producer.close()
}

/** The partition as its owner would have left it. */
async function progress(
  partition: number,
  watermark: number,
  { ahead = [], kafkaOffset = -1 }: { readonly ahead?: readonly Range[]; readonly kafkaOffset?: number } = {},
): Promise<void> {
  const { epoch, seq } = await ledger().takeOver({ group, topic, topicId, partition })
  const ranges = `{${ahead.map(([from, to]) => `[${from},${to})`).join(',')}}`
  await sql`
    insert into sys.partition_progress (group_name, topic_id, partition, seq, epoch, commit_id, watermark, ahead, kafka_offset)
    values (${group}, ${topicId}, ${partition}, ${seq + 1}, ${epoch}, ${randomUUID()}, ${watermark}, ${ranges}, ${kafkaOffset})`
}

async function setKafka(partition: number, offset: number): Promise<void> {
  await admin.alterConsumerGroupOffsets({
    groupId: group,
    topics: [{ name: topic, partitionOffsets: [{ partition, offset: BigInt(offset) }] }],
  })
}

function run(args: readonly string[], url = database.url) {
  return runCli(['offsets', ...args], { cwd: folder, env: { KAFKA_BROKERS: kafkaAddress(), DATABASE_URL: url } })
}

const place = () => ['--group', group, '--topic', topic]
const because = ['--reason', 'a test']

async function refused(args: readonly string[], code: number, url?: string): Promise<string> {
  const { code: ended, stderr, stdout } = await run(args, url)
  assert.is(ended, code, stderr)
  assert.is(stdout.includes('operation'), false)
  return stderr
}

const row = z.looseObject({ partition: z.number(), watermark: z.number(), epoch: z.number(), foreign: z.boolean() })

async function shown(): Promise<Map<number, z.infer<typeof row>>> {
  const { code, stdout, stderr } = await run(['show', '--group', group, '--json'])
  assert.is(code, 0, stderr)
  const rows = z.array(row).parse(JSON.parse(stdout))
  return new Map(rows.map((one) => [one.partition, one]))
}

const answer = z.object({
  operation: z.string().nullable(),
  dryRun: z.boolean(),
  partitions: z.array(z.looseObject({ partition: z.number(), from: z.number().nullable(), to: z.number() })),
})

async function decided(args: readonly string[]): Promise<z.infer<typeof answer>> {
  const { code, stdout, stderr } = await run([...args, '--json', '--yes', ...because])
  assert.is(code, 0, stderr)
  return answer.parse(JSON.parse(stdout))
}

test(
  'show says how far a group is, by both servers, and whose Kafka’s offset is',
  async () => {
    await progress(0, 40, {
      ahead: [
        [50, 60],
        [70, 71],
      ],
      kafkaOffset: 30,
    })
    await progress(1, 90, { kafkaOffset: 90 })
    await setKafka(0, 35)
    await setKafka(1, 20)
    const rows = await shown()
    assert.equal(
      { ...rows.get(0) },
      {
        group,
        topic,
        topicId,
        partition: 0,
        state: 'present',
        began: 5,
        watermark: 40,
        aheadRanges: 2,
        ahead: 11,
        epoch: 1,
        seq: 2,
        writtenOffset: 30,
        kafkaOffset: 35,
        foreign: false,
        logStart: 0,
        logEnd: 100,
        lag: 60,
        parked: 0,
        retries: 0,
        rerunTo: null,
      },
    )
    assert.ok(rows.get(1)?.foreign)
    const { stdout } = await run(['show'])
    assert.match(stdout, new RegExp(`^${group} +${topic} +0 +5 +40 +11 in 2 +0\\.\\.100 +60 +35 +30 .* -$`, 'm'))
    assert.match(stdout, /set by another tool$/m)
    assert.match((await run(['show', '--group', 'nobody'])).stderr, /No group has begun/)
  },
  { timeoutMs: 60_000 },
)

test(
  'what cannot be is refused, with what there is, and nothing is done',
  async () => {
    const before = await shown()
    const to = (position: string) => ['--to', position, '--skip', '--yes', ...because]
    const reset = (...args: readonly string[]) => ['reset', ...place(), ...args]
    const elsewhere = ['reset', '--topic', topic, '--group', `${group}x`, ...to('90')]
    assert.match(await refused(elsewhere, 2), new RegExp(`did you mean ${group}`))
    const other = ['reset', '--group', group, '--topic', 'none.at.all', ...to('90')]
    assert.match(await refused(other, 2), new RegExp(`there is ${topic}`))
    assert.match(await refused(reset('--partition', '2', ...to('90')), 2), /has no partition 2: it has 0 to 1/)
    assert.match(await refused(reset('--partition', 'x', ...to('90')), 2), /whole number/)
    assert.match(await refused(reset(...to('101')), 2), /outside the log .* 0 to 100/)
    assert.match(await refused(reset(...to('tomorrow')), 2), /--to wants/)
    assert.match(await refused(reset(...to('50')), 2), /-1 of group .* is at 90, .*--rerun/)
    assert.match(
      await refused(reset('--to', '50', '--rerun', '--yes', ...because), 2),
      /-0 of group .* is at 40, .*--skip/,
    )
    assert.match(await refused(reset('--to', '95', '--yes', ...because), 2), /--rerun to go back, or --skip/)
    assert.match(
      await refused(reset('--to', '95', '--rerun', '--skip', ...because), 2),
      /--rerun to go back, or --skip/,
    )
    assert.match(
      await refused(reset('--to', '5', '--rerun', '--drop-parked', ...because), 2),
      /--drop-parked goes with/,
    )
    assert.match(await refused(reset('--to', '95', '--skip', '--reason', ' ', '--yes'), 2), /--reason .* want a text/)
    assert.match(await refused(reset('--to', '95', '--skip'), 2), /--reason/)
    assert.match(await refused(reset('--to', '95', '--skip', ...because), 2), /--yes or --dry-run/)
    assert.equal(await shown(), before)
  },
  { timeoutMs: 180_000 },
)

test(
  'a dry run says what would be done, and a reset does it',
  async () => {
    const before = await shown()
    const time = new Date(began + 9.5 * 60_000).toISOString()
    const back = ['reset', ...place(), '--partition', '0', '1', '--to', time, '--rerun']
    const dry = await run([...back, '--dry-run', ...because])
    assert.is(dry.code, 0, dry.stderr)
    assert.match(dry.stdout, /^0 +40 +10 +71 +0 +0 +0$/m)
    assert.match(dry.stdout, /^1 +90 +10 +90 +0 +0 +0$/m)
    assert.match(dry.stderr, /141 offsets run again.*key is written anew.*inserts.*states/)
    assert.equal(await shown(), before)
    const { operation, partitions } = await decided([...back, '--by', 'ops'])
    assert.equal(
      partitions.map(({ from, to }) => [from, to]),
      [
        [40, 10],
        [90, 10],
      ],
    )
    const rows = await shown()
    assert.equal([rows.get(0)?.watermark, rows.get(0)?.['rerunTo'], rows.get(0)?.epoch], [10, 71, 2])
    const written = await sql`select requested_by, reason from sys.operator_actions where operation = ${operation}`
    assert.equal(
      written.map((one) => ({ ...one })),
      Array.from({ length: 2 }, () => ({ requested_by: 'ops', reason: 'a test' })),
    )

    const on = await decided(['reset', ...place(), '--to', 'latest', '--skip'])
    assert.equal(
      on.partitions.map((one) => [one.to, one['skipped']]),
      [
        [100, 90],
        [100, 90],
      ],
    )
    const again = await decided(['reset', ...place(), '--to', '100', '--skip'])
    assert.is(again.operation, null, 'it is there already')
    await decided(['reset', ...place(), '--to', 'earliest', '--rerun'])
    assert.is((await shown()).get(1)?.watermark, 0)
  },
  { timeoutMs: 120_000 },
)

test(
  'an offset that Kafka’s tools have set is accepted or ignored, and one of ours is nothing to accept',
  async () => {
    await progress(0, 60, { kafkaOffset: 60 })
    await progress(1, 60, { kafkaOffset: 60 })
    await setKafka(0, 20)
    await setKafka(1, 60)
    const accept = (partition: number) => ['accept', ...place(), '--partition', String(partition)]
    assert.match(await refused([...accept(1), '--rerun', '--yes', ...because], 7), /60 is one that tenantry writes/)
    assert.match(await refused([...accept(0), '--skip', '--yes', ...because], 2), /--rerun/)
    const { partitions } = await decided([...accept(0), '--rerun'])
    assert.equal(
      partitions.map(({ from, to }) => [from, to]),
      [[60, 20]],
    )
    assert.match(await refused([...accept(0), '--rerun', '--yes', ...because], 7), /told not to go by Kafka's/)

    await setKafka(1, 99)
    const ignored = await run(['ignore', ...place(), '--partition', '1', '--json', ...because])
    assert.equal(JSON.parse(ignored.stdout), { watermark: 60 })
    const row = (await shown()).get(1)
    assert.equal([row?.watermark, row?.foreign, row?.['writtenOffset']], [60, false, null])
    const [last] = await sql`select action from sys.operator_actions order by id desc limit 1`
    assert.is(last?.['action'], 'ignore')
  },
  { timeoutMs: 120_000 },
)

test(
  'a commit that holds the partition is waited for, for a while',
  async () => {
    await sql.begin(async (tx) => {
      await tx`select pg_advisory_xact_lock(sys.fn_partition_lock(${group}, ${topicId}, 1))`
      const args = ['reset', ...place(), '--to', 'latest', '--skip', '--yes', ...because]
      const { code, stderr } = await run(['--set', 'postgres.lockTimeout=500ms', ...args])
      assert.is(code, 1, stderr)
      assert.match(stderr, /TENANTRY_OFFSETS_BUSY/)
    })
  },
  { timeoutMs: 60_000 },
)

test(
  "with a daemon's login positions can be seen, and not be moved",
  async () => {
    const login = `daemon_${process.pid}`
    await sql`create role ${sql(login)} login in role actuator`
    try {
      const url = new URL(database.url)
      url.username = login
      assert.is((await run(['show'], url.href)).code, 0)
      const args = ['reset', ...place(), '--to', 'latest', '--skip', '--yes', ...because]
      assert.match(await refused(args, 5, url.href), /permission denied for function fn_reset_offsets/)
    } finally {
      await sql`drop role ${sql(login)}`
    }
  },
  { timeoutMs: 60_000 },
)

test(
  'partitions that were added, and a topic that was made anew, are begun by a daemon first',
  async () => {
    await admin.createPartitions({ topics: [{ name: topic, count: 3, assignments: null }] })
    const args = (...more: readonly string[]) => [
      'reset',
      ...place(),
      ...more,
      '--to',
      '0',
      '--skip',
      '--yes',
      ...because,
    ]
    await eventually(
      async () =>
        (await admin.metadata({ topics: [topic], forceUpdate: true })).topics.get(topic)?.partitionsCount === 3,
    )
    assert.match(await refused(args('--partition', '2'), 2), /Partition 2 .* was added, and no daemon/)

    await admin.deleteTopics({ topics: [topic] })
    await eventually(async () => /does not exist in Kafka/.test((await run(args())).stderr), { deadlineMs: 20_000 })
    await admin.createTopics({ topics: [topic], partitions: 2, replicas: 1 })
    await eventually(async () => (await idOf(topic)) !== '')
    assert.match(await refused(args(), 7), /was recreated, and no daemon/)
    assert.match((await run(['show'])).stdout, /another topic of that name/)
  },
  { timeoutMs: 120_000 },
)

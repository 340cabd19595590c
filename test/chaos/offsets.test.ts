// runtimes: node, bun
// timeout: 900 s
import { tmpdir } from 'node:os'
import { Admin } from '@platformatic/kafka'
import * as assert from 'uvu/assert'
import { z } from 'zod'
import { Log } from '../../cli/verify/log.ts'
import { verify } from '../../cli/verify/verify.ts'
import { test } from '../harness.ts'
import { eventually } from '../services.ts'
import { runCli } from '../spawn-cli.ts'
import { minute, partitions, perSecond, type Stage } from './stage.ts'
import { stageForEach } from './stage-for-each.ts'

// Operators move groups while their daemons are at work under load, and every message's rows are counted afterwards.

const stage = stageForEach()

type Logged = { readonly partition: number; readonly offset: number; readonly tenant: string; readonly id: string }

const moved = z.object({ partitions: z.array(z.object({ partition: z.number(), moved: z.boolean() })) })

async function offsets(on: Stage, ...args: readonly string[]): Promise<void> {
  const { code, stdout, stderr } = await runCli(
    ['offsets', ...args, '--group', on.topic, '--topic', on.topic, '--reason', 'chaos', '--json'],
    { cwd: tmpdir(), env: { KAFKA_BROKERS: on.kafka, DATABASE_URL: on.database } },
  )
  assert.is(code, 0, stderr)
  if (args[0] === 'reset') assert.is(moved.parse(JSON.parse(stdout)).partitions.length, partitions)
}

async function logOf(on: Stage): Promise<readonly Logged[]> {
  const log = new Log({ bootstrap: on.kafka.split(','), clientId: 'chaos-offsets' }, 'chaos-offsets')
  const envelope = z.object({ message_id: z.string(), tenant_id: z.string() })
  try {
    const { ends } = (await log.describe(on.topic)) ?? { ends: [] }
    const all: Logged[] = []
    for (const [partition, end] of ends.entries())
      for await (const records of log.read(on.topic, partition, 0, end))
        for (const { offset, value } of records) {
          const { message_id: id, tenant_id: tenant } = envelope.parse(JSON.parse(String(value)))
          all.push({ partition, offset, tenant, id })
        }
    return all
  } finally {
    await log.close()
  }
}

/** By partition, up to where operators had records run again. */
async function rerunTo(on: Stage): Promise<ReadonlyMap<number, number>> {
  const rows = await on.sql<{ partition: number; to: number }[]>`
    select partition, rerun_to::float8 as to from sys.partition_resets where rerun_to > 0 order by partition`
  return new Map(rows.map(({ partition, to }) => [partition, to]))
}

function rangesOf(text: string): (readonly [number, number])[] {
  return [...text.matchAll(/\[(\d+),(\d+)\)/g)].map(([, from, to]) => [Number(from), Number(to)])
}

function has(ranges: readonly (readonly [number, number])[], offset: number): boolean {
  return ranges.some(([from, to]) => from <= offset && offset < to)
}

/** By tenant, the messages in the order in which their rows were made. */
async function effects(on: Stage): Promise<ReadonlyMap<string, readonly string[]>> {
  const rows = await on.sql<{ tenant: string; ids: string[]; gaps: boolean }[]>`
    select tenant_id as tenant, array_agg(message_id order by number) as ids, max(number) <> count(*) as gaps
    from effects group by tenant_id`
  assert.equal(
    rows.filter(({ gaps }) => gaps),
    [],
    'each row was made from the state that the one before had left',
  )
  return new Map(rows.map(({ tenant, ids }) => [tenant, ids]))
}

/**
 * A tenant's messages ran in their order until an operator moved its partition, however far that was, and then those of
 * `second` did, all of them. Returns how many had run before.
 */
function ranBefore(
  rows: readonly string[] | undefined,
  all: readonly string[],
  second: readonly string[],
  tenant: string,
) {
  const before = (rows?.length ?? 0) - second.length
  same(rows, [...all.slice(0, Math.max(0, before)), ...second], tenant)
  return before
}

/** Says where two sequences part, rather than print both. */
function same(rows: readonly string[] | undefined, wanted: readonly string[], tenant: string): void {
  const at = wanted.findIndex((id, i) => rows?.[i] !== id)
  const place = at < 0 ? wanted.length : at
  const around = (ids: readonly string[] = []) => [ids.length, place, ...ids.slice(place, place + 3)]
  assert.equal(around(rows), around(wanted), tenant)
}

/** The first record of each message, in order. */
function originals(log: readonly Logged[]): readonly Logged[] {
  const seen = new Set<string>()
  return log.filter(({ tenant, id }) => {
    const name = `${tenant}/${id}`
    return !seen.has(name) && seen.add(name)
  })
}

function byTenant(log: readonly Logged[]): ReadonlyMap<string, readonly string[]> {
  return new Map([...Map.groupBy(log, ({ tenant }) => tenant)].map(([tenant, of]) => [tenant, of.map(({ id }) => id)]))
}

async function finished(on: Stage): Promise<readonly Logged[]> {
  await on.stopFeeding()
  await on.reached(on.sent, 90_000)
  await eventually(async () => (await on.sql`select from sys.parked_messages limit 1`).length === 0, {
    deadlineMs: 90_000,
    what: 'nothing is parked any more',
  })
  await on.stopDaemons()
  return logOf(on)
}

test(
  'back to the earliest under load: what had run runs once more, in order, copies do not, and what is new runs once',
  async () => {
    const on = await stage()
    const daemons = [on.start(), on.start()]
    on.feed(perSecond)
    await on.worked(2 * perSecond)
    await offsets(on, 'reset', '--to', 'earliest', '--rerun', '--yes')
    await Promise.all(daemons.map((daemon) => daemon.until('partition.fenced')))
    await on.worked(perSecond)
    const log = await finished(on)
    assert.is((await rerunTo(on)).size, partitions)
    const rows = await effects(on)
    let again = 0
    for (const [tenant, ids] of byTenant(originals(log))) again += ranBefore(rows.get(tenant), ids, ids, tenant)
    assert.ok(again > perSecond, `${again} ran again`)
  },
  { timeoutMs: 3 * minute },
)

test(
  'on to the latest under load: what was passed over never runs, and everything else once',
  async () => {
    const on = await stage()
    on.feed(perSecond)
    const daemon = on.start()
    await daemon.until('partition.owned', partitions)
    await on.worked(perSecond)
    // It cannot commit meanwhile, so that there is something to pass over, however fast it is.
    await on.sql.begin(async (tx) => {
      await tx`lock table effects in access exclusive mode`
      const { sent } = on
      await eventually(() => on.sent > sent + 2 * perSecond, { deadlineMs: 30_000 })
      await offsets(on, 'reset', '--to', 'latest', '--skip', '--yes')
    })
    await on.worked(perSecond)
    const log = await finished(on)
    const skips = await on.sql<{ skipped: string }[]>`select skipped::text from sys.partition_resets order by partition`
    const skipped = skips.map((row) => rangesOf(row.skipped))
    const passed = log.filter((at) => has(skipped[at.partition] ?? [], at.offset))
    assert.ok(passed.length > 0, 'something was passed over')
    const wanted = byTenant(originals(log.filter((at) => !passed.includes(at))))
    const rows = await effects(on)
    for (const [tenant, ids] of wanted) same(rows.get(tenant), ids, tenant)
    assert.is(rows.size, wanted.size)
    const report = await verify({
      kafka: { bootstrap: on.kafka.split(','), clientId: 'chaos-offsets' },
      postgres: on.database,
      group: on.topic,
      effects: [{ table: 'effects', column: 'message_id' }],
    })
    assert.equal([report.skipped, report.lost, report.duplicated, report.invented], [passed.length, 0, 0, 0])
  },
  { timeoutMs: 3 * minute },
)

/** Partitions whose progress says that an offset above `offset` was written to Kafka. */
async function writtenPast(on: Stage, offset: number): Promise<number> {
  const [row] = await on.sql<{ count: number }[]>`
    select count(*)::integer as count
    from (
      select distinct on (partition) kafka_offset from sys.partition_progress order by partition, seq desc
    ) as last
    where kafka_offset > ${offset}`
  return row?.count ?? 0
}

async function setByTool(on: Stage, offset: number, ...numbers: readonly number[]): Promise<void> {
  const admin = new Admin({ clientId: 'chaos-offsets', bootstrapBrokers: on.kafka.split(',') })
  const partitionOffsets = numbers.map((partition) => ({ partition, offset: BigInt(offset) }))
  try {
    await eventually(
      async () => {
        await admin.alterConsumerGroupOffsets({ groupId: on.topic, topics: [{ name: on.topic, partitionOffsets }] })
        return true
      },
      { deadlineMs: 20_000, what: 'an empty group' },
    )
  } finally {
    await admin.close()
  }
}

test(
  "an offset that Kafka's own tools have set stops its partition alone, until an operator accepts or ignores it",
  async () => {
    const on = await stage()
    const first = on.start()
    on.feed(perSecond)
    const from = 3
    // Only below what we wrote ourselves is an offset somebody else's.
    await eventually(async () => (await writtenPast(on, from)) === partitions, { deadlineMs: 60_000 })
    await first.stop()
    await setByTool(on, from, 0, 1, 2)
    // One is decided while nobody runs, two while their daemon waits.
    await offsets(on, 'accept', '--partition', '2', '--rerun', '--yes')
    const daemon = on.start()
    await daemon.until('partition.stopped', 2)
    await daemon.until('partition.owned', partitions - 2)
    await on.worked(perSecond / 2)
    assert.is(daemon.events('partition.stopped').length, 2)
    await offsets(on, 'accept', '--partition', '0', '--rerun', '--yes')
    await offsets(on, 'ignore', '--partition', '1')
    await daemon.until('partition.resumed', 2)
    const log = await finished(on)
    const ends = await rerunTo(on)
    assert.equal([...ends.keys()], [0, 2])
    const rows = await effects(on)
    for (const [tenant, of] of Map.groupBy(log, (at) => at.tenant)) {
      const end = ends.get(of[0]?.partition ?? -1) ?? 0
      const ids = (some: readonly Logged[]) => originals(some).map(({ id }) => id)
      // A message whose first record is below 3 has run, and does again by its copy, if there is one before the end.
      const again = ids(of.filter(({ offset }) => offset >= from && offset < end))
      const known = new Set([...again, ...ids(of.filter(({ offset }) => offset < Math.min(from, end)))])
      const rest = ids(of.filter(({ offset, id }) => offset >= end && !known.has(id)))
      const before = ranBefore(rows.get(tenant), ids(of), [...again, ...rest], tenant)
      if (end === 0) assert.is(before, 0, tenant)
    }
  },
  { timeoutMs: 3 * minute },
)

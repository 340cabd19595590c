import { randomUUID } from 'node:crypto'
import * as assert from 'uvu/assert'
import { systemRandom } from '../../core/random.ts'
import { PostgresLedger } from '../../core/postgres/ledger.ts'
import type { PostgresLane } from '../../core/postgres/lane.ts'
import type { LostOwners } from '../../core/postgres/ownership.ts'
import { after, before, beforeEach, test } from '../harness.ts'
import { LaneStage, type Owned } from './lane-stage.ts'

// What becomes of owners, as migration 0023 keeps it: test/simulation/simulated-owners.ts is its model.

let stage: LaneStage
let lane: PostgresLane
/** A partition that nobody has owned yet but the stage. */
let owned: Owned
let number = 0

before(async () => {
  stage = await LaneStage.create(async () => {})
  lane = await stage.lane()
})

after(() => stage.end())

beforeEach(() => {
  owned = stage.partition(number++ % stage.owned.length)
})

/** Another process. */
function process(): PostgresLedger {
  return new PostgresLedger({ control: stage.sql, random: systemRandom, frozenAfterMs: 300 })
}

async function take(ledger: PostgresLedger = process()): Promise<LostOwners> {
  const { lost, ...taken } = await ledger.takeOver(owned.ref)
  Object.assign(owned, taken)
  return lost
}

/** The last owner took over this long ago. */
function began(interval: string): Promise<unknown> {
  return stage.sql`
    update sys.partition_owners set since = clock_timestamp() - ${interval}::interval
    where topic_id = ${owned.ref.topicId} and partition = ${owned.ref.partition}`
}

async function commit(): Promise<void> {
  assert.is((await stage.run(lane, [stage.done({ partition: owned.ref.partition })])).kind, 'committed')
}

const record = (offset: number) => ({ topicId: owned.ref.topicId, partition: owned.ref.partition, offset, replays: 0 })
const clean: LostOwners = { count: 0, givenUp: 0, suspects: [] }

test('owners that commit nothing are counted, one that has lived and moved on ends that', async () => {
  assert.is((await take()).count, 1, 'the stage itself')
  assert.is((await take()).count, 2)
  assert.is((await take()).count, 3)
  await began('6 seconds')
  await commit()
  assert.equal(await take(), clean)
})

test('moving on does not help an owner that is lost at once', async () => {
  const { count } = await take()
  await commit()
  assert.is((await take()).count, count + 1)
})

test('the same process is alive; one that gives back is not lost; an hour ends everything', async () => {
  const ledger = process()
  const { count } = await take(ledger)
  assert.is((await take(ledger)).count, count)
  await ledger.release([owned])
  const next = process()
  assert.is((await take(next)).count, count)
  await next.release([{ ...owned, epoch: owned.epoch - 1 }])
  assert.is((await take()).count, count + 1, 'an earlier epoch gives nothing back')
  await began('61 minutes')
  assert.equal(await take(), clean)
})

test('a record that ran alone when its owner was lost is a suspect, and at the second time given up', async () => {
  const first = process()
  await take(first)
  assert.ok(await first.runAlone(owned.ref, owned.epoch, record(5)))
  assert.ok(await first.runAlone(owned.ref, owned.epoch, record(6)), 'which ends the other')
  const second = process()
  assert.equal(await take(second), { count: 3, givenUp: 0, suspects: [{ ...record(6), owners: 1 }] })
  await began('10 minutes')
  await commit()
  assert.ok(await second.runAlone(owned.ref, owned.epoch, record(6)))
  assert.equal(await take(), { count: 4, givenUp: 1, suspects: [{ ...record(6), owners: 2 }] })
})

test('what has ended is nobody’s fault, also where another partition’s ended it', async () => {
  const ledger = process()
  await take(ledger)
  assert.ok(await ledger.runAlone(owned.ref, owned.epoch, record(5)))
  await ledger.runNoneAlone()
  assert.equal((await take(ledger)).suspects, [])
  assert.ok(await ledger.runAlone(owned.ref, owned.epoch, record(5)))
  const before = owned
  owned = stage.partition(number++ % stage.owned.length)
  await take(ledger)
  assert.ok(await ledger.runAlone(owned.ref, owned.epoch, record(7)))
  assert.equal(
    (await take()).suspects.map(({ offset }) => offset),
    [7],
  )
  owned = before
  assert.equal((await take()).suspects, [])
})

test('who has lost the partition cannot note anything', async () => {
  const ledger = process()
  await take(ledger)
  const { epoch } = owned
  await take()
  assert.not(await ledger.runAlone(owned.ref, epoch, record(5)))
  await ledger.trust(owned.ref, epoch)
  assert.ok((await take()).count > 0)
})

test('it is written down without waiting for the disk, and nothing else is', async () => {
  await take()
  const { group, topicId, partition } = owned.ref
  const sql = await stage.sql.reserve()
  const waits = async () =>
    (await sql<{ waits: string }[]>`select current_setting('synchronous_commit') as waits`)[0]?.waits
  await sql`begin`
  await sql`
    select sys.fn_run_alone(
      ${group}, ${topicId}, ${partition}, ${owned.epoch}, ${randomUUID()}, ${topicId}, ${partition}, 5, 0
    )`
  const during = await waits()
  await sql`commit`
  const later = await waits()
  sql.release()
  assert.equal([during, later], ['off', 'on'])
})

test('trusted again, its suspects are forgotten, and one lost owner more is enough', async () => {
  const ledger = process()
  await take(ledger)
  await ledger.runAlone(owned.ref, owned.epoch, record(5))
  const next = process()
  await take(next)
  await next.trust(owned.ref, owned.epoch)
  assert.equal(await take(), { count: 3, givenUp: 0, suspects: [] })
})

test('one that ends at once after that is one, however long the records ran alone before', async () => {
  const ledger = process()
  await take(ledger)
  await began('10 seconds')
  await commit()
  await ledger.trust(owned.ref, owned.epoch)
  await commit()
  assert.is((await take()).count, 3)
})

test('two records given up on stop the partition until an operator decides, for hours if need be', async () => {
  for (const offset of [5, 5, 6, 6]) {
    const ledger = process()
    await take(ledger)
    assert.ok(await ledger.runAlone(owned.ref, owned.epoch, record(offset)))
  }
  const stopped = process()
  assert.is((await take(stopped)).givenUp, 2)
  await began('2 days')
  const next = process()
  const { givenUp, suspects } = await take(next)
  const found = suspects.filter(({ owners }) => owners > 1).map(({ offset }) => offset)
  assert.equal([givenUp, found.sort((a, b) => a - b)], [2, [5, 6]])
  await next.release([owned])
  await began('2 days')
  assert.is((await take()).givenUp, 2)
})

test('an operator’s word ends everything', async () => {
  const ledger = process()
  await take(ledger)
  await ledger.runAlone(owned.ref, owned.epoch, record(5))
  const { group, topic, topicId, partition } = owned.ref
  await stage.sql`select sys.fn_ignore_offset(${group}, ${topic}, ${topicId}, ${partition}, ${randomUUID()}, 'ada', 'mended')`
  assert.equal(await take(), clean)
})

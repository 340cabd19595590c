import { randomUUID } from 'node:crypto'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import type { PostgresLane } from '../../core/postgres/lane.ts'
import { PostgresLedger } from '../../core/postgres/ledger.ts'
import { ignoreOffset, type Move, type Reset, resetOffsets } from '../../core/postgres/resets.ts'
import type { Commit, Outcome } from '../../core/postgres/transactions.ts'
import { systemRandom } from '../../core/random.ts'
import { after, before, beforeEach, test } from '../harness.ts'
import { eventually } from '../services.ts'
import { LaneStage } from './lane-stage.ts'

// A reset is a takeover by nobody: all or none, with what is to run again or be passed over, and who did it.

let stage: LaneStage
let lane: PostgresLane

before(async () => {
  stage = await LaneStage.create(async () => {})
  lane = await stage.lane()
})

beforeEach(async () => {
  await stage.sql`
    truncate sys.partition_progress, sys.parked_messages, sys.retries, sys.dead_letters, sys.partition_resets, sys.operator_actions, sys.outbox`
  const starts = stage.owned.map(({ ref }) => ({ ref, position: 0 }))
  await stage.ledger.begin('g', 't', stage.partition(0).ref.topicId, 'cluster', starts.length, starts)
  await stage.takeAllOver()
})

after(() => stage.end())

const logEnd = 1_000

function reset(
  options: Partial<Reset> & { readonly to: readonly (readonly [number, number])[] },
): Promise<readonly Move[]> {
  const { ref } = stage.partition(0)
  const { to, ...rest } = options
  return resetOffsets(stage.sql, {
    group: ref.group,
    topic: ref.topic,
    topicId: ref.topicId,
    targets: to.map(([partition, position]) => ({ partition, position, logEnd })),
    rerun: false,
    dropParked: false,
    action: 'reset',
    operation: randomUUID(),
    by: 'ops',
    reason: 'a test',
    ...rest,
  })
}

/** Commits progress alone, as the partition's owner. */
async function progress(
  partition: number,
  watermark: number,
  ahead: readonly (readonly [number, number])[] = [],
  kafkaOffset = -1,
) {
  const { ref, epoch, seq, commitId } = stage.partition(partition)
  const commit: Commit = {
    id: randomUUID(),
    partitions: [{ ref, epoch, seq, follows: commitId, watermark, ahead, kafkaOffset, published: null, breakers: [] }],
    outcomes: [],
  }
  const result = await lane.commit(commit, { kind: 'optimistic' })
  if (result.kind === 'committed') stage.moved(commit)
  return result.kind
}

function at(outcome: Outcome, offset: number): Outcome {
  return { ...outcome, record: { ...outcome.record, offset } }
}

async function park(...offsets: readonly number[]): Promise<void> {
  const outcomes = offsets.map((offset) =>
    at({ ...stage.done(), result: { kind: 'parked', since: 1_600_000_000_000 } }, offset),
  )
  assert.is((await stage.run(lane, outcomes)).kind, 'committed')
}

const failure = { reason: 'handler', errorClass: '', message: '', stack: '', kind: 'transient' } as const
const retried = { kind: 'retried', failure, type: 'go', traceId: '', messageId: '', attempts: 1, retryAt: 0 } as const

async function retry(...offsets: readonly number[]): Promise<void> {
  const outcomes = offsets.map((offset) => at({ ...stage.done(), result: retried, firstFailedAt: 1 }, offset))
  assert.is((await stage.run(lane, outcomes)).kind, 'committed')
}

async function offsetsIn(table: 'parked_messages' | 'retries'): Promise<readonly number[]> {
  const rows = await stage.sql<
    { at: number }[]
  >`select record_offset::int as at from sys.${stage.sql(table)} order by 1`
  return rows.map((row) => row.at)
}

async function refusal(work: Promise<unknown>): Promise<string> {
  try {
    await work
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
  return ''
}

async function takenOver(partition = 0) {
  const { watermark, ahead, kafkaOffset, retries, rerun } = await stage.ledger.takeOver(stage.partition(partition).ref)
  return { watermark, ahead, kafkaOffset, retries: retries.map(({ offset }) => offset), rerunTo: rerun?.to ?? null }
}

test('going back fences the owner, drops what is to run again, and tells the next one how far', async () => {
  await park(3, 30, 40)
  await retry(2, 50)
  assert.is(await progress(0, 60, [[70, 80]], 55), 'committed')
  const [move] = await reset({ rerun: true, to: [[0, 20]] })
  assert.equal(move, {
    partition: 0,
    from: 60,
    doneTo: 80,
    to: 20,
    rerunTo: 80,
    skipped: 0,
    droppedParked: 2,
    droppedRetries: 1,
    moved: true,
  })
  assert.is(await progress(0, 61), 'fenced')
  assert.equal([await offsetsIn('parked_messages'), await offsetsIn('retries')], [[3], [2]])
  // A record below the watermark is not tried again: the next owner forgets the attempts at it.
  assert.equal(await takenOver(), { watermark: 20, ahead: [], kafkaOffset: -1, retries: [], rerunTo: 80 })
})

test('what was to run again is told until the watermark has passed it, and by the furthest reset', async () => {
  assert.is(await progress(0, 60), 'committed')
  await reset({ rerun: true, to: [[0, 20]] })
  await stage.takeAllOver()
  assert.is(await progress(0, 30), 'committed')
  await reset({ rerun: true, to: [[0, 10]] })
  assert.is((await takenOver()).rerunTo, 60, 'although only 30 were done')
  await stage.takeAllOver()
  assert.is(await progress(0, 60), 'committed')
  assert.is((await takenOver()).rerunTo, null)
})

test('going on passes over what lies between; what is done further on stays so, and what is parked is not lost', async () => {
  await park(3, 30)
  await retry(2, 50)
  assert.is(
    await progress(
      0,
      10,
      [
        [20, 31],
        [60, 70],
        [80, 90],
      ],
      10,
    ),
    'committed',
  )
  const [move] = await reset({ to: [[0, 65]] })
  assert.equal([move?.from, move?.to, move?.skipped, move?.rerunTo], [10, 70, 10 + 29, null])
  assert.equal([move?.droppedParked, move?.droppedRetries], [0, 2])
  assert.equal(await offsetsIn('parked_messages'), [3, 30])
  assert.equal(await takenOver(), { watermark: 70, ahead: [[80, 90]], kafkaOffset: -1, retries: [], rerunTo: null })
  const [row] = await stage.sql<{ skipped: string }[]>`select skipped::text from sys.partition_resets`
  assert.is(row?.skipped, '{[10,20),[31,60)}')
})

test('with parked records dropped they are passed over, too', async () => {
  await park(3, 30, 40)
  assert.is(
    await progress(0, 10, [
      [30, 31],
      [40, 41],
    ]),
    'committed',
  )
  const [move] = await reset({ to: [[0, 35]], dropParked: true })
  assert.equal([move?.droppedParked, move?.skipped], [2, 25 + 1])
  assert.equal(await offsetsIn('parked_messages'), [40])
})

test("what an heir has taken over is not dropped with the earlier topic's, which is reset after that", async () => {
  await park(3, 30)
  const earlier = stage.partition(0).ref
  const ref = { ...earlier, topicId: randomUUID() }
  await stage.ledger.begin(ref.group, ref.topic, ref.topicId, 'cluster', 1, [{ ref, position: 0 }])
  try {
    await stage.ledger.takeOver(ref)
    const [on] = await reset({ to: [[0, 35]], dropParked: true })
    const [back] = await reset({ to: [[0, 0]], rerun: true })
    assert.equal([on?.droppedParked, back?.droppedParked], [0, 0])
    assert.equal(await offsetsIn('parked_messages'), [3, 30])
  } finally {
    await stage.sql`delete from sys.consumed_topics where topic_id = ${ref.topicId}`
  }
})

test('what was passed over and then runs again is not passed over any more', async () => {
  assert.is(await progress(0, 10), 'committed')
  await reset({ to: [[0, 65]] })
  await reset({ to: [[0, 40]], rerun: true })
  const [row] = await stage.sql<{ skipped: string }[]>`select skipped::text from sys.partition_resets`
  assert.is(row?.skipped, '{[10,40)}')
})

test('the wrong way is refused, all or none, with what to say instead', async () => {
  assert.is(await progress(0, 50), 'committed')
  assert.is(await progress(1, 5), 'committed')
  assert.match(
    await refusal(
      reset({
        rerun: true,
        to: [
          [0, 20],
          [1, 20],
        ],
      }),
    ),
    /t-1 of group g is at 5, .*--skip/,
  )
  assert.match(
    await refusal(
      reset({
        to: [
          [0, 20],
          [1, 20],
        ],
      }),
    ),
    /t-0 of group g is at 50, .*--rerun/,
  )
  assert.is(await progress(0, 51), 'committed', 'nobody was fenced')
  assert.is((await stage.sql`select from sys.operator_actions`).length, 0)
})

test('a partition that is there already is left alone', async () => {
  assert.is(await progress(0, 50), 'committed')
  assert.is(await progress(1, 10), 'committed')
  const moves = await reset({
    to: [
      [0, 50],
      [1, 50],
    ],
  })
  assert.equal(
    moves.map(({ partition, moved, skipped }) => [partition, moved, skipped]),
    [
      [0, false, 0],
      [1, true, 40],
    ],
  )
  assert.is(await progress(0, 51), 'committed')
  assert.is(await progress(1, 51), 'fenced')
  assert.is((await reset({ to: [[0, 51]], rerun: true }))[0]?.moved, false)
})

test('a log that Kafka has cut off is gone on with at its end, and nothing of it counts as done', async () => {
  await park(3, 30)
  await retry(31)
  assert.is(await progress(0, 50, [[60, 70]]), 'committed')
  const targets = [{ partition: 0, position: 20, logEnd: 20 }]
  const [move] = await reset({ to: [], targets })
  assert.equal([move?.from, move?.to, move?.rerunTo, move?.skipped, move?.droppedParked], [50, 20, null, 0, 0])
  assert.equal(await takenOver(), { watermark: 20, ahead: [], kafkaOffset: -1, retries: [], rerunTo: null })
  await stage.takeAllOver()
  // A new record at the offset of a parked one comes after all that was parked.
  await park(30)
  const parked = async () => {
    const rows = await stage.sql<{ at: number; generation: number }[]>`
      select record_offset::int as at, generation from sys.parked_messages order by generation, record_offset`
    return rows.map(({ at: place, generation }) => [place, generation])
  }
  assert.equal(await parked(), [
    [3, -1],
    [30, -1],
    [30, 0],
  ])
  assert.is(await progress(0, 31), 'committed')
  const [back] = await reset({ to: [[0, 3]], rerun: true })
  assert.is(back?.droppedParked, 2)
  assert.equal(await parked(), [[30, -1]], 'nothing brings that one again')
})

test('what is parked of an earlier topic stays before what is parked of a log that is cut off', async () => {
  await park(3, 30)
  await stage.sql`
    insert into sys.parked_messages
    select (jsonb_populate_record(parked, ${stage.sql.json({ generation: -1, origin_topic_id: randomUUID() })})).*
    from sys.parked_messages as parked`
  assert.is(await progress(0, 50), 'committed')
  await reset({ to: [], targets: [{ partition: 0, position: 20, logEnd: 20 }] })
  const rows = await stage.sql<{ text: string }[]>`
    select concat(record_offset, case when origin_topic_id = parked.topic_id then ' here' when operation is null then '' else ' lost' end) as text
    from sys.parked_messages as parked left join sys.operator_actions on operation = origin_topic_id
    order by generation, record_offset`
  assert.equal(
    rows.map(({ text }) => text),
    ['3', '30', '3 here', '30 lost'],
  )
})

test('what is parked of a log that was cut off, and what has come at its offset, each have a dead letter', async () => {
  const failed = () => at(stage.failed({}, { ...failure, kind: 'permanent' }), 30)
  await park(30)
  assert.is(await progress(0, 50), 'committed')
  await reset({ to: [], targets: [{ partition: 0, position: 20, logEnd: 20 }] })
  await stage.takeAllOver()
  const { ref } = stage.partition(0)
  const wanted = [{ tenant: failed().tenant, after: null, rows: 10 }]
  const { rows } = await stage.ledger.readParked(ref, wanted, 1_000_000)
  assert.is(rows.length, 1)
  const lost = rows.map(({ at: row }) => ({ ...failed(), row }))
  assert.is((await stage.run(lane, [...lost, failed()])).kind, 'committed')
  assert.is((await stage.sql`select from sys.dead_letters where record_offset = 30`).length, 2)
})

test('a partition whose row is lost begins where it is told, above every epoch that there was', async () => {
  assert.is(await progress(0, 50), 'committed')
  await stage.sql`delete from sys.partition_progress where partition = 0`
  assert.match(await refusal(reset({ to: [[0, 40]], rerun: true })), /no row .*--skip/)
  const [move] = await reset({ to: [[0, 40]] })
  assert.equal([move?.from, move?.to, move?.moved], [null, 40, true])
  assert.is(await progress(0, 51), 'fenced')
  const { epoch } = await stage.ledger.takeOver(stage.partition(0).ref)
  assert.ok(epoch > 1_700_000_000_000)
})

test('a record that runs again may become a dead letter again, and a log that was cut off has others', async () => {
  const letter = () => at(stage.failed({}, { ...failure, kind: 'permanent' }), 7)
  assert.is((await stage.run(lane, [letter()])).kind, 'committed')
  assert.is(await progress(0, 20), 'committed')
  for (const rerun of [true, false]) {
    await reset({ to: [], targets: [{ partition: 0, position: 5, logEnd: rerun ? logEnd : 5 }], rerun })
    await stage.takeAllOver()
    const again = await stage.run(lane, [letter()])
    assert.is(again.kind, 'committed', JSON.stringify(again))
    assert.is(await progress(0, 20), 'committed')
  }
  const rows = await stage.sql<{ place: number }[]>`select outbox_place::int as place from sys.dead_letters order by id`
  assert.is(rows.length, 3)
  assert.equal(
    rows.map(({ place }) => place < -1),
    [true, true, false],
  )
})

test('a commit that is on its way when the reset comes is waited for, and one that is sent after it is fenced', async () => {
  const { ref, epoch, seq, commitId } = stage.partition(0)
  const open = postgres(stage.url, { max: 1, onnotice() {} })
  try {
    const resetting = await open.begin(async (tx) => {
      await tx`select sys.fn_commit_progress(${['g']}, ${[ref.topicId]}::uuid[], ${[0]}::int[], ${[commitId]}::uuid[], ${[epoch]}::bigint[],
        ${[seq]}::bigint[], ${randomUUID()}, ${[40]}::bigint[], ${['{}']}::int8multirange[], ${[-1]}::bigint[])`
      const moves = reset({ to: [[0, 10]], rerun: true })
      moves.catch(() => {})
      await eventually(
        async () =>
          (await stage.sql`select from pg_stat_activity where datname = current_database() and wait_event = 'advisory'`)
            .length,
        { what: 'the reset waits' },
      )
      return { moves }
    })
    const [move] = await resetting.moves
    assert.equal([move?.from, move?.rerunTo], [40, 40], 'it has seen that commit')
  } finally {
    await open.end({ timeout: 1 })
  }
})

test('to ignore what Kafka was told is a takeover that leaves everything as it is', async () => {
  assert.is(await progress(0, 50, [[60, 70]], 45), 'committed')
  const { ref } = stage.partition(0)
  const decider = { operation: randomUUID(), by: 'ops', reason: 'a slip' }
  assert.is(await ignoreOffset(stage.sql, { ...ref, ...decider }), 50)
  assert.is(await progress(0, 51), 'fenced')
  assert.equal(await takenOver(), { watermark: 50, ahead: [[60, 70]], kafkaOffset: -1, retries: [], rerunTo: null })
  await stage.sql`delete from sys.partition_progress where partition = 1`
  assert.match(await refusal(ignoreOffset(stage.sql, { ...stage.partition(1).ref, ...decider })), /no row/)
})

test('it is written down who did what, from where to where, and why', async () => {
  assert.is(await progress(0, 50), 'committed')
  assert.is(await progress(1, 20), 'committed')
  const operation = randomUUID()
  await reset({
    to: [
      [0, 10],
      [1, 10],
    ],
    rerun: true,
    operation,
  })
  const rows = await stage.sql`
    select operation, login, requested_by, action, group_name, topic, partition, from_position::int, to_position::int,
      facts, reason
    from sys.operator_actions order by partition`
  assert.equal(
    { ...rows[1] },
    {
      operation,
      login: new URL(stage.url).username,
      requested_by: 'ops',
      action: 'reset',
      group_name: 'g',
      topic: 't',
      partition: 1,
      from_position: 20,
      to_position: 10,
      facts: { rerun_to: 20, skipped: '{}', dropped_parked: 0 },
      reason: 'a test',
    },
  )
  assert.equal([rows.length, rows[0]?.['operation']], [2, operation])
})

test('the first row of a partition stays when old ones are trimmed', async () => {
  assert.is(await progress(0, 50), 'committed')
  assert.is(await progress(0, 60), 'committed')
  await stage.sql`select sys.fn_trim_progress(clock_timestamp() + '1 hour', 1000)`
  const rows = await stage.sql<{ at: number }[]>`
    select watermark::int as at from sys.partition_progress where partition = 0 order by seq`
  assert.equal(
    rows.map((row) => row.at),
    [0, 60],
  )
})

const login = `daemon_${process.pid}`
const operator = `operator_${process.pid}`

test("a daemon's login may not reset, an operator's may when it was granted, and needs no table for it", async () => {
  const { sql } = stage
  await sql`create role ${sql(login)} login in role actuator`
  await sql`create role ${sql(operator)} login`
  const as = (name: string) => {
    const url = new URL(stage.url)
    url.username = name
    return postgres(url.href, { max: 1, onnotice() {} })
  }
  const [daemon, ops] = [as(login), as(operator)]
  try {
    assert.is(await progress(0, 50, [], 40), 'committed')
    const { ref } = stage.partition(0)
    const wanted: Reset = {
      group: 'g',
      topic: 't',
      topicId: ref.topicId,
      targets: [{ partition: 0, position: 10, logEnd }],
      rerun: true,
      dropParked: false,
      action: 'reset',
      operation: randomUUID(),
      by: 'ops',
      reason: 'a test',
    }
    assert.match(await refusal(resetOffsets(daemon, wanted)), /permission denied/)
    assert.match(await refusal(ignoreOffset(daemon, { ...wanted, partition: 0 })), /permission denied/)
    assert.match(await refusal(daemon`delete from sys.operator_actions`), /permission denied/)
    assert.match(await refusal(resetOffsets(ops, wanted)), /permission denied/)
    await sql`grant usage on schema sys to ${sql(operator)}`
    await sql`grant execute on function sys.fn_reset_offsets, sys.fn_ignore_offset to ${sql(operator)}`
    assert.is((await resetOffsets(ops, wanted))[0]?.to, 10)
    const [row] = await sql<{ login: string }[]>`select login from sys.operator_actions`
    assert.is(row?.login, operator)

    // What configuration lets a daemon do by itself it can do where it owns the partition, and nowhere else.
    const ledger = new PostgresLedger({ control: daemon, random: systemRandom, frozenAfterMs: 300 })
    const before = { ...stage.partition(0) }
    await stage.takeOver(stage.partition(0))
    await ledger.acceptOffset(ref, before, 5)
    assert.is((await takenOver()).watermark, 10, 'not the owner any more')
    await stage.takeAllOver()
    await ledger.acceptOffset(ref, stage.partition(0), 5)
    assert.equal(await takenOver(), { watermark: 5, ahead: [], kafkaOffset: -1, retries: [], rerunTo: 50 })
    await stage.takeAllOver()
    await ledger.acceptOffset(ref, stage.partition(0), 70)
    assert.equal(await takenOver(), { watermark: 70, ahead: [], kafkaOffset: -1, retries: [], rerunTo: null })
  } finally {
    await Promise.all([daemon.end({ timeout: 1 }), ops.end({ timeout: 1 })])
    for (const name of [login, operator]) {
      await sql`drop owned by ${sql(name)}`
      await sql`drop role ${sql(name)}`
    }
  }
})

test('whoever looks sees which partitions were moved on', async () => {
  const refs = stage.owned.map(({ ref }) => ref)
  const missing = { ...stage.partition(0).ref, partition: 99 }
  const epochs = async () => (await stage.ledger.standing([...refs, missing])).map(({ epoch }) => epoch)
  assert.equal(await epochs(), [1, 1, 1, 1, -1])
  assert.is(await progress(2, 50), 'committed')
  await reset({ to: [[2, 60]] })
  assert.equal(await epochs(), [1, 1, 2, 1, -1])
})

test("whoever looks sees which of Kafka's offsets are ours", async () => {
  assert.is(await progress(1, 50, [], 40), 'committed')
  const missing = { ...stage.partition(0).ref, partition: 99 }
  const standing = await stage.ledger.standing([stage.partition(1).ref, stage.partition(2).ref, missing])
  assert.equal(
    standing.map(({ kafkaOffset }) => kafkaOffset),
    [40, -1, -1],
  )
})

// runtimes: node, bun
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { systemClock } from '../../core/clock.ts'
import { silentLog } from '../../core/log.ts'
import type { KafkaRecord } from '../../core/kafka/source.ts'
import { defaultLimits } from '../../core/limits.ts'
import { messageKey } from '../../core/message-id.ts'
import { migrateUp } from '../../core/postgres/migrate.ts'
import { everWritten } from '../../core/postgres/transactions.ts'
import type { Decision } from '../../core/workers.ts'
import { WorkerPool } from '../../supervisors/worker-pool.ts'
import { after, before, test } from '../harness.ts'
import { eventually, type FreshDatabase, freshDatabase } from '../services.ts'
import { roomy } from '../unit/pool-stage.ts'

// An actor with dependencies calls nothing for a message that is known to be a copy, on a real server.

/** The only one in its folder. */
const dependent = 0

let database: FreshDatabase
let sql: postgres.Sql
let pool: WorkerPool
const decisions: Decision[] = []
let decided = () => {}
let run = 0

before(async () => {
  database = await freshDatabase()
  await migrateUp(database.url)
  sql = postgres(database.url, { max: 2, onnotice() {} })
  pool = new WorkerPool({
    count: 1,
    actors: join(import.meta.dirname, '../fixtures/actors/dependent'),
    catalog: { tables: [] },
    limits: defaultLimits,
    clock: systemClock,
    log: silentLog,
    databaseUrl: database.url,
    settings: roomy,
    failed: (error) => assert.unreachable(error.message),
  })
  await pool.start({
    decided: (_, more) => {
      decisions.push(...more)
      decided()
    },
    lost: () => {},
    ready: () => {},
  })
})

after(async () => {
  await pool.stop()
  await sql.end({ timeout: 1 })
  await database.drop()
})

function record(offset: number, id: string, payload: unknown = {}): KafkaRecord {
  const value = Buffer.from(JSON.stringify({ message_id: id, type: 'call', tenant_id: 'acme', payload }))
  return { offset, timestamp: 1_764_050_400_000, key: Buffer.from('acme'), value, headers: [] }
}

async function commit(id: string, { group = 'dependent', tenant = 'acme' } = {}): Promise<void> {
  const { uuid, day } = messageKey(id)
  await sql`insert into sys.request_keys (message_id, tenant_id, group_name, day) values (${uuid}, ${tenant}, ${group}, ${day})`
}

function outcomesOf(...frames: readonly (readonly KafkaRecord[])[]): Promise<readonly Decision['outcome'][]> {
  return decide(frames)
}

/** Sends them as a new run, in frames of these; resolves when all of them are decided. */
async function decide(
  frames: readonly (readonly KafkaRecord[])[],
  again?: ReadonlyMap<number, string>,
): Promise<readonly Decision['outcome'][]> {
  decisions.length = 0
  run++
  const count = frames.flat().length
  frames.forEach((records, i) => {
    const opening = { actor: dependent, topic: 't', partition: 0, lane: 0, tenant: 'acme', state: null }
    pool.dispatch(0, [{ mailbox: 1, run, opening: i === 0 ? opening : null, records, ...(again && { again }) }])
  })
  while (decisions.length < count) {
    const more = Promise.withResolvers<void>()
    decided = more.resolve
    await more.promise
  }
  assert.equal(
    decisions.map(({ offset }) => offset),
    frames.flat().map(({ offset }) => offset),
  )
  return decisions.map(({ outcome }) => outcome)
}

const kinds = (outcomes: readonly Decision['outcome'][]) => outcomes.map(({ kind }) => kind)

const v7 = '0190f3a1-7c3b-7abc-9def-0123456789ab'

test('a message whose key is there is a duplicate, and its handler does not run', async () => {
  const v4 = randomUUID()
  for (const id of [v7, v4, 'a text']) await commit(id)
  await commit('of another group', { group: 'other' })
  await commit('of another tenant', { tenant: 'other' })
  const ids = ['new', v7, v4.toUpperCase(), 'a text', 'of another group', 'of another tenant']
  const outcomes = await outcomesOf(ids.map((id, offset) => record(offset, id)))
  assert.equal(kinds(outcomes), ['done', 'duplicate', 'duplicate', 'duplicate', 'done', 'done'])
  assert.equal(outcomes[2], { kind: 'duplicate', messageId: v4.toUpperCase(), type: 'call', traceId: '' })
})

test('a copy of what this run has decided is a duplicate, and in a new run it is not', async () => {
  const id = randomUUID()
  assert.equal(kinds(await outcomesOf([record(0, id), record(1, id)], [record(2, id.toUpperCase())])), [
    'done',
    'duplicate',
    'duplicate',
  ])
  assert.equal(kinds(await outcomesOf([record(1, id)])), ['done'])
})

test('a message that runs again is known only by a key that was written since', async () => {
  const [before, elsewhere, letter, other] = [randomUUID(), randomUUID(), randomUUID(), randomUUID()]
  await commit(before)
  await commit(letter)
  await commit(other)
  const [row] = await sql<{ since: string }[]>`select clock_timestamp()::text as since`
  const since = row?.since ?? ''
  await commit(elsewhere)
  const records = [before, elsewhere, letter, other, before].map((id, offset) => record(offset, id))
  const again = new Map([
    [0, since],
    [1, since],
    [2, everWritten],
    [4, since],
  ])
  assert.equal(kinds(await decide([records], again)), ['done', 'duplicate', 'done', 'duplicate', 'duplicate'])
})

test('a record that is no message is refused in its turn, and what failed is no original', async () => {
  const broken = { ...record(0, 'x'), value: Buffer.from('{') }
  assert.equal(kinds(await outcomesOf([record(0, 'before'), { ...broken, offset: 1 }])), ['done', 'failed'])
  assert.equal(kinds(await outcomesOf([record(0, 'failing', { fail: true })])), ['failed'])
  assert.equal(kinds(await outcomesOf([record(0, 'failing')])), ['done'])
})

test('a dead letter that was brought back runs although its key is there, and a copy beside it does not', async () => {
  const id = randomUUID()
  await commit(id)
  decisions.length = 0
  run++
  const opening = { actor: dependent, topic: 't', partition: 0, lane: 0, tenant: 'acme', state: null }
  const records = [record(7, id), record(3, id), record(8, id)]
  pool.dispatch(0, [{ mailbox: 1, run, opening, records, again: new Map([[1, everWritten]]) }])
  await eventually(() => decisions.length === 3, { what: 'all to be decided' })
  assert.equal(kinds(decisions.map(({ outcome }) => outcome)), ['duplicate', 'done', 'duplicate'])
})

test('while their keys cannot be looked up the messages wait, whatever befalls the look-up', async () => {
  await commit('while away')
  const frozen = await sql.begin(async (tx) => {
    await tx`lock table sys.request_keys in access exclusive mode`
    const outcomes = outcomesOf([record(0, 'while away'), record(1, 'after')])
    for (const strike of ['pg_cancel_backend', 'pg_terminate_backend']) {
      await eventually(
        async () => {
          const rows = await sql`
            select ${sql(strike)}(pid) from pg_stat_activity
            where datname = current_database() and application_name = 'tenantry reader' and wait_event_type = 'Lock'`
          return rows.length
        },
        { what: 'a look-up that waits' },
      )
    }
    assert.is(decisions.length, 0)
    return { outcomes }
  })
  assert.equal(kinds(await frozen.outcomes), ['duplicate', 'done'])
})

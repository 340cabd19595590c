import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { findLetter, listLetters } from '../../cli/dlq/letters.ts'
import { preview, statisticsOf } from '../../cli/dlq/statistics.ts'
import type { Effect, Failure } from '../../core/effects.ts'
import { requireSchema } from '../../core/postgres/migrate.ts'
import { PostgresLedger } from '../../core/postgres/ledger.ts'
import { systemRandom } from '../../core/random.ts'
import { after, before, test } from '../harness.ts'
import { LaneStage, row } from './lane-stage.ts'

// A daemon's login need not own the schema: one of the groups' roles and its actors' tables are enough.

const login = `app_${process.pid}`
let stage: LaneStage
let own: postgres.Sql
let url: string

before(async () => {
  stage = await LaneStage.create((sql) => sql`create table effects (tenant_id text, what text)`)
  await stage.sql`create role ${stage.sql(login)} login in role actuator`
  await stage.sql`grant select, insert on effects to ${stage.sql(login)}`
  const address = new URL(stage.url)
  address.username = login
  url = address.href
  own = postgres(url, { max: 2, onnotice() {} })
})

after(async () => {
  await own?.end({ timeout: 1 })
  await stage.sql`drop owned by ${stage.sql(login)}`
  await stage.sql`drop role ${stage.sql(login)}`
  await stage.end()
})

test('it starts, takes partitions over, and commits whatever a commit may hold', async () => {
  await requireSchema(own)
  const ledger = new PostgresLedger({ control: own, random: systemRandom, frozenAfterMs: 300 })
  for (const owned of stage.owned) Object.assign(owned, await ledger.takeOver(owned.ref))
  const lane = await stage.lane({ url })
  const event: Effect = {
    kind: 'publish',
    topic: 'events',
    messageId: '0198c2f4-7a3b-7c1d-8e2f-123456789abc',
    key: Buffer.from('acme'),
    value: Buffer.from('{}'),
    headers: [],
  }
  const failure: Failure = { reason: 'handler', errorClass: 'Error', message: 'no', stack: '', kind: 'permanent' }
  const written = row('effects', { tenant_id: 'acme', what: 'row' })
  const ofItsOwn: Effect = { kind: 'sql', text: ["insert into effects values ('acme', 'sql')"], values: [] }
  const result = await stage.run(lane, [stage.done({ effects: [written, ofItsOwn, event] }), stage.failed({}, failure)])
  assert.is(result.kind, 'committed', JSON.stringify(result))
  assert.is((await stage.sql`select from effects`).length, 2)
  const [first] = stage.owned
  assert.ok(first)
  const { rows } = await ledger.readOutbox(first.ref, null)
  assert.equal(
    rows.map(({ topic }) => topic),
    ['events', 'dead'],
  )
  for (const { position } of rows) await ledger.refuseOutbox(first.ref, position, 'MESSAGE_TOO_LARGE')
  assert.equal(
    await own`select reason, published from sys.dead_letters order by id`.then((letters) =>
      letters.map((letter) => ({ ...letter })),
    ),
    [
      { reason: 'handler', published: 'refused: MESSAGE_TOO_LARGE' },
      { reason: 'publish_refused', published: 'no' },
    ],
  )
})

test('it may discard dead letters, and nobody can unwrite who did', async () => {
  const [letter] = await own<{ id: string }[]>`select id from sys.dead_letters where state = 'open' limit 1`
  const [done] = await own<{ count: string }[]>`
    select sys.fn_discard_dead_letters(array[${letter?.id ?? 0}::bigint], 'ada', 'a test', '{"ids":1}') as count`
  assert.is(done?.count, '1')
  const [audit] = await own`select session_name, given_name, action, reason, filter, count from sys.dlq_audit`
  assert.equal(
    { ...audit },
    { session_name: login, given_name: 'ada', action: 'discard', reason: 'a test', filter: { ids: 1 }, count: '1' },
  )
  const refused = async (statement: PromiseLike<unknown>) => {
    try {
      await statement
    } catch (error) {
      return error instanceof Error && 'code' in error ? error.code : error
    }
    return 'done'
  }
  const attempts = [
    own`update sys.dlq_audit set reason = 'another'`,
    own`delete from sys.dlq_audit`,
    own`truncate sys.dlq_audit`,
    own`insert into sys.dlq_audit (operation, session_name, given_name, action, reason, filter, count)
      values (gen_random_uuid(), 'ada', 'ada', 'discard', '', '{}', 1)`,
    own`update sys.dead_letters set state = 'open'`,
    own`delete from sys.dead_letters`,
  ]
  for (const attempt of attempts) assert.is(await refused(attempt), '42501')
})

test('it may replay dead letters, and see them replayed', async () => {
  await stage.sql`update sys.dead_letters set state = 'open'`
  const replays = await own<{ refused: string | null }[]>`
    select refused from sys.fn_replay_dead_letters(array(select id from sys.dead_letters order by id), 'ada', 'a test')`
  assert.equal(
    replays.map(({ refused }) => refused),
    [null, 'message'],
  )
  const [audit] =
    await own`select session_name, given_name, action, count::int from sys.dlq_audit order by id desc limit 1`
  assert.equal({ ...audit }, { session_name: login, given_name: 'ada', action: 'replay', count: 1 })
  const ledger = new PostgresLedger({ control: own, random: systemRandom, frozenAfterMs: 300 })
  assert.is((await ledger.findReplayed(stage.owned.map(({ ref }) => ref))).length, 1)
})

test('it may ask what there is, and what is wrong with it', async () => {
  await own`select * from sys.vw_dlq_summary`
  await own`select * from sys.fn_get_dlq_statistics()`
  await own`select sys.fn_value_matches('{}', '$.a == 1')`
  const { letters } = await listLetters(own, { jsonPath: '$.a == 1', state: 'open' }, { limit: 1, before: null })
  assert.equal(letters, [])
  const [letter] = await own<{ id: string }[]>`select id from sys.dead_letters where operation is not null`
  assert.is((await findLetter(own, Number(letter?.id))).operation?.givenName, 'ada')
  await preview(own, { group: 'g' })
  await statisticsOf(own, new Date(0), undefined)
})

test('it may keep breakers, and trip one', async () => {
  const lane = await stage.lane({ url })
  const ledger = new PostgresLedger({ control: own, random: systemRandom, frozenAfterMs: 300 })
  const breaker = { actor: 'a', tenant: 'acme', dependency: 'api', state: 'open', failures: 5, successes: 0 } as const
  assert.is((await stage.breakers(lane, 0, [{ ...breaker, probeAt: 0 }])).kind, 'committed')
  assert.is((await stage.breakers(lane, 0, [{ ...breaker, state: 'closed' }])).kind, 'committed')
  await own`select sys.fn_trip_breaker('g', 'a', 'api', '', '1 hour', 'why', 'me')`
  assert.is((await ledger.breakerRequests(['g'])).trips.length, 1)
})

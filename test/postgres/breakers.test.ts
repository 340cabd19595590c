import * as assert from 'uvu/assert'
import type { PostgresLane } from '../../core/postgres/lane.ts'
import type { BreakerRow } from '../../core/postgres/transactions.ts'
import { after, before, test } from '../harness.ts'
import { LaneStage } from './lane-stage.ts'

// Breakers that are not closed are written in the commits of their partition's owner, and found by the next one.

let stage: LaneStage
let lane: PostgresLane

before(async () => {
  stage = await LaneStage.create(async () => {})
  lane = await stage.lane()
})

after(() => stage.end())

const soon = 4_000_000_000_123
const row: BreakerRow = {
  actor: 'a',
  tenant: 'acme "{',
  dependency: 'api',
  state: 'open',
  failures: 5,
  successes: 0,
  probeAt: soon,
}
const shared: BreakerRow = { ...row, tenant: '', failures: 7 }

/** As the next owner of the partition finds them; it is the owner from then on. */
async function found(number = 0): Promise<readonly BreakerRow[]> {
  const partition = stage.partition(number)
  const { breakers, ...owned } = await stage.ledger.takeOver(partition.ref)
  Object.assign(partition, { epoch: owned.epoch, seq: owned.seq, commitId: owned.commitId })
  return [...breakers].sort((a, b) => (a.tenant < b.tenant ? -1 : 1))
}

test('a breaker is written with a commit, changed by later ones, and gone when it closes', async () => {
  assert.is((await stage.breakers(lane, 0, [row, shared])).kind, 'committed')
  assert.equal(await found(), [shared, row])
  assert.equal(await found(1), [], "another partition's are not found")
  const later: BreakerRow = { ...row, state: 'half-open', failures: 6, successes: 1, probeAt: soon + 60_000 }
  assert.is((await stage.breakers(lane, 0, [later])).kind, 'committed')
  assert.equal(await found(), [shared, later])
  const { actor, tenant, dependency } = row
  assert.is((await stage.breakers(lane, 0, [{ actor, tenant, dependency, state: 'closed' }])).kind, 'committed')
  assert.equal(await found(), [shared])
  assert.is((await stage.breakers(lane, 0, [{ actor, tenant: '', dependency, state: 'closed' }])).kind, 'committed')
  assert.equal(await found(), [])
})

test('an owner that has been fenced writes no breaker', async () => {
  const { ref, epoch, seq, commitId } = stage.partition(0)
  await found()
  const current = { ...stage.partition(0) }
  Object.assign(stage.partition(0), { epoch, seq, commitId })
  assert.is((await stage.breakers(lane, 0, [row])).kind, 'fenced')
  Object.assign(stage.partition(0), current)
  assert.equal([...(await stage.sql`select from sys.circuit_breaker_state where partition = ${ref.partition}`)], [])
})

test('when it opened is kept while it stays open', async () => {
  await stage.breakers(lane, 0, [row])
  const opened = async () =>
    (await stage.sql<{ at: Date }[]>`select opened_at as at from sys.circuit_breaker_state`).map(({ at }) => at)
  const [first] = await opened()
  await stage.breakers(lane, 0, [{ ...row, probeAt: soon + 1 }])
  assert.equal(await opened(), [first])
})

const request = { group: 'g', actor: 'a', dependency: 'api' }

async function trip(tenant: string, lasts: string): Promise<number> {
  const [asked] = await stage.sql<{ id: string }[]>`
    select sys.fn_trip_breaker('g', 'a', 'api', ${tenant}, ${lasts}::interval, 'maintenance', 'me')::text as id`
  return Number(asked?.id)
}

async function reset(tenant: string): Promise<number> {
  const [asked] = await stage.sql<{ id: string }[]>`
    select sys.fn_reset_breaker('g', 'a', 'api', ${tenant}, 'mended', 'me')::text as id`
  return Number(asked?.id)
}

test('a trip is in force until it ends, another takes its place, or it is reset', async () => {
  const trips = async () => (await stage.ledger.breakerRequests(['g'])).trips
  await trip('acme', '-1 second')
  assert.equal(await trips(), [], 'it has ended')
  await trip('acme', '1 hour')
  const second = await trip('acme', '2 hours')
  assert.equal(await trips(), [{ id: second, ...request, tenant: 'acme' }])
  const all = await trip('', '1 hour')
  assert.equal(
    (await trips()).map(({ id }) => id),
    [second, all],
  )
  assert.equal((await stage.ledger.breakerRequests(['other'])).trips, [])
  await reset('acme')
  assert.equal(
    (await trips()).map(({ id }) => id),
    [all],
    'that of all tenants is another',
  )
  await trip('acme', '1 hour')
  const last = await reset('')
  const asked = await stage.ledger.breakerRequests(['g'])
  assert.equal(asked.trips, [], 'a reset of all ends each')
  assert.equal(asked.resets.at(-1), { id: last, ...request, tenant: '' })
  assert.is(asked.resets.length, 2)
})

test('a breaker that was reset after it was written is due at once for whoever takes it over', async () => {
  await stage.breakers(lane, 0, [row, shared])
  await reset(row.tenant)
  assert.equal(
    (await found()).map(({ tenant, probeAt }) => [tenant, probeAt]),
    [
      ['', soon],
      [row.tenant, 0],
    ],
  )
  await stage.breakers(lane, 0, [row])
  assert.equal((await found()).at(-1)?.probeAt, soon, 'it has opened again since')
})

test('who asked for what, and why, can only be added to', async () => {
  const [last] = await stage.sql`
    select action, tenant_id, reason, requested_by, login = session_user as own from sys.breaker_requests order by id desc limit 1`
  assert.equal({ ...last }, { action: 'reset', tenant_id: row.tenant, reason: 'mended', requested_by: 'me', own: true })
  await stage.sql`
    do $$
    begin
      if not has_table_privilege('actuator', 'sys.breaker_requests', 'insert')
        or has_table_privilege('actuator', 'sys.breaker_requests', 'update')
        or has_table_privilege('actuator', 'sys.breaker_requests', 'delete')
        or has_table_privilege('actuator', 'sys.breaker_requests', 'truncate')
      then raise exception 'the wrong rights'; end if;
    end $$`
})

import { readFileSync } from 'node:fs'
import { kill } from 'node:process'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import type { PostgresLane } from '../../core/postgres/lane.ts'
import type { Commit } from '../../core/postgres/transactions.ts'
import { moments } from '../chaos/conversation.ts'
import { WireProxy } from '../chaos/wire-proxy.ts'
import { after, before, test } from '../harness.ts'
import { eventually } from '../services.ts'
import { LaneStage, row } from './lane-stage.ts'

// A commit whose answer is lost has happened or has not: `resolve` says which, and nothing can change it afterwards.

let stage: LaneStage
let proxy: WireProxy

before(async () => {
  stage = await LaneStage.create((sql) => sql`create table effects (tenant_id text, what text)`)
  proxy = await WireProxy.before(stage.url)
})

after(async () => {
  await proxy.close()
  await stage.end()
})

function commitOf(what: string): Commit {
  return stage.commit(
    [0, 1].map((partition) => stage.done({ partition, effects: [row('effects', { tenant_id: 'acme', what })] })),
  )
}

async function effects(what: string): Promise<number> {
  return (await stage.sql`select from effects where what = ${what}`).length
}

/** A lane that has committed before: a first commit's statements are described one by one, and nothing is pipelined. */
async function warmLane(url: string, answerMs: number): Promise<PostgresLane> {
  const lane = await stage.lane({ url, answerMs })
  for (let times = 0; times < 2; times++) {
    const commit = commitOf('warm')
    assert.is((await lane.commit(commit, { kind: 'optimistic' })).kind, 'committed')
    stage.moved(commit)
  }
  return lane
}

for (const moment of moments) {
  for (const how of ['cut', 'silent'] as const) {
    test(`a connection that is ${how} ${moment}: unknown, and then known for good`, async () => {
      const lane = await warmLane(proxy.url, 1_500)
      const what = `${moment}, ${how}`
      const commit = commitOf(what)
      const reached = proxy.reached(moment)
      const answer = lane.commit(commit, { kind: 'optimistic' })
      await reached
      if (how === 'cut') proxy.cut()
      assert.is((await answer).kind, 'unknown')
      const resolution = await lane.resolve(commit)
      const happened = await effects(what)
      if (moment === 'after the commit, before its answer') {
        assert.equal([resolution, happened], [{ kind: 'committed' }, 2])
        stage.moved(commit)
      } else {
        assert.equal([resolution, happened], [{ kind: 'not-committed', moved: [] }, 0])
        // Nobody has moved the partitions on, so the same decisions go again.
        const again = commitOf(what)
        assert.is((await lane.commit(again, { kind: 'optimistic' })).kind, 'committed')
        stage.moved(again)
      }
      assert.is(await effects(what), 2)
    })
  }
}

test('a backend that is frozen with a whole commit in its buffer is ended before anybody says what became of it', async () => {
  const lane = await warmLane(stage.url, 500)
  const pid = await backendOf('test lane 0')
  const commit = commitOf('frozen')
  kill(pid, 'SIGSTOP')
  try {
    assert.is((await lane.commit(commit, { kind: 'optimistic' })).kind, 'unknown')
    const early = await lane.resolve(commit)
    assert.is(early.kind, 'unavailable', 'told to end, it has not: it may still commit')
    // Its successor does not wait for it: whatever the frozen one still does comes too late.
    await stage.takeAllOver()
  } finally {
    kill(pid, 'SIGCONT')
  }
  const late = await eventually(
    async () => {
      const resolution = await lane.resolve(commit)
      return resolution.kind === 'unavailable' ? undefined : resolution
    },
    { what: 'the backend to be gone' },
  )
  assert.equal(late, { kind: 'not-committed', moved: [0, 1] })
  assert.is(await effects('frozen'), 0)
  const successor = commitOf('frozen')
  assert.is((await lane.commit(successor, { kind: 'optimistic' })).kind, 'committed')
  stage.moved(successor)
  assert.is(await effects('frozen'), 2)
})

test('without a fence, and without anyone ending it, a frozen backend does what lies in its buffer when it wakes', async () => {
  // The control of the test above: that nothing came of the commit was the fence's doing, not the freezing's.
  const sql = postgres(stage.url, { max: 1, onnotice() {}, connection: { application_name: 'control' } })
  const insert = () => [sql`begin`, sql`insert into effects (what) values ('control')`, sql`commit`]
  await Promise.all(insert())
  const pid = await backendOf('control')
  kill(pid, 'SIGSTOP')
  const sent = insert().map((query) => query.catch((error: unknown) => error))
  try {
    await eventually(() => unread() > 0, { what: 'the statements in the buffer of the frozen backend' })
  } finally {
    await sql.end({ timeout: 0 }).catch(() => {})
    kill(pid, 'SIGCONT')
  }
  await Promise.all(sent)
  await eventually(async () => (await effects('control')) === 2, { what: 'the orphan’s commit' })
})

async function backendOf(name: string): Promise<number> {
  return eventually(
    async () => {
      const [newest] = await stage.sql<{ pid: number }[]>`
        select pid from pg_stat_activity
        where datname = current_database() and application_name = ${name} order by backend_start desc limit 1`
      return newest?.pid
    },
    { what: `a backend of ${name}` },
  )
}

/** Bytes that lie in the receive buffers of the server's connections. */
function unread(): number {
  const port = Number(new URL(stage.url).port).toString(16).toUpperCase().padStart(4, '0')
  const lines = readFileSync('/proc/net/tcp', 'latin1').split('\n').slice(1)
  return lines
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local = '', , state]) => local.endsWith(`:${port}`) && state === '01')
    .reduce((sum, [, , , , queues = '']) => sum + Number.parseInt(queues.split(':')[1] ?? '0', 16), 0)
}

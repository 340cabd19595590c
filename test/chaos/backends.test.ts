// timeout: 900 s
import { kill } from 'node:process'
import { setTimeout as pause } from 'node:timers/promises'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { test } from '../harness.ts'
import { eventually } from '../services.ts'
import { minute, partitions, perSecond, scale } from './stage.ts'
import { stageForEach } from './stage-for-each.ts'

// What happens to the daemons' connections: ended, frozen, held up by somebody's old snapshot.

const stage = stageForEach()

test(
  `${20 * scale} connections ended at random, lanes and others, cost nothing`,
  async () => {
    const on = await stage()
    const daemons = [on.start(), on.start()]
    on.feed(perSecond)
    await Promise.all(daemons.map((daemon) => daemon.until('partition.owned')))
    for (let ended = 0; ended < 20 * scale; ) {
      await pause(Math.random() * 300)
      const rows = await on.sql`
        select pg_terminate_backend(pid) from (
          select pid from pg_stat_activity
          where datname = current_database() and application_name like 'tenantry%'
          order by random() limit 1) as victim`
      ended += rows.length
    }
    const { records } = await on.finish()
    assert.ok(records > 2_000)
  },
  { timeoutMs: scale * 3 * minute },
)

test(
  'a backend that is frozen in mid-load is ended and outlived, and does nothing when it wakes',
  async () => {
    const on = await stage()
    const daemon = on.start()
    on.feed(perSecond)
    await daemon.until('partition.owned', partitions)
    for (let rounds = 0; rounds < 3 * scale; rounds++) {
      await on.worked(perSecond / 2)
      const [lane] = await on.sql<{ pid: number }[]>`
        select pid from pg_stat_activity
        where datname = current_database() and application_name like '%lane%' limit 1`
      assert.ok(lane, 'a lane has a connection')
      kill(lane.pid, 'SIGSTOP')
      try {
        // Its commit stays unanswered (2 s), and it cannot end as it is told to: nothing is committed meanwhile.
        await eventually(() => daemon.events('trouble').length > rounds, {
          deadlineMs: 30_000,
          what: 'the daemon to say that a backend does not end',
        })
      } finally {
        kill(lane.pid, 'SIGCONT')
      }
      await on.worked(perSecond / 2)
    }
    await on.finish()
  },
  { timeoutMs: scale * 3 * minute },
)

test(
  'a snapshot that is held open all the time slows nobody to a halt',
  async () => {
    const on = await stage()
    const old = postgres(on.database, { max: 1, onnotice() {} })
    try {
      await old.begin('isolation level repeatable read', async (sql) => {
        await sql`select count(*) from sys.partition_progress`
        const daemon = on.start()
        on.feed(2 * perSecond)
        await daemon.until('partition.owned', partitions)
        await on.worked(perSecond * 20)
        await on.finish()
      })
    } finally {
      await old.end({ timeout: 1 })
    }
  },
  { timeoutMs: 2 * minute },
)

// runtimes: node, bun
// timeout: 1800 s
import { setTimeout as pause } from 'node:timers/promises'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { test } from '../harness.ts'
import { commitsWaiting, eventually } from '../services.ts'
import { minute, partitions, perSecond, scale } from './stage.ts'
import { stageForEach } from './stage-for-each.ts'

// What happens to daemons: killed, frozen, joined by others, told to stop. Each ends with both checkers.

const stage = stageForEach()

test(
  `${20 * scale} SIGKILLs at random, each of a daemon that has just taken partitions over, cost nothing`,
  async () => {
    const on = await stage()
    const daemons = [on.start(), on.start()]
    on.feed(perSecond)
    for (let kills = 0; kills < 20 * scale; kills++) {
      const slot = Math.random() < 0.5 ? 0 : 1
      await daemons[slot]?.until('partition.owned')
      await pause(Math.random() * 500)
      await daemons[slot]?.kill()
      daemons[slot] = on.start()
    }
    const { records } = await on.finish()
    assert.ok(records > 2_000)
  },
  { timeoutMs: scale * 5 * minute },
)

test(
  'daemons that join and leave over and over, drained each time, cost nothing',
  async () => {
    const on = await stage()
    let old = on.start()
    on.feed(perSecond)
    await old.until('partition.owned', partitions)
    for (let rounds = 0; rounds < 5 * scale; rounds++) {
      const young = on.start()
      await young.until('partition.owned')
      await on.worked(perSecond / 4)
      assert.is(await old.stop(), 0, old.logEnd())
      old = young
    }
    await on.finish()
  },
  { timeoutMs: scale * 3 * minute },
)

test(
  'a daemon that was frozen past its session is fenced, goes on, and has changed nothing behind its successor’s back',
  async () => {
    const on = await stage()
    const [zombie, successor] = [on.start(), on.start()]
    on.feed(perSecond)
    await Promise.all([zombie.until('partition.owned'), successor.until('partition.owned')])
    for (let rounds = 0; rounds < 2 * scale; rounds++) {
      await on.worked(perSecond / 2)
      const [had, took] = [zombie.events('partition.owned').length, successor.events('partition.owned').length]
      zombie.signal('SIGSTOP')
      await successor.until('partition.owned', took + 1)
      await on.worked(perSecond)
      zombie.signal('SIGCONT')
      await zombie.until('partition.owned', had + 1)
    }
    await on.finish()
  },
  { timeoutMs: scale * 3 * minute },
)

test(
  'SIGTERM in mid-load drains and ends with 0 well within the deadline, and the next daemon goes on from there',
  async () => {
    const on = await stage()
    on.feed(perSecond)
    for (let rounds = 0; rounds < 2 * scale; rounds++) {
      const daemon = on.start()
      await daemon.until('partition.owned', partitions)
      await on.worked(perSecond / 2)
      const asked = performance.now()
      assert.is(await daemon.stop(), 0, daemon.logEnd())
      assert.ok(performance.now() - asked < 8_000, 'the deadline is 10 s, and nothing held it up')
      assert.is(daemon.events('daemon.stopped').length, 1)
    }
    on.start()
    await on.finish()
  },
  { timeoutMs: scale * 2 * minute },
)

test(
  'a second SIGTERM ends a daemon whose drain is held up, at once, and costs nothing',
  async () => {
    const on = await stage()
    const daemon = on.start()
    on.feed(perSecond)
    await daemon.until('partition.owned', partitions)
    await on.worked(perSecond / 2)
    const blocker = postgres(on.database, { max: 1, onnotice() {} })
    try {
      await blocker.begin(async (sql) => {
        await sql`lock table effects in access exclusive mode`
        await eventually(async () => (await commitsWaiting(on.sql)) > 0, { what: 'a commit that waits for the lock' })
        daemon.signal('SIGTERM')
        await daemon.until('daemon.draining')
        const asked = performance.now()
        assert.is(await daemon.stop(), 143, daemon.logEnd())
        assert.ok(performance.now() - asked < 5_000, 'it does not wait for the 10 s of its drain')
      })
    } finally {
      await blocker.end({ timeout: 1 })
    }
    on.start()
    await on.finish()
  },
  { timeoutMs: 2 * minute },
)

test(
  'of two daemons with one instance id the older ends with the code of a conflict, and the younger goes on',
  async () => {
    const on = await stage()
    const set = [`groups.${on.topic}.instanceId=same`, 'consumer.protocol=classic']
    const older = on.start({ set })
    on.feed(perSecond)
    await older.until('partition.owned', partitions)
    const younger = on.start({ set })
    assert.is(await older.ended, 7, older.logEnd())
    assert.is(older.events('daemon.failed')[0]?.['code'], 'TENANTRY_INSTANCE_FENCED')
    await younger.until('partition.owned', partitions)
    await on.finish()
  },
  { timeoutMs: 2 * minute },
)

// timeout: 900 s
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { type Services, startServices } from '../../cli/dev/services.ts'
import { recordsDone } from '../services.ts'
import { after, before, test } from '../harness.ts'
import { Stage, minute, partitions, perSecond } from './stage.ts'
import { Standby } from './standby.ts'
import { TcpProxy } from './tcp-proxy.ts'

// PostgreSQL fails over to a standby that has not received the last commits, although they were answered.

const dir = mkdtempSync(join(tmpdir(), 'tenantry-failover-'))
let primary: Services
let standby: Standby
let proxy: TcpProxy
let stage: Stage

before(async () => {
  primary = await startServices({ dir, kafka: false, redis: false })
  standby = await Standby.of(dir, primary.postgresUrl)
  proxy = await TcpProxy.open()
  const { hostname, port } = new URL(primary.postgresUrl)
  proxy.lead(hostname, Number(port))
  const server = new URL(primary.postgresUrl)
  server.host = `127.0.0.1:${proxy.port}`
  stage = await Stage.create({ postgres: server.href })
})

after(async () => {
  await stage?.end()
  await proxy?.close()
  await standby?.wipe()
  await primary?.wipe()
})

test(
  'a daemon whose last commits are lost by a failover takes over again from what is left, and reruns them once',
  async () => {
    const daemon = stage.start()
    stage.feed(perSecond)
    await daemon.until('partition.owned', partitions)
    await stage.worked(2 * perSecond)
    // From here on the standby hears nothing, and the primary answers commits all the same.
    standby.stream.weather = { kind: 'held', direction: 'answers' }
    await stage.worked(3 * perSecond)
    // Two seconds of commits will be gone; with some partitions quiet, that is for their own commits to find out.
    await stage.stopFeeding()
    const before = await stage.done()
    proxy.weather = { kind: 'refusing' }
    await primary.postgres.kill('SIGKILL')
    standby.stream.weather = { kind: 'refusing' }
    await standby.promote()
    const { hostname, port } = new URL(standby.url)
    proxy.lead(hostname, Number(port))
    const promoted = new URL(stage.database)
    promoted.host = `${hostname}:${port}`
    const sql = postgres(promoted.href, { max: 1, onnotice() {} })
    const left = await recordsDone(sql, stage.topic)
    await sql.end({ timeout: 1 })
    assert.ok(left <= before - 2 * perSecond, `${before} records were done, and ${left} are left`)
    const owned = daemon.events('partition.owned').length
    proxy.weather = { kind: 'fair' }
    await daemon.until('partition.owned', owned + partitions)
    stage.feed(perSecond)
    await stage.finish()
    assert.is(daemon.events('partition.fenced').length, partitions)
    assert.is(daemon.events('partition.stopped').length, 0)
  },
  { timeoutMs: 5 * minute },
)

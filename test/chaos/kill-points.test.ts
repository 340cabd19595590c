// runtimes: node, bun
// timeout: 1200 s
import * as assert from 'uvu/assert'
import { after, before, test } from '../harness.ts'
import { eventually } from '../services.ts'
import { type Moment, moments } from './conversation.ts'
import { partitions, scale, Stage } from './stage.ts'
import { WireProxy } from './wire-proxy.ts'

// SIGKILL at labelled points of a commit and in a revoke. A proxy in front of PostgreSQL knows when they are there.

const rounds = 2 * scale
const perSecond = 500
const hits = new Map<Moment | 'in the revoke', number>()
let stage: Stage
let proxy: WireProxy

before(async () => {
  stage = await Stage.create()
  proxy = await WireProxy.before(stage.database)
})

after(async () => {
  await stage.end()
  await proxy.close()
})

function hit(point: Moment | 'in the revoke'): void {
  hits.set(point, (hits.get(point) ?? 0) + 1)
}

test(
  `SIGKILL ${moments.join(', ')}: ${rounds} times each, and nothing is lost, doubled or reordered`,
  async () => {
    stage.feed(perSecond)
    for (let round = 0; round < rounds; round++) {
      for (const moment of moments) {
        const daemon = stage.start({ database: proxy.url })
        await daemon.until('partition.owned', partitions)
        await stage.worked(perSecond / 4)
        await proxy.reached(moment)
        await daemon.kill()
        hit(moment)
      }
    }
    stage.start()
    await stage.finish()
  },
  { timeoutMs: rounds * 90_000 },
)

test(
  `SIGKILL in the revoke: ${rounds} times, and nothing is lost, doubled or reordered`,
  async () => {
    stage.feed(perSecond)
    let heir = stage.start({ database: proxy.url })
    for (let round = 0; round < rounds; round++) {
      const owner = heir
      await owner.until('partition.owned', partitions)
      await stage.worked(perSecond / 4)
      // What is being revoked waits for its last commits: long enough to be seen.
      proxy.delayMs = 300
      heir = stage.start({ database: proxy.url })
      const closing = `tenantry_partitions{group="${stage.topic}",phase="closing"}`
      await eventually(async () => (await owner.metrics()).get(closing), {
        deadlineMs: 30_000,
        every: 1,
        what: 'a partition that is being revoked',
      })
      await owner.kill()
      hit('in the revoke')
      proxy.delayMs = 0
    }
    await stage.finish()
  },
  { timeoutMs: rounds * 90_000 },
)

test('each point was hit as often as was meant', () => {
  for (const point of [...moments, 'in the revoke'] as const) assert.is(hits.get(point), rounds, point)
})

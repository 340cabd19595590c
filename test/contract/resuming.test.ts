// runtimes: node, bun
import * as assert from 'uvu/assert'
import { createSource } from '../../core/kafka/drivers.ts'
import { test } from '../harness.ts'
import { eventually } from '../services.ts'
import { Stage } from './stage.ts'

/** A broker keeps a request for partitions with nothing new for 100 ms. */
const fastMs = 60

const stage = new Stage('platformatic', (options) => createSource({ ...options, driver: 'platformatic' }))

test('a partition that resumes does not wait with those that have nothing new', async () => {
  const name = await stage.topic(3)
  const partition = { topic: name, partition: 0 }
  await stage.fill(name, 0, 0, 40_000, 1_000)
  const member = await stage.owner(3, { topics: [name], from: 0 })
  const waits: number[] = []
  while (member.recordsOf(0).length < 40_000) {
    member.source.pause([partition])
    const paused = performance.now()
    // Long enough that the others are asked for by themselves.
    await eventually(() => performance.now() - paused > 10, { every: 2 })
    const before = member.count()
    const resumed = performance.now()
    member.source.resume([partition])
    await eventually(() => member.count() > before, { every: 1 })
    waits.push((member.batches.at(-1)?.at ?? 0) - resumed)
  }
  waits.sort((a, b) => a - b)
  const median = waits[waits.length >> 1] ?? 0
  assert.ok(waits.length >= 20, `${waits.length} resumptions`)
  assert.ok(median < fastMs, `half of ${waits.length} resumptions took ${median} ms or more`)
})

// runtimes: node, bun
import * as assert from 'uvu/assert'
import { createSource } from '../../core/kafka/drivers.ts'
import type { TopicPartition } from '../../core/kafka/source.ts'
import { test } from '../harness.ts'
import { eventually } from '../services.ts'
import type { Member } from './member.ts'
import { Stage } from './stage.ts'

/** A broker keeps a request for partitions with nothing new for 100 ms. */
const fastMs = 60

const stage = new Stage('platformatic', (options) => createSource({ ...options, driver: 'platformatic' }))

/**
 * How long a quarter of the resumptions take at least, while all of a partition is read from its beginning: up to half
 * have nothing to wait for, as what comes next was fetched ahead.
 */
async function longWaitMs(member: Member, partition: TopicPartition, records: number): Promise<number> {
  const token = member.seek(partition, 0)
  const waits: number[] = []
  while (member.recordsOf(partition.partition, token).length < records) {
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
  assert.ok(waits.length >= 20, `${waits.length} resumptions`)
  waits.sort((a, b) => a - b)
  return waits[Math.floor(waits.length * 0.75)] ?? 0
}

test('a partition that resumes does not wait with those that have nothing new', async () => {
  const name = await stage.topic(3)
  await stage.fill(name, 0, 0, 40_000, 1_000)
  const member = await stage.owner(3, { topics: [name] })
  for (const partition of [1, 2]) member.seek({ topic: name, partition }, 0)
  // A machine with much else to do is slow now and then; a partition that waits with the others is slow each time.
  const waits: number[] = []
  while (waits.length < 5 && waits.every((wait) => wait >= fastMs))
    waits.push(await longWaitMs(member, { topic: name, partition: 0 }, 40_000))
  assert.ok((waits.at(-1) ?? fastMs) < fastMs, `a quarter of the resumptions took ${waits.join(', ')} ms or more`)
})

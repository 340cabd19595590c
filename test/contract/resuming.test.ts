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

/** How long half of the resumptions take at least, while all of a partition is read from its beginning. */
async function medianWaitMs(member: Member, partition: TopicPartition, records: number): Promise<number> {
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
  return waits[waits.length >> 1] ?? 0
}

test('a partition that resumes does not wait with those that have nothing new', async () => {
  const name = await stage.topic(3)
  await stage.fill(name, 0, 0, 40_000, 1_000)
  const member = await stage.owner(3, { topics: [name] })
  for (const partition of [1, 2]) member.seek({ topic: name, partition }, 0)
  // A machine with much else to do is slow now and then; a partition that waits with the others is slow each time.
  const medians: number[] = []
  while (medians.length < 5 && medians.every((median) => median >= fastMs))
    medians.push(await medianWaitMs(member, { topic: name, partition: 0 }, 40_000))
  assert.ok((medians.at(-1) ?? fastMs) < fastMs, `half of the resumptions took ${medians.join(', ')} ms or more`)
})

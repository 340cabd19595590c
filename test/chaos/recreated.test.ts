// timeout: 600 s
import { Admin } from '@platformatic/kafka'
import * as assert from 'uvu/assert'
import { test } from '../harness.ts'
import { eventually } from '../services.ts'
import { readTopic } from './history.ts'
import { minute, partitions, type Stage } from './stage.ts'
import { stageForEach } from './stage-for-each.ts'

// The topic is made anew, and has soon more records than its predecessor had: its daemon's position is in its log, too.

const stage = stageForEach()

async function recreate(on: Stage): Promise<void> {
  await on.stopFeeding()
  const log = await readTopic(on.kafka, on.topic)
  const admin = new Admin({ clientId: 'chaos-recreated', bootstrapBrokers: on.kafka.split(',') })
  try {
    await admin.deleteTopics({ topics: [on.topic] })
    on.gone.push(log)
    await eventually(
      async () => {
        await admin.createTopics({ topics: [on.topic], partitions, replicas: 1 })
        return true
      },
      { deadlineMs: 20_000 },
    )
  } finally {
    await admin.close()
  }
}

const makes = [
  ['platformatic', 'consumer'],
  ['platformatic', 'classic'],
  ['confluent', 'consumer'],
  ['confluent', 'classic'],
] as const

for (const [driver, protocol] of makes) {
  test(
    `a topic that was made anew is read from its beginning alone, by ${driver} with the ${protocol} protocol`,
    async () => {
      const on = await stage()
      on.start({ set: [`kafka.driver=${driver}`, `consumer.protocol=${protocol}`] })
      on.feed(200)
      await on.worked(200)
      await recreate(on)
      on.feed(4_000)
      const { sent } = on
      await eventually(() => on.sent > sent + 8_000, { deadlineMs: 60_000 })
      await eventually(async () => (await on.sql`select from sys.consumed_topics`).length === 2, { deadlineMs: 60_000 })
      const { lost, duplicated, reordered, invented, findings } = await on.verdict()
      assert.equal(
        { lost, duplicated, reordered, invented, findings },
        { lost: 0, duplicated: 0, reordered: 0, invented: 0, findings: [] },
      )
    },
    { timeoutMs: 4 * minute },
  )
}

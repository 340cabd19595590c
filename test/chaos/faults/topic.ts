import { eventually } from '../../services.ts'
import { withAdmin } from '../admin.ts'
import { busy } from '../busy.ts'
import { type Fault, type Ground, last, lastBetween, nodes, seconds } from '../fault.ts'
import { readTopic } from '../history.ts'
import { partitions } from '../stage.ts'

const patience = { deadlineMs: 120_000, every: 200 }

/** What becomes of the topic itself. */
export const topicFaults: readonly Fault[] = [
  {
    name: 'topic-recreated',
    area: 'operators',
    about: 'the topic deleted with records in it that nobody has done, and made anew after up to 3 s',
    alone: true,
    async strike(ground) {
      const { stage, random } = ground
      const left = await busy(ground, random.chance(0.7), async () => {
        await stage.stopFeeding()
        const log = await readTopic(stage.kafka, stage.topic)
        const done = await stage.done()
        await withAdmin(ground, (admin) => admin.deleteTopics({ topics: [stage.topic] }))
        stage.gone.push(log)
        await last(ground, random.between(0, 1_000))
        return log.records.length - done
      })
      const ms = await lastBetween(ground, 0, 2_000)
      await eventually(() => made(ground), { ...patience, what: 'the topic made anew' })
      stage.feed()
      const begun = performance.now()
      await eventually(async () => (await begunTopics(ground)) > stage.gone.length, {
        ...patience,
        what: 'somebody begins the new topic',
      })
      return `${left} left undone, away for ${seconds(ms)}, begun after ${seconds(performance.now() - begun)}`
    },
  },
]

/** Whether there is a topic of the name again, with all its leaders; asks for it where there is none. */
function made(ground: Ground): Promise<boolean> {
  const { topic, gone } = ground.stage
  return withAdmin(ground, async (admin) => {
    const found = await admin.metadata({ topics: [topic], forceUpdate: true }).catch(() => undefined)
    const now = found?.topics.get(topic)
    if (now !== undefined && now.id !== gone.at(-1)?.topicId) return now.partitions.every(({ leader }) => leader >= 0)
    await admin.createTopics({ topics: [topic], partitions, replicas: nodes.length })
    return false
  })
}

/** Of this name, by their ids. */
async function begunTopics({ stage }: Ground): Promise<number> {
  const rows = await stage.sql`select from sys.consumed_topics where group_name = ${stage.topic}`
  return rows.length
}

import { ConfigResourceTypes, IncrementalAlterConfigOperationTypes } from '@platformatic/kafka'
import { eventually } from '../../services.ts'
import { withAdmin } from '../admin.ts'
import { type Fault, type Ground, lastBetween, nodes, seconds } from '../fault.ts'
import { tinyOutboxRows } from '../configuration.ts'

const replicas = 3
/** What daemons must come to sooner or later, however busy the machine. */
const patience = { deadlineMs: 120_000, every: 200 }

/**
 * Kafka refuses what daemons publish, and nothing else. With two brokers of three gone the quorum of controllers has gone,
 * too, and nobody would refuse anything: so the topic of the events alone asks for three copies, and one broker goes.
 */
export const publishingFaults: readonly Fault[] = [
  {
    name: 'replicas-missing',
    area: 'kafka',
    about: "one broker killed, while the events' topic needs all three: NOT_ENOUGH_REPLICAS, and intake goes on",
    weight: 2,
    async strike(ground) {
      const node = ground.random.pick(nodes)
      const broker = ground.site.services.kafka(node)
      return onlyWhole(ground, async () => {
        await broker.kill('SIGKILL')
        try {
          const begun = performance.now()
          await eventually(async () => ground.signal.aborted || (await refused(ground)), {
            ...patience,
            what: 'NOT_ENOUGH_REPLICAS in readiness',
          })
          const after = performance.now() - begun
          const done = await ground.stage.done()
          const ms = await lastBetween(ground, 2_000, 8_000)
          const more = (await ground.stage.done()) - done
          return `broker ${node}, refused after ${seconds(after)}, then ${more} records done in ${seconds(ms)}`
        } finally {
          await broker.start()
        }
      })
    },
  },
  {
    name: 'outbox-full',
    area: 'kafka',
    about: `one broker frozen, while the events' topic needs all three, until more than the ${tinyOutboxRows} messages that daemon 1 may hold wait, and it pauses`,
    weight: 2,
    async strike(ground) {
      const node = ground.random.pick(nodes)
      const broker = ground.site.services.kafka(node)
      return onlyWhole(ground, async () => {
        broker.pause()
        try {
          const begun = performance.now()
          await eventually(async () => ground.signal.aborted || (await paused(ground)), {
            ...patience,
            what: 'daemon 1 pauses',
          })
          const after = performance.now() - begun
          const ms = await lastBetween(ground, 1_000, 8_000)
          return `broker ${node}, full after ${seconds(after)}, for ${seconds(ms)}`
        } finally {
          broker.resume()
        }
      })
    },
  },
]

/** Some daemon says that Kafka has too few copies to take its messages. */
async function refused({ crew }: Ground): Promise<boolean> {
  const said = await Promise.all(crew.members.map(async ({ running }) => running?.readiness()))
  return said.some((one) => one?.reasons.some((reason) => reason.includes('NOT_ENOUGH_REPLICAS')))
}

/** More waits than the first daemon may hold, and it takes no more. */
async function paused({ crew }: Ground): Promise<boolean> {
  const metrics = (await crew.members[0]?.running?.metrics()) ?? new Map<string, number>()
  const sum = (name: string) =>
    [...metrics].reduce((all, [key, value]) => all + (key === name || key.startsWith(`${name}{`) ? value : 0), 0)
  return sum('tenantry_outbox_pending') > tinyOutboxRows && sum('tenantry_partitions_paused') > 0
}

/** Meanwhile Kafka takes an event only when all of its brokers have it. */
async function onlyWhole(ground: Ground, work: () => Promise<string>): Promise<string> {
  await setInSync(ground, String(replicas))
  try {
    const detail = await work()
    await eventually(() => whole(ground), { deadlineMs: 60_000, every: 200, what: 'all copies in sync' })
    return detail
  } finally {
    await eventually(() => setInSync(ground, undefined), { deadlineMs: 60_000, every: 500 })
  }
}

/** Undefined: as the cluster has it for every topic. */
function setInSync(ground: Ground, copies: string | undefined): Promise<boolean> {
  const configOperation =
    copies === undefined ? IncrementalAlterConfigOperationTypes.DELETE : IncrementalAlterConfigOperationTypes.SET
  const configs = [{ name: 'min.insync.replicas', value: copies ?? '', configOperation }]
  return withAdmin(ground, async (admin) => {
    await admin.incrementalAlterConfigs({
      resources: [{ resourceType: ConfigResourceTypes.TOPIC, resourceName: ground.stage.events, configs }],
    })
    return true
  })
}

function whole(ground: Ground): Promise<boolean> {
  const { events } = ground.stage
  return withAdmin(ground, async (admin) => {
    const { topics } = await admin.metadata({ topics: [events], forceUpdate: true })
    return topics.get(events)?.partitions.every(({ isr }) => isr.length === replicas) === true
  })
}

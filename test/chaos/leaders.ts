import {
  alterPartitionReassignmentsV0,
  type Connection,
  ConnectionPool,
  createAPI,
  metadataV12,
  type Reader,
  Writer,
} from '@platformatic/kafka'
import { eventually } from '../services.ts'
import { type Ground, nodes } from './fault.ts'

/** How a partition's leader can change while every broker lives: the two tools that Kafka has for it. */
export type Way = 'election' | 'reassignment'

type Led = { readonly topic: string; readonly partition: number; readonly leader: number }

const timeoutMs = 15_000
const patience = { deadlineMs: 60_000, every: 100 }

/** What the library lacks: `kafka-leader-election --election-type preferred`. */
const electLeaders = createAPI<[led: readonly Led[]], undefined>(
  43,
  2,
  (led: readonly Led[]) =>
    Writer.create()
      .appendInt8(0)
      .appendArray(grouped(led), (w, [topic, of]) =>
        w.appendString(topic).appendArray(
          of.map(({ partition }) => partition),
          (w2, partition) => w2.appendInt32(partition),
          true,
          false,
        ),
      )
      .appendInt32(timeoutMs)
      .appendTaggedFields(),
  // Whose leader was elected already, or is not there, is seen by looking.
  (_id: number, _key: number, _version: number, _reader: Reader) => undefined,
)

/** Gives every partition that matters to the group another leader, and returns how many have one. */
export async function moveLeaders(ground: Ground, way: Way): Promise<number> {
  const before = await eventually(() => leaders(ground), patience)
  const others = (leader: number) => {
    const rest = nodes.filter((node) => node !== leader)
    return ground.random.chance(0.5) ? rest : rest.toReversed()
  }
  const targets = before.map((led) => ({ led, others: others(led.leader) }))
  const order = targets.map(({ led, others: rest }) => ({ ...led, replicas: [...rest, led.leader] }))
  try {
    if (way === 'reassignment') {
      await reassign(
        ground,
        targets.map(({ led, others: rest }) => ({ ...led, replicas: rest })),
      )
    } else {
      await reassign(ground, order)
      await asked(ground, (connection) => electLeaders.async(connection, before))
    }
    await eventually(async () => (await moved(ground, before)) === before.length || ground.signal.aborted, {
      ...patience,
      what: `all leaders moved by ${way}`,
    })
  } finally {
    await eventually(async () => {
      await reassign(ground, order)
      return true
    }, patience)
    await eventually(() => whole(ground), { ...patience, what: 'all copies in sync' })
  }
  return before.length
}

async function moved(ground: Ground, before: readonly Led[]): Promise<number> {
  const now = new Map((await leaders(ground)).map((led) => [`${led.topic} ${led.partition}`, led.leader]))
  return before.filter(({ topic, partition, leader }) => now.get(`${topic} ${partition}`) !== leader).length
}

/** Those of the topics, and of Kafka's own with the groups' offsets, which the library hides: its leaders coordinate. */
async function partitionsOf(ground: Ground) {
  const names = [ground.stage.topic, ground.stage.events, '__consumer_offsets']
  const { topics } = await asked(ground, (connection) => metadataV12.api.async(connection, names, false))
  return topics.flatMap(({ name, partitions }) =>
    partitions.map(({ partitionIndex, leaderId, isrNodes }) => ({
      topic: name ?? '',
      partition: partitionIndex,
      leader: leaderId,
      inSync: isrNodes.length,
    })),
  )
}

async function leaders(ground: Ground): Promise<readonly Led[]> {
  const all = await partitionsOf(ground)
  if (all.some(({ leader }) => leader < 0)) throw new Error('a partition has no leader')
  return all
}

/** Every partition that matters has all its copies. */
async function whole(ground: Ground): Promise<boolean> {
  return (await partitionsOf(ground)).every(({ inSync }) => inSync === nodes.length)
}

function reassign(ground: Ground, to: readonly (Led & { readonly replicas: readonly number[] })[]): Promise<unknown> {
  const topics = grouped(to).map(([name, of]) => ({
    name,
    partitions: of.map(({ partition, replicas }) => ({ partitionIndex: partition, replicas: [...replicas] })),
  }))
  return asked(ground, (connection) => alterPartitionReassignmentsV0.api.async(connection, timeoutMs, true, topics))
}

/** Asks any broker that answers: it passes on what is the controllers' to do. */
async function asked<T>(ground: Ground, request: (connection: Connection) => Promise<T>): Promise<T> {
  const pool = new ConnectionPool('chaos', { connectTimeout: 5_000, requestTimeout: timeoutMs + 5_000 })
  const brokers = ground.site.services.kafkaAddress.split(',').map((address) => {
    const [host = '', port] = address.split(':')
    return { host, port: Number(port) }
  })
  try {
    return await request(await pool.getFirstAvailable(brokers))
  } finally {
    await pool.close()
  }
}

function grouped<T extends Led>(all: readonly T[]): [topic: string, of: T[]][] {
  return [...Map.groupBy(all, ({ topic }) => topic)]
}

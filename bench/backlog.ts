import { setTimeout as pause } from 'node:timers/promises'
import { type Admin, ListOffsetTimestamps } from '@platformatic/kafka'
import { systemClock } from '../core/clock.ts'
import { TenantryError } from '../core/errors.ts'
import { KafkaPublisher, type OutgoingMessage } from '../core/kafka/producer.ts'
import { silentLog } from '../core/log.ts'
import { type Content, Messages, nameOf } from './content.ts'
import { say } from '../cli/output.ts'
import { isLeftBehind } from './left-behind.ts'
import { type Servers, withAdmin } from './servers.ts'

const prefix = 'bench.'

/** How much is handed to the producer at once. */
const sliceRecords = 20_000
const sliceBytes = 32 * 1024 * 1024

/** A producer of the bench's. */
export function publisherTo(servers: Servers): KafkaPublisher {
  return new KafkaPublisher({
    bootstrap: servers.kafka.split(','),
    clientId: 'tenantry-bench',
    clock: systemClock,
    log: silentLog,
  })
}

/** A new topic; deleted again by `deleteTopic`, or on another day by `deleteOldTopics`. */
export async function createTopic(servers: Servers, name: string, partitions: number): Promise<string> {
  const topic = name.startsWith(prefix) ? name : `${prefix}${name}`
  await withAdmin(servers, async (admin) => {
    const replicas = servers.kafka.split(',').length
    await admin.createTopics({
      topics: [topic],
      partitions,
      replicas,
      configs: [
        { name: 'retention.ms', value: '-1' },
        { name: 'min.insync.replicas', value: replicas > 1 ? '2' : '1' },
      ],
    })
    await until(async () => (await partitionsOf(admin, topic)) === partitions, `topic ${topic} to exist`)
  })
  return topic
}

/** A daemon waits for it before it starts. */
export async function createDeadLetterTopic(servers: Servers): Promise<void> {
  const topic = 'sys.deadletter.v1'
  await withAdmin(servers, async (admin) => {
    if ((await admin.listTopics()).includes(topic)) return
    await admin.createTopics({ topics: [topic], partitions: 6, replicas: servers.kafka.split(',').length })
    await until(async () => (await partitionsOf(admin, topic)) === 6, `topic ${topic} to exist`)
  })
}

export async function deleteTopic(servers: Servers, topic: string): Promise<void> {
  await withAdmin(servers, async (admin) => {
    await admin.deleteTopics({ topics: [topic] })
    await until(async () => (await partitionsOf(admin, topic)) === 0, `topic ${topic} to go`)
  })
}

/** The topic that holds this content: as an earlier run has left it, or produced now. */
export async function backlogOf(servers: Servers, content: Content, partitions: number): Promise<string> {
  const topic = `${prefix}${nameOf(content)}-${partitions}`
  const found = await withAdmin(servers, async (admin) => {
    const names = await admin.listTopics()
    return names.includes(topic) ? recordsIn(admin, topic, partitions) : undefined
  })
  if (found === content.records) return topic
  if (found !== undefined) await deleteTopic(servers, topic)
  await createTopic(servers, topic, partitions)
  say(`Producing ${content.records.toLocaleString('en')} messages into ${topic} …`)
  const publisher = publisherTo(servers)
  try {
    await produce(publisher, topic, new Messages(content))
  } finally {
    await publisher.stop()
  }
  return topic
}

/** Sends messages, from number `from` to before `to`; resolves once Kafka has them. */
export async function produce(
  publisher: KafkaPublisher,
  topic: string,
  messages: Messages,
  { from = 0, to = messages.content.records }: { readonly from?: number; readonly to?: number } = {},
): Promise<void> {
  let sent = Promise.resolve()
  for (let n = from; n < to; ) {
    const slice: OutgoingMessage[] = []
    for (let bytes = 0; n < to && slice.length < sliceRecords && bytes < sliceBytes; n++) {
      const { key, value } = messages.message(n)
      bytes += value.length
      slice.push({ topic, key, value, headers: [] })
    }
    await sent
    sent = deliver(publisher, slice)
    sent.catch(() => {}) // awaited by the next round
  }
  await sent
}

/** Sends, and rejects with TENANTRY_BENCH_NOT_PRODUCED unless everything has arrived. */
export async function deliver(publisher: KafkaPublisher, messages: readonly OutgoingMessage[]): Promise<void> {
  for (const delivery of await publisher.send(messages)) {
    if (delivery.kind !== 'delivered')
      throw new TenantryError(
        'TENANTRY_BENCH_NOT_PRODUCED',
        `Kafka did not take a message of the bench: ${delivery.reason}.`,
      )
  }
}

/** Removes topics that were made for another day's ids, and on the checkout's own broker those of runs that were broken off. */
export async function deleteOldTopics(servers: Servers, day: number): Promise<void> {
  const old = (topic: string) => !topic.includes(`-${day}-`) || (servers.brokers.length > 0 && isLeftBehind(topic))
  await withAdmin(servers, async (admin) => {
    const topics = (await admin.listTopics()).filter((topic) => topic.startsWith(prefix) && old(topic))
    for (const topic of topics) await admin.deleteTopics({ topics: [topic] }).catch(() => {})
  })
}

async function partitionsOf(admin: Admin, topic: string): Promise<number> {
  try {
    const { topics } = await admin.metadata({ topics: [topic], forceUpdate: true, retries: 0 })
    const found = topics.get(topic)
    return found?.partitions.every(({ leader }) => leader >= 0) === true ? found.partitionsCount : 0
  } catch {
    return 0
  }
}

/** Where each partition's log ends, by the partition's number. */
export async function endsOf(admin: Admin, topic: string, partitions: number): Promise<readonly bigint[]> {
  const [listed] = await admin.listOffsets({
    topics: [
      {
        name: topic,
        partitions: Array.from({ length: partitions }, (_, partitionIndex) => ({
          partitionIndex,
          timestamp: ListOffsetTimestamps.LATEST,
        })),
      },
    ],
  })
  // The answer has them in an order of its own.
  return (listed?.partitions ?? []).toSorted((a, b) => a.partitionIndex - b.partitionIndex).map(({ offset }) => offset)
}

/** Records in a topic from which none was removed; -1 while it has not all of its partitions. */
async function recordsIn(admin: Admin, topic: string, partitions: number): Promise<number> {
  if ((await partitionsOf(admin, topic)) !== partitions) return -1
  return Number((await endsOf(admin, topic, partitions)).reduce((sum, end) => sum + end, 0n))
}

async function until(condition: () => Promise<boolean>, what: string): Promise<void> {
  for (let tries = 0; !(await condition()); tries++) {
    if (tries > 200) throw new TenantryError('TENANTRY_BENCH_KAFKA', `Waited for ${what}, in vain.`)
    await pause(50)
  }
}

import type { KafkaPublisher } from '../core/kafka/producer.ts'
import { createTopic, deleteTopic, publisherTo } from './backlog.ts'
import { ownMark } from './left-behind.ts'
import type { Servers } from './servers.ts'

/** A topic that one run has for itself, and a producer to write to it. */
export type OwnTopic = { readonly topic: string; readonly publisher: KafkaPublisher }

/** Does something with a new topic, which goes afterwards. */
export async function withOwnTopic<T>(
  servers: Servers,
  { name, day, partitions }: { readonly name: string; readonly day: number; readonly partitions: number },
  work: (own: OwnTopic) => Promise<T>,
): Promise<T> {
  const topic = await createTopic(servers, `${name}-${day}-${ownMark()}-${Date.now().toString(36)}`, partitions)
  const publisher = publisherTo(servers)
  try {
    return await work({ topic, publisher })
  } finally {
    await publisher.stop()
    await deleteTopic(servers, topic).catch(() => {}) // a later run does it
  }
}

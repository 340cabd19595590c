import type { Delivery, Publisher } from '../../core/kafka/publisher.ts'
import type { OutboxRow } from '../../core/postgres/ownership.ts'
import type { Chaos } from './chaos.ts'
import type { EventLoop, Process } from './event-loop.ts'
import type { KafkaCluster } from './kafka-cluster.ts'
import type { SeededRandom } from './seeded-random.ts'

export type SimulatedPublisherOptions = {
  readonly loop: EventLoop
  readonly process: Process
  readonly cluster: KafkaCluster
  readonly network: { readonly cutUntil: number }
  readonly random: SeededRandom
  readonly chaos: Chaos
  readonly delivered: (row: OutboxRow) => void
}

/** An idempotent producer: of one tenant's messages in a send, what fails is not overtaken by what follows. */
export class SimulatedPublisher implements Publisher {
  readonly #options: SimulatedPublisherOptions

  constructor(options: SimulatedPublisherOptions) {
    this.#options = options
  }

  send(messages: readonly OutboxRow[]): Promise<readonly Delivery[]> {
    const { loop, process, random, chaos } = this.#options
    return new Promise((resolve) => {
      if (process.state === 'dead') return
      chaos.at('outbox sent', process)
      loop.after(random.delay(4), 'produce', () => {
        const deliveries = this.#deliver(messages)
        chaos.at('published', process)
        loop.after(random.delay(4), 'produced', () => resolve(deliveries), process)
      })
    })
  }

  #deliver(messages: readonly OutboxRow[]): Delivery[] {
    const { loop, cluster, network, chaos, delivered } = this.#options
    const away = cluster.away || loop.now < network.cutUntil
    const held = new Set<string>()
    return messages.map((row) => {
      if (isTooLarge(row)) return { kind: 'refused', reason: 'too large' }
      if (away || cluster.outputAway(row.topic) || held.has(row.tenant) || chaos.happens('publish fails')) {
        held.add(row.tenant)
        return { kind: 'failed', reason: 'not delivered in time' }
      }
      delivered(row)
      return chaos.happens('publish answer lost')
        ? { kind: 'failed', reason: 'no answer in time' }
        : { kind: 'delivered' }
    })
  }
}

/** What an actor has published for that, and one dead letter of sixteen: its value begins with the message's id. */
function isTooLarge({ topic, deadLetterOf, value }: OutboxRow): boolean {
  return topic === 'too large' || (deadLetterOf !== null && value?.[0] === 0x30)
}

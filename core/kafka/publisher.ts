import type { OutboxRow } from '../postgres/ownership.ts'

/**
 * `refused`: Kafka will never take this message, for what it is (too large, against a policy). `failed`: try again; also
 * where the topic or a right to it is away.
 */
export type Delivery = { readonly kind: 'delivered' } | { readonly kind: 'refused' | 'failed'; readonly reason: string }

/**
 * The port through which the outbox goes out: acks=all, idempotent, keys placed as Java's producer places them
 * (murmur2). Implemented by producer.ts and by the simulation's model.
 */
export interface Publisher {
  /** One answer a message, in the order given. Never rejects. Messages of one key keep their order among those delivered. */
  send(messages: readonly OutboxRow[]): Promise<readonly Delivery[]>
}

import type { Partition } from './partition.ts'

/** Of messages in memory, of all groups together. What is committed beyond stays in the table until there is room. */
const maxHeldBytes = 64 * 1024 * 1024

/**
 * What memory has of each group's unpublished messages. Each group that has had a partition has a share of its own: what
 * one group's messages wait for keeps no other group's.
 */
export class OutboxRoom {
  readonly #maxMessages: number
  readonly #held = new Map<string, { messages: number; bytes: number }>()

  /** `maxMessages`: of one group. */
  constructor(maxMessages: number) {
    this.#maxMessages = maxMessages
  }

  /** The partition's group has its share from now on. */
  open({ group }: Partition): void {
    if (!this.#held.has(group.name)) this.#held.set(group.name, { messages: 0, bytes: 0 })
  }

  /** Whether more of the partition's messages may be taken into memory. */
  isLeft({ group }: Partition): boolean {
    const { messages = 0, bytes = 0 } = this.#held.get(group.name) ?? {}
    return messages < this.#maxMessages && bytes < maxHeldBytes / this.#held.size
  }

  /** So much more of the partition's messages is held; below 0: less. */
  count({ group }: Partition, messages: number, bytes: number): void {
    const held = this.#held.get(group.name)
    if (held === undefined) return
    held.messages += messages
    held.bytes += bytes
  }

  /** How many messages are held of each group. */
  messages(): Map<string, number> {
    return new Map([...this.#held].map(([group, { messages }]) => [group, messages]))
  }
}

import type { Delivery, Publisher } from '../../core/kafka/publisher.ts'
import type { Inherited, OutboxPage, OutboxRow } from '../../core/postgres/ownership.ts'
import type { OutboxPosition, PartitionRef } from '../../core/postgres/transactions.ts'
import { isAfter } from '../../supervisors/outbox-feed.ts'
import type { Partition } from '../../supervisors/partition.ts'
import { OutboxPublisher } from '../../supervisors/outbox-publisher.ts'
import { ManualClock } from '../manual-clock.ts'
import { partition, stubLedger } from './engine-ports.ts'

export function message(seq: number, index = 0, { tenant = 'acme', topic = 'out' } = {}): OutboxRow {
  const messageId = `${tenant} ${seq}.${index}`
  const empty = new Uint8Array(0)
  return {
    position: { seq, index },
    tenant,
    topic,
    messageId,
    key: empty,
    value: empty,
    headers: [],
    deadLetterOf: null,
  }
}

/** An outbox before a table of one partition and a Kafka of which the test says what it answers. */
export class OutboxStage implements Publisher {
  readonly clock = new ManualClock()
  readonly outbox: OutboxPublisher
  readonly partition = partition()
  /** A partition of an earlier topic that this one inherits, and what is in the table of it. */
  readonly inherited: Inherited = { ref: { group: 'g', topic: 't', topicId: 'old', partition: 0 }, commitId: 'raise' }
  left: OutboxRow[] = []
  /** Somebody else has taken that one over since. */
  takenOver = false
  readonly disinherited: Partition[] = []
  /** Committed, by position. */
  table: OutboxRow[] = []
  /** Everything that Kafka took, copies too. */
  readonly published: string[] = []
  /** Told to be refused. */
  readonly refused: string[] = []
  readonly troubles = new Map<string, string>()
  sends = 0
  pageRows = 3
  /** What Kafka says to a message; null takes it. */
  answer: (row: OutboxRow) => Delivery | null = () => null
  /** What is awaited before Kafka answers a send; what it took is published before. */
  sending: (rows: readonly OutboxRow[]) => Promise<void> = () => Promise.resolve()
  /** What is awaited before a page is answered, and before a refusal is recorded. */
  reading: () => Promise<void> = () => Promise.resolve()
  refusing: () => Promise<void> = () => Promise.resolve()

  constructor(settings: { readonly outboxMaxPending?: number } = {}) {
    const ledger = stubLedger({
      readOutbox: (ref, after) => this.#read(ref, after),
      deleteOutbox: async (_inherited, upTo) => {
        if (this.takenOver) return false
        this.left = this.left.filter(({ position }) => isAfter(position, upTo))
        return true
      },
      refuseOutbox: (_ref, position) => this.#refuse(position),
    })
    this.outbox = new OutboxPublisher(
      this,
      ledger,
      this.clock,
      { backoffMinMs: 100, backoffMaxMs: 1_000, outboxMaxPending: 1_000, ...settings },
      {
        refused: (_ref, { messageId }) => this.refused.push(messageId),
        delivered() {},
        published: (_partition, upTo) => {
          this.table = this.table.filter(({ position }) => isAfter(position, upTo))
        },
        disinherited: (lost) => this.disinherited.push(lost),
        trouble: (key, reason) => {
          if (reason === null) this.troubles.delete(key)
          else this.troubles.set(key, reason)
        },
      },
    )
  }

  /** As the engine does: the rows are in the table, then it hears of them. */
  commit(...rows: OutboxRow[]): void {
    this.table.push(...rows)
    this.outbox.push(this.partition, rows)
  }

  /** The place in `published` of the first copy of each. */
  get firstCopies(): string[] {
    return [...new Set(this.published)]
  }

  async send(rows: readonly OutboxRow[]): Promise<readonly Delivery[]> {
    this.sends++
    const deliveries = rows.map((row): Delivery => {
      const answer = this.answer(row)
      if (answer !== null) return answer
      this.published.push(row.messageId)
      return { kind: 'delivered' }
    })
    await this.sending(rows)
    return deliveries
  }

  async #read(ref: PartitionRef, after: OutboxPosition | null): Promise<OutboxPage> {
    const table = ref === this.inherited.ref ? this.left : this.table
    const further = after === null ? table : table.filter(({ position }) => isAfter(position, after))
    const page = {
      rows: further.slice(0, this.pageRows),
      more: Math.max(0, further.length - this.pageRows),
    }
    await this.reading()
    return page
  }

  async #refuse(refused: OutboxPosition): Promise<void> {
    await this.refusing()
    this.table = this.table.filter(({ position }) => position.seq !== refused.seq || position.index !== refused.index)
  }
}

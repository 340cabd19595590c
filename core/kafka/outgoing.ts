import { protocolErrorsCodesById } from '@platformatic/kafka'
import type { OutgoingRecord, ProducerIdentity } from './record-batch-writer.ts'
import type { Delivery } from './publisher.ts'

/** A message that waits for its delivery. */
export type Outgoing = {
  readonly record: OutgoingRecord
  readonly bytes: number
  /** Given up as failed after this time, by the monotonic clock. */
  readonly deadline: number
  readonly settle: (delivery: Delivery) => void
}

export type SentBatch = {
  readonly messages: readonly Outgoing[]
  readonly batch: Buffer
  /** It was in a request, and may have arrived. */
  unsure: boolean
}

/** What goes to one partition, in order, one batch at a time. */
export class OutgoingPartition {
  readonly topic: string
  readonly partition: number
  readonly waiting: Outgoing[] = []
  /** Taken out of `waiting`, written, and perhaps sent: again with the same bytes and sequence until it is answered. */
  sent: SentBatch | undefined
  /** Its batch is in a request that has no answer yet: nobody else may send it or give it up. */
  onItsWay = false
  identity: ProducerIdentity | undefined
  sequence = 0
  /** It has failed, and is tried again later. */
  resting = false
  attempts = 0
  /** Messages have had all their time in vain, and none was delivered since. */
  failing = false
  /** What the broker said last, where it was not good. */
  reason = ''
  /** A batch was refused: so many messages a batch, until the culprit has been found. */
  most = Number.POSITIVE_INFINITY

  constructor(topic: string, partition: number) {
    this.topic = topic
    this.partition = partition
  }

  get idle(): boolean {
    return this.oldest === undefined
  }

  get oldest(): Outgoing | undefined {
    return this.sent?.messages[0] ?? this.waiting[0]
  }

  /** The messages of the next batch: at least one, and as many as fit. */
  take(maxBytes: number): Outgoing[] {
    let bytes = 0
    let count = 0
    for (const message of this.waiting) {
      if (count > 0 && (bytes + message.bytes > maxBytes || count >= this.most)) break
      bytes += message.bytes
      count += 1
    }
    return this.waiting.splice(0, count)
  }

  /** Nothing of it can be delivered for now: all fail, so that none overtakes another. */
  fail(reason: string): void {
    const { sent } = this
    this.sent = undefined
    for (const message of sent?.messages ?? []) message.settle({ kind: 'failed', reason })
    for (const message of this.waiting.splice(0)) message.settle({ kind: 'failed', reason })
    this.attempts = 0
    this.most = Number.POSITIVE_INFINITY
  }
}

/**
 * Codes by which a broker says that it will never take this message, for what it is: too large, a policy, a record that
 * it will not have. It may be one of a batch.
 */
const refusals: ReadonlySet<number> = new Set([10, 18, 42, 44, 87])
/**
 * It takes nothing from us here as things stand, which an operator may change: rights, the topic's settings, our clock,
 * which is what gives a message its time.
 */
const standing: ReadonlySet<number> = new Set([17, 29, 31, 32, 43, 76])
/** The broker has another idea of our sequence: a new identity helps. */
const sequences: ReadonlySet<number> = new Set([45, 47, 59, 90])
/** It has the batch already. */
const duplicate = 46

export type Verdict = 'delivered' | 'refused' | 'failed' | 'resequence' | 'retry'

export function verdictOf(code: number): Verdict {
  if (code === 0 || code === duplicate) return 'delivered'
  if (refusals.has(code)) return 'refused'
  if (standing.has(code)) return 'failed'
  if (sequences.has(code)) return 'resequence'
  return 'retry'
}

export function nameOf(code: number): string {
  const names: Readonly<Record<number, string>> = protocolErrorsCodesById
  return names[code] ?? `error ${code}`
}

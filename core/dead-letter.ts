import type { Headers } from './kafka/source.ts'
import type { Outcome, PartitionRef } from './postgres/transactions.ts'
import type { Failed } from './workers.ts'

/** Whether the dead letters of this partition go to `topic`. Those of the topic itself do not: they would go round. */
export function goesToTopic(ref: PartitionRef, topic: string | null): topic is string {
  return topic !== null && ref.topic !== topic
}

/** Where the record was read: one that was parked, perhaps in a partition of an earlier topic of the name. */
export function originOf({ row }: Outcome, ref: PartitionRef): PartitionRef {
  return row === null ? ref : { ...ref, topicId: row.topicId, partition: row.partition }
}

/**
 * The headers of a dead letter's message: the record's own, untouched, then ours, so that of two with one name the last
 * is ours. docs/dead-letters.md lists them.
 */
export function deadLetterHeaders(outcome: Outcome, { failure, traceId }: Failed, ref: PartitionRef): Headers {
  const { record, attempts, failedAt } = outcome
  const own: Readonly<Record<string, string | number>> = {
    'origin-topic': ref.topic,
    'origin-partition': originOf(outcome, ref).partition,
    'origin-offset': record.offset,
    'origin-timestamp': record.timestamp,
    'origin-group': ref.group,
    reason: failure.reason,
    'error-class': failure.errorClass,
    'error-message': failure.message.slice(0, maxText).toWellFormed(),
    'error-stack': failure.stack.slice(0, maxText).toWellFormed(),
    attempts: attempts + 1,
    'first-failed-at': isoTime(firstFailureOf(outcome)),
    'failed-at': isoTime(failedAt),
    actor: outcome.actor,
    tenant: outcome.tenant,
    'trace-id': traceId,
    'replay-count': outcome.row?.replays ?? 0,
  }
  return [
    ...record.headers,
    ...Object.entries(own).map(([name, value]): Headers[number] => [
      Buffer.from(`tenantry-${name}`),
      Buffer.from(String(value)),
    ]),
  ]
}

/** When the first attempt failed, in ms since 1970. */
export function firstFailureOf({ firstFailedAt, failedAt }: Outcome): number {
  return firstFailedAt > 0 ? firstFailedAt : failedAt
}

/** PostgreSQL's errors quote whole values: the message shall not be refused for its headers. */
const maxText = 8_192

function isoTime(ms: number): string {
  return new Date(ms).toISOString()
}

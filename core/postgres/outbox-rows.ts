import { deadLetterHeaders, goesToTopic, originOf } from '../dead-letter.ts'
import type { OutboxRow, RecordPlace } from './ownership.ts'
import type { Commit, Outcome, PartitionRef } from './transactions.ts'

/** A message of a commit. `partition` is an index into the commit's partitions. */
export type CommitMessage = { readonly partition: number; readonly row: OutboxRow }

type Message = Pick<OutboxRow, 'topic' | 'messageId' | 'key' | 'value' | 'headers'>

/**
 * The messages of a commit, actors' and dead letters alike, as the outbox numbers them: by (seq, place among the
 * partition's messages of this commit). What a lane writes and what goes out from memory are numbered here and nowhere
 * else, as what was delivered is deleted by its number.
 */
export function* outboxRows(
  { outcomes, partitions }: Pick<Commit, 'outcomes' | 'partitions'>,
  deadLetterTopic: string | null,
): Generator<CommitMessage> {
  const places = new Map<number, number>()
  for (let i = 0; i < outcomes.length; i++) {
    const outcome = outcomes[i]
    const at = outcome && partitions[outcome.partition]
    if (outcome === undefined || at === undefined) continue
    const deadLetterOf = outcome.result.kind === 'failed' ? placeOf(outcome, at.ref) : null
    for (const { topic, messageId, key, value, headers } of messagesOf(outcome, at.ref, deadLetterTopic)) {
      const index = places.get(outcome.partition) ?? 0
      places.set(outcome.partition, index + 1)
      const position = { seq: at.seq + 1, index }
      const { tenant } = outcome
      yield {
        partition: outcome.partition,
        row: { position, tenant, topic, messageId, key, value, headers, deadLetterOf },
      }
    }
  }
}

function messagesOf(outcome: Outcome, ref: PartitionRef, deadLetterTopic: string | null): readonly Message[] {
  const { result, record } = outcome
  if (result.kind === 'done' && result.publishes) return result.effects.filter((effect) => effect.kind === 'publish')
  if (result.kind !== 'failed' || !goesToTopic(ref, deadLetterTopic)) return none
  const headers = deadLetterHeaders(outcome, result, ref)
  return [{ topic: deadLetterTopic, messageId: result.messageId, key: record.key, value: record.value, headers }]
}

function placeOf(outcome: Outcome, ref: PartitionRef): RecordPlace {
  const { topicId, partition } = originOf(outcome, ref)
  return { topicId, partition, offset: outcome.record.offset }
}

const none: readonly Message[] = []

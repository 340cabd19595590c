import type postgres from 'postgres'
import { byteaText, plainArray, textArray } from './array-text.ts'
import { own, type Step, storable } from './group-commit.ts'
import { type CommitMessage, outboxRows } from './outbox-rows.ts'
import type { Commit } from './transactions.ts'

/** The messages of a commit: what actors publish in one statement, dead letters in another, numbered together. */
export function outboxSteps(sql: postgres.Sql, commit: Commit, deadLetterTopic: string | null): Step[] {
  const messages: CommitMessage[] = []
  const letters: CommitMessage[] = []
  for (const message of outboxRows(commit, deadLetterTopic))
    (message.row.deadLetterOf === null ? messages : letters).push(message)
  const steps: Step[] = []
  if (messages.length > 0) steps.push(insertMessages(sql, commit, messages))
  if (letters.length > 0) steps.push(insertLetters(sql, commit, letters))
  return steps
}

/** Their headers are text, and one JSON column: as arrays of bytes they would cost the thread three times as much. */
function insertMessages(sql: postgres.Sql, commit: Commit, messages: readonly CommitMessage[]): Step {
  const headers = textArray(messages.map(({ row }) => JSON.stringify(row.headers)))
  return own(sql`
    insert into sys.outbox (group_name, topic_id, partition, seq, place, tenant_id, to_topic, message_id, record_key, record_value, record_headers)
    select * from unnest(${columns(sql, commit, messages)}, ${headers}::json[])`)
}

function insertLetters(sql: postgres.Sql, commit: Commit, letters: readonly CommitMessage[]): Step {
  const headers = letters.map(({ row }) => row.headers)
  const names = textArray(headers.map((all) => textArray(all.map(([name]) => byteaText(bytesOf(name))))))
  const values = textArray(headers.map((all) => textArray(all.map(([, value]) => byteaText(bytesOf(value))))))
  const places = letters.map(({ row }) => row.deadLetterOf)
  return own(sql`
    insert into sys.outbox (group_name, topic_id, partition, seq, place, tenant_id, to_topic, message_id, record_key, record_value,
      header_names, header_values, dead_letter_topic_id, dead_letter_partition, dead_letter_offset)
    select group_name, topic_id, partition, seq, place, tenant_id, to_topic, message_id, record_key, record_value,
      header_names::bytea[], header_values::bytea[], dead_letter_topic_id, dead_letter_partition,
      dead_letter_offset
    from unnest(${columns(sql, commit, letters)}, ${names}::text[], ${values}::text[],
      ${plainArray(places.map((place) => place?.topicId ?? ''))}::uuid[], ${plainArray(places.map((place) => place?.partition ?? -1))}::integer[],
      ${plainArray(places.map((place) => place?.offset ?? -1))}::bigint[]
    ) as given (group_name, topic_id, partition, seq, place, tenant_id, to_topic, message_id, record_key, record_value,
      header_names, header_values, dead_letter_topic_id, dead_letter_partition, dead_letter_offset)`)
}

/** The columns that all have. */
function columns(sql: postgres.Sql, { partitions }: Commit, messages: readonly CommitMessage[]) {
  const refs = messages.map(({ partition }) => partitions[partition]?.ref)
  const rows = messages.map(({ row }) => row)
  return sql`
    ${textArray(refs.map((ref) => ref?.group ?? ''))}::text[], ${plainArray(refs.map((ref) => ref?.topicId ?? ''))}::uuid[],
    ${plainArray(refs.map((ref) => ref?.partition ?? 0))}::integer[],
    ${plainArray(rows.map(({ position }) => position.seq))}::bigint[],
    ${plainArray(rows.map(({ position }) => position.index))}::integer[],
    ${textArray(rows.map(({ tenant }) => tenant))}::text[], ${textArray(rows.map(({ topic }) => topic))}::text[],
    ${textArray(rows.map(({ messageId }) => storable(messageId)))}::text[],
    ${textArray(rows.map(({ key }) => byteaText(key)))}::bytea[], ${textArray(rows.map(({ value }) => byteaText(value)))}::bytea[]`
}

function bytesOf(text: string | Uint8Array): Uint8Array
function bytesOf(text: string | Uint8Array | null): Uint8Array | null
function bytesOf(text: string | Uint8Array | null): Uint8Array | null {
  return typeof text === 'string' ? Buffer.from(text) : text
}

/** Rows that were delivered go, in the same transaction as whatever comes next. */
export function publishedSteps(sql: postgres.Sql, { partitions }: Commit): Step[] {
  const done = partitions.filter(({ published }) => published !== null)
  if (done.length === 0) return []
  const query = sql`
    delete from sys.outbox as sent
    using unnest(
      ${textArray(done.map(({ ref }) => ref.group))}::text[], ${plainArray(done.map(({ ref }) => ref.topicId))}::uuid[],
      ${plainArray(done.map(({ ref }) => ref.partition))}::integer[], ${plainArray(done.map(({ published }) => published?.seq ?? 0))}::bigint[],
      ${plainArray(done.map(({ published }) => published?.index ?? 0))}::integer[]
    ) as upto (group_name, topic_id, partition, seq, place)
    where sent.group_name = upto.group_name and sent.topic_id = upto.topic_id and sent.partition = upto.partition
      and (sent.seq, sent.place) <= (upto.seq, upto.place)`
  return [own(query)]
}

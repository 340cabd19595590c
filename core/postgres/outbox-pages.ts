import { byteaValues } from './array-values.ts'
import type { Ask } from './control.ts'
import type { OutboxPage, OutboxRow, RecordPlace } from './ownership.ts'
import type { OutboxPosition, PartitionRef } from './transactions.ts'

/** Of the outbox, at a time: a few sends to Kafka. One message may be larger than a page. */
const pageRows = 5_000
const pageBytes = 8 * 1024 * 1024
/** Further rows are counted up to here. */
const maxCounted = 100_000

/** Committed and perhaps not yet delivered, in order: the rows after `after`, or the first, as many as a page has. */
export async function readOutbox(sql: Ask, ref: PartitionRef, after: OutboxPosition | null): Promise<OutboxPage> {
  const rows = await sql<OutboxColumns[]>`
    select seq::text, place, tenant_id, to_topic, message_id, record_key, record_value, record_headers,
      header_names::text, header_values::text, dead_letter_topic_id, dead_letter_partition, dead_letter_offset::text,
      found = ${pageRows} or sum(bytes) over () >= ${pageBytes} as full
    from (
      select next.*, count(*) over () as found, sum(bytes) over (order by seq, place) as running
      from (
        select *, coalesce(octet_length(record_key), 0) + coalesce(octet_length(record_value), 0)
          + coalesce(length(header_values::text), 0) as bytes
        from sys.outbox
        where group_name = ${ref.group} and topic_id = ${ref.topicId} and partition = ${ref.partition}
          and (seq, place) > (${after?.seq ?? -1}, ${after?.index ?? -1})
        order by seq, place
        limit ${pageRows}
      ) as next
    ) as page
    where running - bytes < ${pageBytes}
    order by page.seq, page.place`
  const last = rows.at(-1)
  return {
    rows: rows.map((row) => ({
      position: { seq: Number(row.seq), index: row.place },
      tenant: row.tenant_id,
      topic: row.to_topic,
      messageId: row.message_id,
      key: row.record_key,
      value: row.record_value,
      headers: row.record_headers ?? headersOf(row.header_names ?? '{}', row.header_values ?? '{}'),
      deadLetterOf: recordPlaceOf(row),
    })),
    more: last?.full ? await countOutbox(sql, ref, last) : 0,
  }
}

async function countOutbox(sql: Ask, ref: PartitionRef, after: OutboxColumns): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    select count(*)::integer as count from (
      select from sys.outbox
      where group_name = ${ref.group} and topic_id = ${ref.topicId} and partition = ${ref.partition}
        and (seq, place) > (${after.seq}, ${after.place})
      limit ${maxCounted}
    ) as further`
  return row?.count ?? 0
}

type OutboxColumns = {
  seq: string
  place: number
  tenant_id: string
  to_topic: string
  message_id: string
  record_key: Buffer | null
  record_value: Buffer | null
  /** Null where the two arrays have them, which the driver would read wrongly: a null in one as an empty value. */
  record_headers: (readonly [string, string])[] | null
  header_names: string | null
  header_values: string | null
  dead_letter_topic_id: string | null
  dead_letter_partition: number | null
  dead_letter_offset: string | null
  full: boolean
}

function recordPlaceOf(row: OutboxColumns): RecordPlace | null {
  const { dead_letter_topic_id: topicId, dead_letter_partition: partition, dead_letter_offset: offset } = row
  return topicId === null || partition === null || offset === null
    ? null
    : { topicId, partition, offset: Number(offset) }
}

function headersOf(names: string, values: string): OutboxRow['headers'] {
  const list = byteaValues(values)
  return byteaValues(names).map((name, place) => [name ?? Buffer.alloc(0), list[place] ?? null])
}

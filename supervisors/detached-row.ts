import type { OutboxRow } from '../core/postgres/ownership.ts'

/** What a row takes besides what it holds, about. */
const rowBytes = 300

/**
 * The row in memory of its own. As it comes from a worker it is cut out of a whole frame, all of which would stay for as
 * long as the row waits.
 */
export function detachedRow(row: OutboxRow): OutboxRow {
  const { topic, messageId, key, value, headers } = row
  return {
    ...row,
    topic: ownText(topic),
    messageId: ownText(messageId),
    key: key && new Uint8Array(key),
    value: value && new Uint8Array(value),
    headers: headers.map(([name, text]) => [
      typeof name === 'string' ? name : new Uint8Array(name),
      typeof text === 'string' ? ownText(text) : text && new Uint8Array(text),
    ]),
  }
}

/** What it takes of memory. */
export function heldBytes({ key, value, headers }: OutboxRow): number {
  let bytes = rowBytes + (key?.length ?? 0) + (value?.length ?? 0)
  for (const [name, text] of headers) bytes += name.length + (text?.length ?? 0)
  return bytes
}

/** A substring is a view of its text. */
function ownText(text: string): string {
  return Buffer.from(text).toString()
}

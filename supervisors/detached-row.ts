import type { OutboxRow } from '../core/postgres/transactions.ts'

/**
 * The row in memory of its own. As it comes from a worker it is cut out of a whole frame, all of which would stay for as
 * long as the row waits.
 */
export function detachedRow({ position, tenant, topic, messageId, key, value, headers }: OutboxRow): OutboxRow {
  return {
    position,
    tenant,
    topic: ownText(topic),
    messageId: ownText(messageId),
    key: new Uint8Array(key),
    value: new Uint8Array(value),
    headers: headers.map(([name, text]) => [name, ownText(text)]),
  }
}

/** A substring is a view of its text. */
function ownText(text: string): string {
  return Buffer.from(text).toString()
}

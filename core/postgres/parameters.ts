import type postgres from 'postgres'
import { byteaText } from './array-text.ts'

/** Object ids of the types whose parameters the driver has a form of its own for: boolean, bytea, json and jsonb. */
const plain = [16, 17, 114, 3802]
/** The same for date, timestamp and timestamptz. */
const times = [1082, 1114, 1184]

/**
 * Sends texts as they are. The driver takes a parameter for a JavaScript value once PostgreSQL has said its type: it
 * writes any text for a boolean as false, one for json or bytea a second time as JSON or hex, cuts a time to milliseconds,
 * and throws for `infinity`, after which the rest of the transaction goes on without the statement.
 */
export const textParameters: Record<string, postgres.PostgresType> = {}

for (const type of plain) textParameters[`text${type}`] = { to: type, from: [], serialize: textOf, parse: textOf }
for (const type of times) textParameters[`text${type}`] = { to: type, from: [], serialize: timeText, parse: textOf }

function textOf(value: unknown): string {
  return value instanceof Uint8Array ? byteaText(value) : String(value)
}

function timeText(value: unknown): string {
  return value instanceof Date || typeof value === 'number' ? new Date(value).toISOString() : textOf(value)
}

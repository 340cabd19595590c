import { isUtf8 } from 'node:buffer'
import type { KafkaRecord } from '../../core/kafka/source.ts'

/**
 * - `good`: processed
 * - `poison`: the handler fails on it, always
 * - `broken`: the handler fails on it, always, and not for good as far as it knows
 * - `bad`: does not pass its actor's schema
 * - `bad effect`: PostgreSQL refuses its row
 * - `bad commit`: a deferred constraint refuses it at the commit
 * - `refused`: Kafka refuses what it publishes
 * - `kills`: its thread dies of it, always
 * - `kills twice`: its thread dies of it the first two times; then it is a good one
 * - `blocks`: its thread does not answer any more
 * - `ends all`: its process dies of it, always
 */
export type Kind = (typeof kinds)[number]

const kinds = [
  'good',
  'poison',
  'broken',
  'bad',
  'bad effect',
  'bad commit',
  'refused',
  'kills',
  'kills twice',
  'blocks',
  'ends all',
] as const

/** What a record's value says. The simulated handler does what it is told. */
export type Message = {
  readonly id: string
  readonly kind: Kind
  readonly publishes: number
  /** A row that it changes with a statement of its own, -1 for none: it waits for whoever else does. */
  readonly row: number
}

const read = new WeakMap<KafkaRecord, Message>()

export function recordOf(offset: number, timestamp: number, tenant: Buffer | null, message: Message): KafkaRecord {
  const value = Buffer.from(`${message.id} ${message.kind} ${message.publishes} ${message.row}`)
  const record: KafkaRecord = { offset, timestamp, key: tenant, value, headers: [] }
  read.set(record, message)
  return record
}

/** The message in a record: most are passed on as they are, some are copied. */
export function messageIn(record: KafkaRecord): Message {
  let message = read.get(record)
  if (message === undefined) {
    message = parsed(record.value?.toString() ?? '')
    if (message === undefined) throw new Error(`a record at ${record.offset} that nobody produced`)
    read.set(record, message)
  }
  return message
}

/** Whose the record is; null: nobody's. */
export function tenantOf(record: KafkaRecord | null): string | null {
  const key = record?.key ?? null
  return key !== null && isUtf8(key) ? key.toString() : null
}

function parsed(value: string): Message | undefined {
  const [, id, word, publishes, row] = /^(\S+) (.+) (\d+) (-?\d+)$/.exec(value) ?? []
  const kind = kinds.find((one) => one === word)
  return id === undefined || kind === undefined
    ? undefined
    : { id, kind, publishes: Number(publishes), row: Number(row) }
}

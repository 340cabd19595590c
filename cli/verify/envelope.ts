import { decode } from 'msgpackr'
import type { LogRecord } from './log.ts'

/** The message id that a record carries, as text; undefined where there is none, so that it can only be a dead letter. */
export function messageIdOf(record: LogRecord): string | undefined {
  const event = header(record, 'ce_id')
  if (event !== undefined && header(record, 'ce_specversion') !== undefined) {
    const source = header(record, 'ce_source')
    return /^[0-9a-f-]{36}$|^[0-7][0-9a-hjkmnp-tv-z]{25}$/i.test(event) ? event : `${source}#${event}`
  }
  const { value } = record
  if (value === null) return undefined
  try {
    const packed = header(record, 'content-type')?.includes('msgpack') === true
    const envelope: unknown = packed ? decode(value) : JSON.parse(value.toString('utf8'))
    if (typeof envelope !== 'object' || envelope === null || !('message_id' in envelope)) return undefined
    return typeof envelope.message_id === 'string' && envelope.message_id !== '' ? envelope.message_id : undefined
  } catch {
    return undefined
  }
}

/** Whose record it is: its key, or the header that configuration names. */
export function tenantOf(record: LogRecord, tenantHeader: string | undefined): string {
  if (tenantHeader !== undefined) return header(record, tenantHeader.toLowerCase()) ?? ''
  return record.key?.toString('utf8') ?? ''
}

function header({ headers }: LogRecord, name: string): string | undefined {
  if (headers.length === 0) return undefined
  return headers.find(([key]) => key?.toString('latin1').toLowerCase() === name)?.[1]?.toString('utf8')
}

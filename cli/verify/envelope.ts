import { decode } from 'msgpackr'
import { isGlobal } from './ids.ts'
import type { LogRecord } from './log.ts'

/**
 * The message id that a record carries, as text; undefined where there is none, so that it can only be a dead letter.
 * Rules as in docs/envelope.md, written anew: what decides how a value is read has its name in any case.
 */
export function messageIdOf(record: LogRecord): string | undefined {
  if (known(record, 'ce_specversion') !== undefined) {
    const [event, source] = [known(record, 'ce_id'), known(record, 'ce_source')]
    if (event === undefined || event === '' || source === undefined || source === '') return undefined
    return isGlobal(event) ? event : `${source}#${event}`
  }
  const { value } = record
  if (value === null) return undefined
  try {
    const packed = msgpack.test(known(record, 'content-type') ?? '')
    const envelope: unknown = packed ? decode(value) : JSON.parse(value.toString('utf8'))
    if (typeof envelope !== 'object' || envelope === null || !('message_id' in envelope)) return undefined
    return typeof envelope.message_id === 'string' && envelope.message_id !== '' ? envelope.message_id : undefined
  } catch {
    return undefined
  }
}

const msgpack = /^\s*application\/(?:x-|vnd\.)?msgpack\s*(?:;|$)/i

/** Whose record it is: its key, or the last header of exactly the name that configuration gives. */
export function tenantOf({ key, headers }: LogRecord, tenantHeader: string | undefined): string {
  if (tenantHeader === undefined) return key?.toString('utf8') ?? ''
  return headers.findLast(([name]) => name?.toString('utf8') === tenantHeader)?.[1]?.toString('utf8') ?? ''
}

/** Where such a header stands twice, both say the same, or the record is a dead letter. */
function known({ headers }: LogRecord, name: string): string | undefined {
  if (headers.length === 0) return undefined
  return headers.find(([key]) => key?.toString('latin1').toLowerCase() === name)?.[1]?.toString('utf8')
}

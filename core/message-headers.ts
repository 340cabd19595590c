import { BadRecord } from './bad-record.ts'
import type { Headers } from './kafka/source.ts'

/** What a record's headers say about its value. Everything else in them is the producer's and stays as it is. */
export type MessageHeaders = {
  /** Media type in lower case, without parameters; '' where there is no content-type header. */
  readonly contentType: string
  /** W3C trace context, '' where there is none or it is malformed. */
  readonly traceparent: string
  readonly tracestate: string
  /** How many tenantry actors a message has come through; 0 for one that comes from elsewhere. */
  readonly hops: number
  /** One of tenantry's outboxes has sent it: a message of an actor's, or a dead letter. */
  readonly sentByOutbox: boolean
  /** The ce_ headers by attribute name, of a CloudEvent in binary mode; null for any other record. */
  readonly cloudEvent: ReadonlyMap<string, string> | null
  /** Why the headers could not be read; the record is refused with it when its turn comes. */
  readonly problem: BadRecord | null
}

export const noMessageHeaders: MessageHeaders = {
  contentType: '',
  traceparent: '',
  tracestate: '',
  hops: 0,
  sentByOutbox: false,
  cloudEvent: null,
  problem: null,
}

const outboxPrefix = 'tenantry-'
export const hopsHeader = `${outboxPrefix}hops`

const traceparentForm = /^[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}/

/**
 * Reads the headers that tenantry knows. Names are compared without regard to case. A header that decides how the value
 * is read and stands twice with different values is refused (`duplicate_header`); a doubled trace header only loses the
 * trace. Throws BadRecord with `duplicate_header`, `bad_utf8`, `bad_content` or `too_many_headers`.
 */
export function readHeaders(headers: Headers, maxHeaders: number): MessageHeaders {
  if (headers.length === 0) return noMessageHeaders
  if (headers.length > maxHeaders)
    throw new BadRecord('too_many_headers', `the record has more than ${maxHeaders} headers`)
  let contentType: string | undefined
  let traceparent: string | undefined
  let tracestate = ''
  let hops = 0
  let sentByOutbox = false
  let cloudEvent: Map<string, string> | null = null
  for (const [nameBytes, valueBytes] of headers) {
    const name = nameBytes.toString('latin1').toLowerCase()
    sentByOutbox ||= name.startsWith(outboxPrefix)
    if (name === 'content-type') {
      contentType = once(name, contentType, textOf(name, valueBytes))
    } else if (name === 'traceparent') {
      traceparent = traceparent === undefined ? looseText(valueBytes) : ''
    } else if (name === 'tracestate') {
      tracestate = looseText(valueBytes)
    } else if (name === hopsHeader) {
      const count = Number(looseText(valueBytes))
      if (Number.isSafeInteger(count) && count > hops) hops = count
    } else if (name.startsWith('ce_')) {
      cloudEvent ??= new Map()
      const attribute = name.slice(3)
      cloudEvent.set(attribute, once(name, cloudEvent.get(attribute), textOf(name, valueBytes)))
    }
  }
  const traced = traceparent !== undefined && traceparentForm.test(traceparent)
  return {
    contentType: contentType === undefined ? '' : mediaType(contentType),
    traceparent: traced && traceparent !== undefined ? traceparent : '',
    tracestate: traced ? tracestate : '',
    hops,
    sentByOutbox,
    cloudEvent: cloudEvent !== null && cloudEvent.has('specversion') ? cloudEvent : null,
    problem: null,
  }
}

function once(name: string, before: string | undefined, value: string): string {
  if (before === undefined || before === value) return value
  throw new BadRecord('duplicate_header', `the header ${name} stands twice with different values`)
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function textOf(name: string, bytes: Buffer | null): string {
  if (bytes === null) throw new BadRecord('bad_content', `the header ${name} is null`)
  try {
    return strictUtf8.decode(bytes)
  } catch {
    throw new BadRecord('bad_utf8', `the header ${name} is not UTF-8`)
  }
}

/** '' for what no such header holds: it travels on, into headers and text that cannot hold it either. */
function looseText(bytes: Buffer | null): string {
  if (bytes === null || bytes.length > 1_024) return ''
  const text = bytes.toString('latin1').trim()
  return /\p{Cc}/u.test(text) ? '' : text
}

/** `Application/JSON; charset=utf-8` is application/json. Any other charset than UTF-8 is refused, not guessed at. */
function mediaType(header: string): string {
  const semicolon = header.indexOf(';')
  if (semicolon < 0) return header.trim().toLowerCase()
  const charset = /;\s*charset\s*=\s*"?([^\s;"]+)/i.exec(header)?.[1]
  if (charset !== undefined && !/^(utf-?8|us-ascii)$/i.test(charset)) {
    throw new BadRecord('bad_content', 'the content-type names a charset other than UTF-8')
  }
  return header.slice(0, semicolon).trim().toLowerCase()
}

import { isUtf8 } from 'node:buffer'
import { jsonSafe, visible } from '../output.ts'
import type { Header, WholeLetter } from './letters.ts'

/** Bytes in JSON: as text where they are UTF-8, else in base64. Nothing is lost either way. */
export type ShownBytes = { readonly text: string } | { readonly base64: string } | null

export function bytesForJson(bytes: Buffer | null): ShownBytes {
  if (bytes === null) return null
  return isUtf8(bytes) ? { text: bytes.toString() } : { base64: bytes.toString('base64') }
}

/** A dead letter with everything, for `--json`. */
export function letterForJson({ key, value, headers, ...letter }: WholeLetter) {
  return {
    ...letter,
    key: bytesForJson(key),
    value: bytesForJson(value),
    headers: headers.map(([name, text]) => [bytesForJson(name), bytesForJson(text)]),
  }
}

/** A dead letter with everything, for people: whatever it holds, no terminal obeys it. */
export function letterForPeople(letter: WholeLetter): string {
  const { operation, traceId, sqlstate, errorClass, replayCount } = letter
  const facts: readonly (readonly [name: string, value: string])[] = [
    [
      'state',
      operation === null
        ? letter.state
        : `${letter.state} ${operation.at} by ${operation.givenName} (${operation.sessionName}): ${operation.reason}`,
    ],
    [
      'failed',
      `${letter.failedAt}, first ${letter.firstFailedAt}, ${letter.attempts} ${letter.attempts === 1 ? 'attempt' : 'attempts'}`,
    ],
    ['group', letter.group],
    ['record', letter.kind === 'message' ? `none: a message to ${letter.topic}` : placeOf(letter)],
    ['record time', letter.timestamp ?? 'none'],
    ['tenant', letter.tenant],
    ['actor', letter.actor],
    ['type', letter.type],
    ['message id', letter.messageId],
    ['trace', traceId],
    ['reason', letter.reason],
    [
      'error',
      `${errorClass === '' ? '' : `${errorClass}: `}${letter.errorMessage}${sqlstate === null ? '' : ` (${sqlstate})`}`,
    ],
    ['published', letter.published],
    ...(replayCount > 0 ? [['replays', String(replayCount)] as const] : []),
  ]
  const parts = [
    `Dead letter ${letter.id}`,
    ...facts.map(([name, value]) => `  ${name.padEnd(12)}${visible(value) || '-'}`),
    block('stack', letter.errorStack === '' ? [] : letter.errorStack.split('\n').map(visible)),
    bytesForPeople('key', letter.key),
    ...headersForPeople(letter.headers),
    bytesForPeople('value', letter.value),
  ]
  return parts.filter((part) => part !== '').join('\n')
}

export function placeOf({ topic, partition, offset }: Pick<WholeLetter, 'topic' | 'partition' | 'offset'>): string {
  return partition === null ? topic : `${topic}-${partition}@${offset}`
}

function headersForPeople(headers: readonly Header[]): string[] {
  return headers.map(([name, value]) =>
    bytesForPeople(`header ${isUtf8(name) ? visible(name.toString()) : name.toString('hex')}`, value),
  )
}

/** JSON, text, or in hexadecimal. Every line is set in, so that none looks like ours. */
function bytesForPeople(name: string, bytes: Buffer | null): string {
  if (bytes === null) return `${name}: null`
  if (bytes.length === 0) return `${name}: empty`
  const size = `${bytes.length} ${bytes.length === 1 ? 'byte' : 'bytes'}`
  if (!isUtf8(bytes) || bytes.includes(0)) return block(`${name} (${size}, hexadecimal)`, hexadecimal(bytes))
  const text = bytes.toString()
  if (isJson(text)) return block(`${name} (${size}, JSON)`, jsonSafe(indented(text)).split('\n'))
  return block(`${name} (${size}, text)`, text.split('\n').map(visible))
}

function block(title: string, lines: readonly string[]): string {
  return lines.length === 0 ? '' : [`${title}:`, ...lines.map((line) => `  ${line}`)].join('\n')
}

function* chunks(bytes: Buffer, size: number): Generator<readonly [at: number, chunk: Buffer]> {
  for (let at = 0; at < bytes.length; at += size) yield [at, bytes.subarray(at, at + size)]
}

/** `00000010  7b 22 6e 22 … |{"n"…|` */
function hexadecimal(bytes: Buffer): string[] {
  return [...chunks(bytes, 16)].map(([at, chunk]) => {
    const hex = [...chunk].map((byte) => byte.toString(16).padStart(2, '0')).join(' ')
    const text = [...chunk].map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.')).join('')
    return `${at.toString(16).padStart(8, '0')}  ${hex.padEnd(47)}  |${text}|`
  })
}

/** Objects and arrays only: a number or a word is shown as the text that it is. */
function isJson(text: string): boolean {
  if (!/^\s*[[{]/.test(text)) return false
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/** Deeper than this nobody reads it, and it would be mostly spaces. */
const maxDepth = 100

/** JSON with its lines set in, and otherwise as it was: parsed and written again, long numbers would be others. */
export function indented(json: string): string {
  let out = ''
  let depth = 0
  const line = () => `\n${'  '.repeat(depth)}`
  for (let at = 0; at < json.length; at++) {
    const char = json[at] ?? ''
    if (char === '"') {
      const from = at
      for (at++; json[at] !== '"' && at < json.length; at++) if (json[at] === '\\') at++
      out += json.slice(from, at + 1)
    } else if (char === '{' || char === '[') {
      const rest = /^\s*[\]}]/.exec(json.slice(at + 1, at + 100))
      if (rest !== null) {
        out += char + rest[0].trim()
        at += rest[0].length
      } else if (++depth > maxDepth) return json
      else out += char + line()
    } else if (char === '}' || char === ']') {
      depth--
      out += line() + char
    } else if (char === ',') out += char + line()
    else if (char === ':') out += ': '
    else if (!/\s/.test(char)) out += char
  }
  return out
}

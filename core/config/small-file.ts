import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { messageOf } from '../errors.ts'
import { formatSize } from './units.ts'

/** Why a file cannot be used: what is to be said after its name. */
export type Unusable = { readonly problem: string }

/** The content of a file of at most `maxBytes`. More is never read, so a device does no harm. */
export function readSmallFile(path: string, maxBytes: number): { readonly bytes: Buffer } | Unusable {
  try {
    const file = openSync(path, 'r')
    try {
      if (fstatSync(file).isDirectory()) return { problem: 'is a folder: name a file in it' }
      const bytes = firstBytes(file, maxBytes + 1)
      return bytes.length > maxBytes ? { problem: `is larger than ${formatSize(maxBytes)}` } : { bytes }
    } finally {
      closeSync(file)
    }
  } catch (error) {
    return { problem: `cannot be read: ${messageOf(error)}` }
  }
}

/**
 * The same as text, without a byte order mark. What is no UTF-8 is refused: decoders put a sign for the unreadable in its
 * place, and a password would be another one without a word.
 */
export function readTextFile(path: string, maxBytes: number): { readonly text: string } | Unusable {
  const read = readSmallFile(path, maxBytes)
  if ('problem' in read) return read
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(read.bytes)
    return text.includes('\0') ? { problem: 'is no text: there is a NUL character in it' } : { text }
  } catch {
    return { problem: 'is no UTF-8 text: save it as UTF-8' }
  }
}

/** A pipe has no size to be asked for, and gives what it has. */
function firstBytes(file: number, limit: number): Buffer {
  const chunks: Buffer[] = []
  for (let length = 0; length < limit; ) {
    const chunk = Buffer.allocUnsafe(Math.min(65_536, limit - length))
    const read = readSync(file, chunk)
    if (read === 0) break
    chunks.push(chunk.subarray(0, read))
    length += read
  }
  return Buffer.concat(chunks)
}

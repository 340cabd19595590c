import { readFileSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { messageOf } from '../errors.ts'
import type { Config } from './schema.ts'

type Tls = Config['kafka']['tls']
type PemKey = 'ca' | 'cert' | 'key'

const maxPemBytes = 1024 * 1024

/** `tls` with the text of each PEM file in place of its path; relative paths start at `folderOf` the key. */
export function pemTexts(
  tls: Tls,
  problem: (key: PemKey, what: string) => void,
  folderOf: (key: PemKey) => string,
): Tls {
  const text = (key: PemKey): Partial<Record<PemKey, string>> => {
    const given = tls[key]
    if (given === undefined) return {}
    if (given.trimStart().startsWith('-----BEGIN')) return { [key]: given }
    try {
      const path = resolve(folderOf(key), given)
      if (statSync(path).size > maxPemBytes) throw new RangeError('it is larger than 1MiB')
      const pem = readFileSync(path, 'utf8')
      if (pem.includes('-----BEGIN')) return { [key]: pem }
      problem(key, 'the file is not PEM: nothing in it begins with -----BEGIN')
    } catch (error) {
      problem(key, `neither PEM nor a file that can be read: ${messageOf(error)}`)
    }
    return {}
  }
  return { ...tls, ...text('ca'), ...text('cert'), ...text('key') }
}

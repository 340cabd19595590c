import { resolve } from 'node:path'
import type { Config } from './schema.ts'
import { readSmallFile } from './small-file.ts'

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
    const file = readSmallFile(resolve(folderOf(key), given), maxPemBytes)
    if ('problem' in file) {
      problem(key, `is not PEM itself, and the file of that name ${file.problem}`)
      return {}
    }
    const pem = file.bytes.toString('utf8') // a comment in it may be in any encoding
    if (pem.includes('-----BEGIN')) return { [key]: pem }
    problem(key, 'the file is not PEM: nothing in it begins with -----BEGIN')
    return {}
  }
  return { ...tls, ...text('ca'), ...text('cert'), ...text('key') }
}

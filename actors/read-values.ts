import type postgres from 'postgres'
import { parseJson } from '../core/json.ts'
import { parseArray } from '../core/postgres/array-values.ts'
import { textParameters } from '../core/postgres/parameters.ts'

/** State and documents nest as deep as PostgreSQL lets them; this is well below what overflows a stack. */
const maxDepth = 1_000

const json = (text: string) => parseJson(text, maxDepth)
const date = (text: string) => new Date(text)
const bytes = (text: string) => Buffer.from(text.slice(2), 'hex')
const same = (text: string) => text

/** Object ids of PostgreSQL's own array types, by how their elements are read. */
const arrays: readonly (readonly [types: readonly number[], element: (text: string) => unknown])[] = [
  [[1000], (text) => text === 't'],
  [[1005, 1007, 1021, 1022, 1028], Number],
  [[1002, 1003, 1009, 1014, 1015, 1016, 1231, 2951, 1183, 1270, 1187], same],
  [[199, 3807], json],
  [[1115, 1182, 1185], date],
  [[1001], bytes],
]

/**
 * Values as postgres.js gives them (int8 and numeric as strings), but exactly: JSON keeps its large integers, and arrays
 * their nulls. For a client that does not fetch types: the driver would set its own array readers, which take NULL for
 * the word.
 */
export const readValues = readers()

function readers(): Record<string, postgres.PostgresType> {
  const asTheyAre = { to: 0, serialize: (value: unknown) => value }
  const own: Record<string, postgres.PostgresType> = { json: { ...asTheyAre, from: [114, 3802], parse: json } }
  for (const [i, [types, element]] of arrays.entries()) {
    own[`array${i}`] = { ...asTheyAre, from: [...types], parse: (text: string) => parseArray(text, element) }
  }
  // Last, as the others set how parameters of their types are sent, too.
  return { ...own, ...textParameters }
}

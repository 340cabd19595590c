import * as assert from 'uvu/assert'
import type { Act, Logged } from '../chaos/history.ts'
import { type Chapter, retell } from '../chaos/retold.ts'
import { test } from '../harness.ts'

// Which rows operators' acts explain, and which they do not.

function log(ids: string): readonly Logged[] {
  return ids.split('').map((id, offset) => ({ partition: 0, offset, tenant: 't', id, n: offset, poison: id === '!' }))
}

function chapter(ids: string, acts: readonly Act[] = [], doneBelow?: number): Chapter {
  return { records: log(ids), acts, ...(doneBelow !== undefined && { done: (offset: number) => offset < doneBelow }) }
}

const back = (to: number, until: number, parked = true): Act => {
  return { topicId: 'x', partition: 0, kind: 'rerun', to, done: until, until, parked }
}
const on = (from: number, to: number): Act => ({ topicId: 'x', partition: 0, kind: 'skip', passed: [[from, to]] })

function whole(rows: string, ...chapters: readonly Chapter[]): boolean {
  return retell(rows.split(''), chapters).whole
}

test('without an act each message is there once and in order, less copies and poison', () => {
  assert.ok(whole('abc', chapter('aba!c')))
  for (const rows of ['ab', 'abcc', 'acb', 'abac', '', 'abcd']) assert.not(whole(rows, chapter('aba!c')), rows)
})

test('after a reset back it begins again there, wherever it was, and goes on to the end', () => {
  const reset = chapter('abcde', [back(1, 3)])
  for (const rows of ['abcbcde', 'abbcde', 'abcde']) assert.ok(whole(rows, reset), rows)
  // Not to the end; not from the position; twice; from one that was too early; further than was done when it was reset.
  for (const rows of ['abcbcd', 'abcbde', 'abcbcdebcde', 'abcabcde', 'abcdbcde']) assert.not(whole(rows, reset), rows)
})

test('where nothing was parked, all that was done before a reset back had run', () => {
  const reset = chapter('abcde', [back(1, 3, false)])
  assert.ok(whole('abcbcde', reset))
  for (const rows of ['abbcde', 'abcde']) assert.not(whole(rows, reset), rows)
})

test('a second reset begins again from wherever the first had come to', () => {
  const reset = chapter('abcde', [back(1, 3), back(0, 2)])
  for (const rows of ['abcbabcde', 'abcabcde']) assert.ok(whole(rows, reset), rows)
  assert.not(whole('abcbcdabcde', reset))
})

test('what runs again does by its copy too, up to the end that was done; beyond, a copy is one', () => {
  const reset = chapter('abcadb', [back(3, 4)])
  assert.ok(whole('abcad', reset))
  assert.not(whole('abcadb', reset))
  assert.not(whole('abcd', reset))
})

test('what was passed over never runs, unless a reset goes back before it', () => {
  assert.ok(whole('abe', chapter('abcde', [on(2, 4)])))
  assert.not(whole('abcde', chapter('abcde', [on(2, 4)])))
  assert.ok(whole('abebcde', chapter('abcde', [on(2, 4), back(1, 5)])))
})

test('what was not done when its topic went is lost with it, and its copy is new', () => {
  const gone = chapter('abcd', [], 2)
  assert.ok(whole('abxc', gone, chapter('xac')))
  for (const rows of ['axc', 'abcx', 'abxac', 'abx', 'xabc']) assert.not(whole(rows, gone, chapter('xac')), rows)
})

test('what was not done when its topic went may have been anywhere, as later ones were parked', () => {
  const gone: Chapter = { records: log('abcad'), acts: [], done: (offset) => offset >= 2 }
  assert.ok(whole('cad', gone))
  for (const rows of ['abcd', 'abcad', 'cd', 'acd']) assert.not(whole(rows, gone), rows)
})

test('it says how far the rows can be told', () => {
  assert.equal(retell(['a', 'b', 'x'], [chapter('abc')]), { told: 2, whole: false })
})

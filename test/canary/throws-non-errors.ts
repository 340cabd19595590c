import { test } from '../harness.ts'

test('throws a value that is no Error', () => {
  throw 'text'
})

test('throws nothing at all', () => {
  throw undefined
})

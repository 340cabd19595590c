import * as assert from 'uvu/assert'
import { test } from '../harness.ts'

test('one of two passes', () => {})

test('one of two fails', () => {
  assert.is(1, 2)
})

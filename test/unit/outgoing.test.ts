import * as assert from 'uvu/assert'
import { nameOf, verdictOf } from '../../core/kafka/outgoing.ts'
import { test } from '../harness.ts'

test('only what is about the message itself is refused; rights, topics that are away and our clock fail it, and it goes again', () => {
  const verdicts = (codes: readonly number[]) => codes.map((code) => `${nameOf(code)}: ${verdictOf(code)}`)
  assert.equal(verdicts([10, 18, 42, 44, 87]), [
    'MESSAGE_TOO_LARGE: refused',
    'RECORD_LIST_TOO_LARGE: refused',
    'INVALID_REQUEST: refused',
    'POLICY_VIOLATION: refused',
    'INVALID_RECORD: refused',
  ])
  assert.equal(verdicts([17, 29, 31, 32, 43, 76]), [
    'INVALID_TOPIC_EXCEPTION: failed',
    'TOPIC_AUTHORIZATION_FAILED: failed',
    'CLUSTER_AUTHORIZATION_FAILED: failed',
    'INVALID_TIMESTAMP: failed',
    'UNSUPPORTED_FOR_MESSAGE_FORMAT: failed',
    'UNSUPPORTED_COMPRESSION_TYPE: failed',
  ])
  assert.equal(
    verdicts([3, 6, 7]).map((text) => text.split(': ')[1]),
    ['retry', 'retry', 'retry'],
  )
})

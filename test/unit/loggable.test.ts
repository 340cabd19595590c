import * as assert from 'uvu/assert'
import { loggableFacts, loggableText } from '../../core/loggable.ts'
import { test } from '../harness.ts'

// An actor's types are not checked when it runs: whatever it gives a line of log, the line stays short.

test('a text, a list or bytes where fields belong are one field', () => {
  assert.equal(loggableFacts('{"payload":1}'), { fields: '{"payload":1}' })
  assert.equal(loggableFacts(['a', 1]), { fields: ['a', '1'] })
  assert.equal(loggableFacts(Buffer.alloc(5_000_000)), { fields: '5000000 bytes' })
})

test('so many fields are kept, and so much of each', () => {
  const many = Object.fromEntries(Array.from({ length: 1_000 }, (_, i) => [`field${i}`, i]))
  assert.equal(Object.keys(loggableFacts(many)), Object.keys(many).slice(0, 100))
  const long = 'x'.repeat(1_000_000)
  const nested = { long, list: Array.from({ length: 1_000_000 }, () => 1) }
  const facts = loggableFacts({ long, nested, list: [long, nested], error: new Error(long) })
  assert.equal(Object.keys(facts), ['long', 'nested', 'list', 'error'])
  for (const text of Object.values(facts).flat()) assert.ok(String(text).length <= 8_192, `${String(text).length}`)
  assert.is(loggableText(long).length, 8_192)
})

test('bytes are told by their length, wherever they stand', () => {
  const nested = { view: new Uint8Array(7), bytes: Buffer.alloc(1_000) }
  const { body, own } = loggableFacts({ body: Buffer.alloc(5_000_000), own: nested })
  assert.is(body, '5000000 bytes')
  assert.match(String(own), '"view":"7 bytes"')
  assert.ok(String(own).length < 1_000, `${String(own)}`)
})

import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads'
import * as assert from 'uvu/assert'
import { Outbound } from '../../actors/outbound.ts'
import type { Decision } from '../../core/workers.ts'
import { test } from '../harness.ts'

function decisionOf(offset: number, text: string): Decision {
  return {
    mailbox: 1,
    run: 1,
    offset,
    outcome: {
      kind: 'done',
      key: null,
      effects: [{ kind: 'sql', text: ['select ', ''], values: [text] }],
      publishes: false,
      stateful: false,
      packed: null,
      state: null,
      type: 'go',
      traceId: '',
      messageId: `m-${offset}`,
      bytes: text.length,
      served: 0,
    },
  }
}

test('handlers that end together answer together, but no frame grows with what each of them writes', () => {
  const { port1, port2 } = new MessageChannel()
  const outbound = new Outbound(port1)
  const texts: number[] = []
  const drain = () => {
    for (let one = receiveMessageOnPort(port2); one !== undefined; one = receiveMessageOnPort(port2))
      texts.push(String(Reflect.get(Object(one.message), 'text')).length)
  }
  const large = 'x'.repeat(4 << 20)
  for (let offset = 0; offset < 8; offset++) outbound.decide(decisionOf(offset, large), 0)
  drain()
  assert.is(texts.length, 8)
  assert.ok(Math.max(...texts) < large.length + 1_000)
  texts.length = 0
  for (let offset = 0; offset < 200; offset++) outbound.decide(decisionOf(offset, 'small'), 0)
  outbound.flush()
  drain()
  assert.is(texts.length, 1)
  port1.close()
})

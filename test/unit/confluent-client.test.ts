// runtimes: node
import * as assert from 'uvu/assert'
import { systemClock } from '../../core/clock.ts'
import { codes, type NativeConfig, type NativeConsumer } from '../../core/kafka/confluent-addon.ts'
import { NativeClient } from '../../core/kafka/confluent-client.ts'
import { silentLog } from '../../core/log.ts'
import { test } from '../harness.ts'

/** A client over a consumer of the addon that does nothing, and what was called of it. */
function clientOf(): { readonly client: NativeClient; readonly calls: string[]; ask(code: number): void } {
  const calls: string[] = []
  let ask: unknown
  let closing = false
  class Consumer implements NativeConsumer {
    constructor(config: NativeConfig) {
      ask = config['rebalance_cb']
    }
    connect() {}
    disconnect() {
      calls.push('disconnect')
      closing = true
    }
    subscribe() {}
    setDefaultConsumeTimeout() {}
    consume() {}
    incrementalAssign() {
      calls.push('assign')
      if (closing) throw new Error('KafkaConsumer is disconnected')
    }
    incrementalUnassign() {
      calls.push('unassign')
    }
    assignmentLost() {
      return false
    }
    pause() {}
    resume() {}
    commit() {}
    getWatermarkOffsets() {
      return { lowOffset: 0, highOffset: 0 }
    }
    on() {}
  }
  const client = new NativeClient(
    { KafkaConsumer: Consumer },
    {
      bootstrap: ['localhost:1'],
      clientId: 'unit',
      group: 'g',
      topics: ['t'],
      protocol: 'consumer',
      sessionTimeoutMs: 1_000,
      releaseTimeoutMs: 1_000,
      maxFetchBytes: 1_048_576,
      clock: systemClock,
      log: silentLog,
    },
    {
      rebalanced: (kind) => calls.push(kind),
      signalled() {},
      failed() {},
      troubled() {},
      settled() {},
      positionRefused() {},
      identified() {},
    },
  )
  return {
    client,
    calls,
    ask(code) {
      if (typeof ask === 'function') Reflect.apply(ask, undefined, [{ code }, [{ topic: 't', partition: 0 }]])
    },
  }
}

test('a client that leaves answers first what its owner was told and has not answered', () => {
  const { client, calls, ask } = clientOf()
  ask(codes.revokePartitions)
  void client.disconnect()
  assert.equal(calls, ['revoked', 'assign', 'unassign', 'disconnect'])
})

test('a client that leaves answers for its owner, with what the addon still takes', () => {
  const { client, calls, ask } = clientOf()
  void client.disconnect()
  for (const code of [codes.assignPartitions, codes.revokePartitions]) {
    calls.length = 0
    ask(code)
    assert.equal(calls, ['assign', 'unassign'])
  }
})

// runtimes: node, bun
// timeout: 600 s
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { type Services, startServices } from '../../cli/dev/services.ts'
import { systemClock } from '../../core/clock.ts'
import { KafkaPublisher, type OutgoingMessage } from '../../core/kafka/producer.ts'
import { silentLog } from '../../core/log.ts'
import { after, before, test } from '../harness.ts'
import { freshTopic } from '../services.ts'

// A partition whose only broker is gone has no leader: that is its own trouble, and not that of all others.

const brokers = 3
let cluster: Services
let publisher: KafkaPublisher

before(async () => {
  const dir = mkdtempSync(join(tmpdir(), 'leaderless-'))
  cluster = await startServices({ dir, brokers, kafka: true, postgres: false, redis: false })
  const bootstrap = cluster.kafkaAddress.split(',')
  const own = { clientId: 'leaderless', clock: systemClock, log: silentLog, deliveryTimeoutMs: 20_000 }
  publisher = new KafkaPublisher({ ...own, bootstrap })
})

after(async () => {
  await publisher.stop(0)
  await cluster.wipe()
})

function message(topic: string, partition: number): OutgoingMessage {
  return { topic, partition, key: null, value: Buffer.from('1'), headers: [] }
}

test(
  'while one partition has no leader, new topics and moved leaders are found, and all else is delivered',
  async () => {
    const kafka = cluster.kafkaAddress
    const lone = await freshTopic({ partitions: brokers, replicas: 1, kafka })
    const safe = await freshTopic({ partitions: brokers, replicas: brokers, kafka })
    const later = await freshTopic({ partitions: brokers, replicas: brokers, kafka })
    const all = (topic: string) => Array.from({ length: brokers }, (_, partition) => message(topic, partition))
    for (const { kind } of await publisher.send([...all(lone), ...all(safe)])) assert.is(kind, 'delivered')

    await cluster.kafka(brokers).kill('SIGKILL')
    const [first, second, third] = await Promise.all([
      publisher.send(all(safe)),
      publisher.send(all(later)),
      publisher.send(all(lone)),
    ])
    for (const one of [...(first ?? []), ...(second ?? [])])
      assert.is(one.kind === 'failed' ? one.reason : one.kind, 'delivered')
    assert.is(third?.filter(({ kind }) => kind === 'delivered').length, brokers - 1)
    const failed = third?.find(({ kind }) => kind === 'failed')
    assert.match(failed?.kind === 'failed' ? failed.reason : '', /no leader/)
  },
  { timeoutMs: 300_000 },
)

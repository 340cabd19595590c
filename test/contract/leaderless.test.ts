// runtimes: node, bun
// timeout: 600 s
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { type Services, startServices } from '../../cli/dev/services.ts'
import { systemClock } from '../../core/clock.ts'
import { createSource } from '../../core/kafka/drivers.ts'
import { KafkaPublisher, type OutgoingMessage } from '../../core/kafka/producer.ts'
import { silentLog } from '../../core/log.ts'
import { after, before, test } from '../harness.ts'
import { eventually, freshTopic } from '../services.ts'
import { Member } from './member.ts'

// A partition whose only broker is gone has no leader: that is its own trouble, and not that of all others.

const brokers = 3
let cluster: Services
let publisher: KafkaPublisher
const members: Member[] = []

before(async () => {
  const dir = mkdtempSync(join(tmpdir(), 'leaderless-'))
  cluster = await startServices({ dir, brokers, kafka: true, postgres: false, redis: false })
  const bootstrap = cluster.kafkaAddress.split(',')
  const own = { clientId: 'leaderless', clock: systemClock, log: silentLog, deliveryTimeoutMs: 20_000 }
  publisher = new KafkaPublisher({ ...own, bootstrap })
})

after(async () => {
  await Promise.all([publisher.stop(0), ...members.map((member) => member.stop())])
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

    const started = systemClock.monotonic()
    const again = await publisher.send(all(lone))
    assert.is(again.filter(({ kind }) => kind === 'delivered').length, brokers - 1)
    assert.ok(systemClock.monotonic() - started < 10_000, 'nobody waits for it as long again')
  },
  { timeoutMs: 300_000 },
)

const drivers =
  process.versions['bun'] === undefined ? (['confluent', 'platformatic'] as const) : (['platformatic'] as const)

for (const driver of drivers) {
  test(
    `with ${driver} a partition without a leader keeps nobody from reading the others, and is trouble until it has one`,
    async () => {
      await cluster.kafka(brokers).start()
      await cluster.kafkaComplete()
      const kafka = cluster.kafkaAddress
      const topic = await freshTopic({ partitions: brokers, replicas: 1, kafka })
      const all = () => Array.from({ length: brokers }, (_, partition) => message(topic, partition))
      for (const { kind } of await publisher.send(all())) assert.is(kind, 'delivered')
      const member = await Member.create((options) => createSource({ ...options, driver }), {
        bootstrap: kafka.split(','),
        group: `leaderless-${driver}`,
        topics: [topic],
      })
      members.push(member)
      await member.start()
      await eventually(() => member.assignedNow.size === brokers, { deadlineMs: 30_000 })

      await cluster.kafka(brokers).kill('SIGKILL')
      for (let partition = 0; partition < brokers; partition++) member.seek({ topic, partition }, 0)
      await eventually(() => member.count() === brokers - 1, { deadlineMs: 30_000, what: 'the others are read' })
      await eventually(() => member.inTrouble, { deadlineMs: 30_000, what: 'trouble' })
      // By then the group has another coordinator, where the broker was that.
      await eventually(() => /no leader|list offsets/.test(member.troubles.at(-1)?.message ?? ''), {
        deadlineMs: 30_000,
        what: 'trouble with the partition alone',
      })
      const { recoveries } = member
      await new Promise<void>((resolve) => systemClock.after(12_000, resolve))
      assert.is(member.recoveries, recoveries)
      assert.ok(member.inTrouble)
      await cluster.kafka(brokers).start()
      await eventually(() => member.count() === brokers, { deadlineMs: 60_000, what: 'all is read' })
      await eventually(() => !member.inTrouble, { deadlineMs: 30_000, what: 'no more trouble' })
    },
    { timeoutMs: 300_000 },
  )
}

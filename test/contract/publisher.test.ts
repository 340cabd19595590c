// runtimes: node, bun
// timeout: 600 s
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { Admin } from '@platformatic/kafka'
import { type Services, startServices } from '../../cli/dev/services.ts'
import { systemClock } from '../../core/clock.ts'
import { createSource } from '../../core/kafka/drivers.ts'
import { partitionOf } from '../../core/kafka/murmur2.ts'
import { KafkaPublisher, type OutgoingMessage, type PublisherOptions } from '../../core/kafka/producer.ts'
import { silentLog } from '../../core/log.ts'
import { after, before, test } from '../harness.ts'
import { eventually, freshTopic } from '../services.ts'
import { Member } from './member.ts'

let cluster: Services
let bootstrap: readonly string[] = []
const publishers: KafkaPublisher[] = []
const members: Member[] = []

before(async () => {
  cluster = await startServices({
    dir: mkdtempSync(join(tmpdir(), 'publisher-')),
    brokers: 1,
    kafka: true,
    postgres: false,
    redis: false,
  })
  bootstrap = cluster.kafkaAddress.split(',')
})

after(async () => {
  await Promise.all([...publishers.map((publisher) => publisher.stop(0)), ...members.map((member) => member.stop())])
  await cluster.wipe()
})

function publisherWith(options: Partial<PublisherOptions> = {}): KafkaPublisher {
  const publisher = new KafkaPublisher({
    bootstrap,
    clientId: 'publisher',
    clock: systemClock,
    log: silentLog,
    ...options,
  })
  publishers.push(publisher)
  return publisher
}

const topicOf = (partitions: number, config: Readonly<Record<string, string>> = {}) =>
  freshTopic({ partitions, config, kafka: cluster.kafkaAddress })

async function createTopic(topic: string): Promise<void> {
  const admin = new Admin({ clientId: 'publisher-test', bootstrapBrokers: [...bootstrap] })
  await admin.createTopics({ topics: [topic], partitions: 1, replicas: 1 })
  await admin.close()
}

async function reader(topic: string): Promise<Member> {
  const member = await Member.create((options) => createSource({ ...options, driver: 'platformatic' }), {
    bootstrap,
    group: `read-${topic}`,
    topics: [topic],
    from: 0,
  })
  members.push(member)
  await member.start()
  return member
}

const message = (topic: string, key: string, value: string): OutgoingMessage => ({
  topic,
  key: Buffer.from(key),
  value: Buffer.from(value),
  headers: [['content-type', 'text/plain']],
})

test('delivers to the partition of the key, in the order given', async () => {
  const topic = await topicOf(4)
  const messages = Array.from({ length: 2_000 }, (_, i) => message(topic, `tenant-${i % 7}`, String(i)))
  const publisher = publisherWith()
  const deliveries = (
    await Promise.all([0, 500, 1_000, 1_500].map((from) => publisher.send(messages.slice(from, from + 500))))
  ).flat()
  assert.ok(deliveries.every(({ kind }) => kind === 'delivered'))
  const member = await reader(topic)
  await eventually(() => member.count() === 2_000)
  for (let partition = 0; partition < 4; partition++) {
    const expected = messages
      .filter(({ key }) => key !== null && partitionOf(key, 4) === partition)
      .map(({ value }) => String(value))
    assert.equal(member.valuesOf(partition), expected)
  }
})

test('what was given first goes first, also while nothing is known of the topic', async () => {
  const topic = await topicOf(1)
  const publisher = publisherWith()
  const sends = Array.from({ length: 50 }, async (_, i) => {
    for (let turns = 0; turns < i; turns++) await Promise.resolve()
    return publisher.send([message(topic, 'one', String(i))])
  })
  await Promise.all(sends)
  const member = await reader(topic)
  await eventually(() => member.count() === 50)
  assert.equal(
    member.valuesOf(0),
    Array.from({ length: 50 }, (_, i) => String(i)),
  )
})

test('a message that is too large is refused alone, and those around it are delivered in order', async () => {
  const topic = await topicOf(1, { 'max.message.bytes': '20000' })
  const values = Array.from({ length: 20 }, (_, i) => (i === 7 ? 'x'.repeat(30_000) : String(i)))
  const deliveries = await publisherWith().send(values.map((value) => message(topic, 'one', value)))
  assert.equal(
    deliveries.map(({ kind }) => kind),
    values.map((_, i) => (i === 7 ? 'refused' : 'delivered')),
  )
  assert.match(deliveries[7]?.kind === 'refused' ? deliveries[7].reason : '', /MESSAGE_TOO_LARGE/)
  const member = await reader(topic)
  await eventually(() => member.count() === 19)
  assert.equal(
    member.valuesOf(0),
    values.filter((_, i) => i !== 7),
  )
})

test('what a topic does not take because our clock is wrong fails, and is delivered when it is right', async () => {
  const topic = await topicOf(1, { 'message.timestamp.after.max.ms': '60000' })
  let aheadMs = 3_600_000
  const publisher = publisherWith({ clock: { ...systemClock, now: () => systemClock.now() + aheadMs } })
  const [early] = await publisher.send([message(topic, 'one', '1')])
  assert.is(early?.kind, 'failed')
  assert.match(early?.kind === 'failed' ? early.reason : '', /INVALID_TIMESTAMP/)
  aheadMs = 0
  assert.equal(await publisher.send([message(topic, 'one', '1')]), [{ kind: 'delivered' }])
})

test('many small messages together larger than the topic takes are all delivered', async () => {
  const topic = await topicOf(1, { 'max.message.bytes': '20000' })
  const deliveries = await publisherWith().send(
    Array.from({ length: 200 }, (_, i) => message(topic, 'one', String(i).padStart(1_000, '0'))),
  )
  assert.ok(deliveries.every(({ kind }) => kind === 'delivered'))
})

test('a topic that does not exist fails, the others are delivered, and once it is there it is delivered to', async () => {
  const topic = await topicOf(1)
  const later = `${topic}.later`
  const publisher = publisherWith()
  const started = systemClock.monotonic()
  const deliveries = await publisher.send([
    message(topic, 'a', '1'),
    message(later, 'a', '2'),
    message(topic, 'a', '3'),
  ])
  assert.equal(
    deliveries.map(({ kind }) => kind),
    ['delivered', 'failed', 'delivered'],
  )
  assert.ok(systemClock.monotonic() - started < 10_000, 'nobody waits for it until the deadline')
  await createTopic(later)
  await eventually(async () => (await publisher.send([message(later, 'a', '2')]))[0]?.kind === 'delivered', {
    deadlineMs: 30_000,
  })
})

test('while the broker is frozen messages fail after their time, with what is wrong, and go again later', async () => {
  const topic = await topicOf(1)
  const publisher = publisherWith({ deliveryTimeoutMs: 1_500 })
  assert.equal(await publisher.send([message(topic, 'a', '0')]), [{ kind: 'delivered' }])
  cluster.kafka(1).pause()
  const failed = await publisher.send([message(topic, 'a', '1'), message(topic, 'a', '2')])
  cluster.kafka(1).resume()
  assert.equal(
    failed.map(({ kind }) => kind),
    ['failed', 'failed'],
  )
  assert.match(failed[0]?.kind === 'failed' ? failed[0].reason : '', /^not delivered within 1500 ms \(.+\)$/)
  await eventually(async () =>
    (await publisher.send([message(topic, 'a', '3')])).every(({ kind }) => kind === 'delivered'),
  )
})

test(
  'a restart of the broker loses, repeats and reorders nothing',
  async () => {
    const topic = await topicOf(2)
    const publisher = publisherWith({ deliveryTimeoutMs: 60_000 })
    let next = 0
    const some = () =>
      publisher.send(Array.from({ length: 50 }, () => message(topic, `key-${next % 5}`, String(next++))))
    const sends: ReturnType<typeof some>[] = []
    const sending = async (rounds: number) => {
      for (let i = 0; i < rounds; i++) {
        sends.push(some())
        await new Promise<void>((resolve) => systemClock.after(5, resolve))
      }
    }
    await sending(20)
    const stopping = cluster.kafka(1).kill()
    await sending(20)
    await stopping
    await cluster.kafka(1).start()
    await sending(20)
    const deliveries = (await Promise.all(sends)).flat()
    assert.ok(deliveries.every(({ kind }) => kind === 'delivered'))
    const member = await reader(topic)
    await eventually(() => member.count() >= 3_000, { deadlineMs: 30_000 })
    for (let partition = 0; partition < 2; partition++) {
      const values = member.valuesOf(partition).map(Number)
      assert.ok(values.every((value, i) => i === 0 || value > (values[i - 1] ?? -1)))
    }
    assert.is(member.count(), 3_000)
  },
  { timeoutMs: 180_000 },
)

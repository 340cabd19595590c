// runtimes: node, bun
// timeout: 900 s
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Admin, FindCoordinatorKeyTypes } from '@platformatic/kafka'
import * as assert from 'uvu/assert'
import { type Services, startServices } from '../../cli/dev/services.ts'
import { systemClock } from '../../core/clock.ts'
import { createSource } from '../../core/kafka/drivers.ts'
import { KafkaPublisher } from '../../core/kafka/producer.ts'
import { silentLog } from '../../core/log.ts'
import { after, before, test } from '../harness.ts'
import { eventually, freshTopic } from '../services.ts'
import { type KafkaWay, kafkaWays } from '../chaos/site.ts'
import { Member } from './member.ts'

// Three brokers, each killed in its turn: leaders and the group's coordinator move, and nothing else changes. And
// connections to them of which one end hears nothing more.

let cluster: Services
let way: KafkaWay
const open: { stop(): Promise<void> }[] = []

before(async () => {
  const { ways, kafkaProxied } = await kafkaWays(1)
  const [first] = ways
  if (first === undefined) throw new Error('there is no way to the brokers')
  way = first
  cluster = await startServices({
    kafkaProxied,
    dir: mkdtempSync(join(tmpdir(), 'brokers-')),
    brokers: 3,
    kafka: true,
    postgres: false,
    redis: false,
  })
})

after(async () => {
  await Promise.all(open.map((one) => one.stop()))
  await cluster.wipe()
  await Promise.all(way.kafka.map((proxy) => proxy.close()))
})

const drivers =
  process.versions['bun'] === undefined ? (['confluent', 'platformatic'] as const) : (['platformatic'] as const)

for (const driver of drivers) {
  test(
    `with ${driver} every broker killed in turn costs no record, no order, and no membership for good`,
    async () => {
      const topic = await freshTopic({ partitions: 6, replicas: 3, kafka: cluster.kafkaAddress })
      const bootstrap = cluster.kafkaAddress.split(',')
      const publisher = new KafkaPublisher({
        bootstrap,
        clientId: 'brokers',
        clock: systemClock,
        log: silentLog,
        deliveryTimeoutMs: 60_000,
      })
      open.push(publisher)
      const member = await Member.create((options) => createSource({ ...options, driver }), {
        bootstrap,
        group: `brokers-${driver}`,
        topics: [topic],
        from: 0,
      })
      open.push(member)
      await member.start()
      await eventually(() => member.assignedNow.size === 6, { deadlineMs: 30_000 })
      let sent = 0
      const sends: ReturnType<KafkaPublisher['send']>[] = []
      const some = () => {
        const messages = Array.from({ length: 60 }, () => {
          const value = sent++
          return { topic, partition: value % 6, key: null, value: Buffer.from(String(value)), headers: [] }
        })
        sends.push(publisher.send(messages))
      }
      const committed = async () => (await member.source.commit([{ topic, partition: 0, offset: 0 }])) === 'committed'
      for (const node of [1, 2, 3]) {
        some()
        await cluster.kafka(node).kill()
        for (let i = 0; i < 20; i++) {
          some()
          await new Promise<void>((resolve) => systemClock.after(20, resolve))
        }
        await eventually(committed, { deadlineMs: 60_000, every: 200, what: `a commit without broker ${node}` })
        await Promise.all(sends)
        await eventually(() => member.count() >= sent, {
          deadlineMs: 60_000,
          what: `all records without broker ${node}`,
        })
        await eventually(() => !member.inTrouble, {
          deadlineMs: 30_000,
          what: `no more trouble, as the others have all that broker ${node} had`,
        })
        await cluster.kafka(node).start()
        await cluster.kafkaComplete()
      }
      assert.ok((await Promise.all(sends)).flat().every(({ kind }) => kind === 'delivered'))
      assert.is(member.count(), sent)
      for (let partition = 0; partition < 6; partition++) {
        assert.equal(
          member.valuesOf(partition),
          Array.from({ length: sent / 6 }, (_, i) => String(i * 6 + partition)),
        )
      }
      assert.is(member.outside.length, 0)
    },
    { timeoutMs: 400_000 },
  )

  for (const what of ['frozen', 'dead behind a proxy'] as const) {
    test(
      `with ${driver} a broker that is ${what} for good keeps nobody from reading and writing`,
      async () => {
        const topic = await freshTopic({ partitions: 6, replicas: 3, kafka: cluster.kafkaAddress })
        const connection = { bootstrap: way.brokers.split(','), requestTimeoutMs: 5_000 }
        // Everybody asks it first.
        const broker = cluster.kafka(1)
        const publisher = new KafkaPublisher({
          ...connection,
          clientId: 'brokers',
          clock: systemClock,
          log: silentLog,
          deliveryTimeoutMs: 60_000,
        })
        open.push(publisher)
        const send = (value: string) => {
          const messages = [0, 1, 2, 3, 4, 5].map((partition) => ({ topic, partition, key: null, headers: [] }))
          return publisher.send(messages.map((message) => ({ ...message, value: Buffer.from(value) })))
        }
        const member = await Member.create((options) => createSource({ ...options, driver }), {
          ...connection,
          group: `away-${driver}`,
          topics: [topic],
          from: 0,
        })
        open.push(member)
        await member.start()
        await eventually(() => member.assignedNow.size === 6, { deadlineMs: 30_000 })
        await send('before')
        await eventually(() => member.count() === 6, { deadlineMs: 30_000 })
        if (what === 'frozen') broker.pause()
        else await broker.kill()
        try {
          const deliveries = await send('meanwhile')
          assert.ok(deliveries.every(({ kind }) => kind === 'delivered'))
          await eventually(() => member.count() === 12, { deadlineMs: 60_000, what: 'all that was sent meanwhile' })
          const offsets = [{ topic, partition: 0, offset: 0 }]
          const committed = async () => (await member.source.commit(offsets)) === 'committed'
          await eventually(committed, { deadlineMs: 60_000, every: 200, what: 'a commit' })
          assert.is((await member.source.describe(topic))?.partitions, 6)
          await eventually(() => !member.inTrouble, { deadlineMs: 30_000, what: 'no more trouble' })
        } finally {
          if (what === 'frozen') broker.resume()
          else await broker.start()
          await cluster.kafkaComplete()
        }
      },
      { timeoutMs: 300_000 },
    )
  }

  for (const protocol of ['consumer', 'classic'] as const) {
    test(
      `with ${driver} and the ${protocol} protocol a topic that is made anew after its leaders have moved is read from its beginning`,
      async () => {
        const topic = await freshTopic({ partitions: 3, replicas: 3, kafka: cluster.kafkaAddress })
        const bootstrap = cluster.kafkaAddress.split(',')
        const publisher = new KafkaPublisher({ bootstrap, clientId: 'brokers', clock: systemClock, log: silentLog })
        const admin = new Admin({ clientId: 'brokers', bootstrapBrokers: bootstrap })
        open.push(publisher, { stop: () => admin.close() })
        const send = (value: string) =>
          publisher.send(
            [0, 1, 2].map((partition) => ({ topic, partition, key: null, value: Buffer.from(value), headers: [] })),
          )
        const member = await Member.create((options) => createSource({ ...options, driver }), {
          bootstrap,
          group: `anew-${driver}-${protocol}`,
          topics: [topic],
          from: 0,
          protocol,
        })
        open.push(member)
        await member.start()
        await eventually(() => member.assignedNow.size === 3, { deadlineMs: 30_000 })
        for (const node of [1, 2, 3]) {
          await cluster.kafka(node).restart()
          await cluster.kafkaComplete()
        }
        await send('old')
        await eventually(() => member.count() === 3, { deadlineMs: 30_000 })
        await admin.deleteTopics({ topics: [topic] })
        await eventually(
          async () => {
            await admin.createTopics({ topics: [topic], partitions: 3, replicas: 3 })
            return true
          },
          { deadlineMs: 20_000 },
        )
        const everywhere = () =>
          [0, 1, 2].every((partition) => {
            const found = member.assignedNow.has(`${topic} ${partition}`) && member.valuesOf(partition).includes('new')
            // As the engine does it when it hears that the topic is another one.
            if (!found && member.changes.length > 0 && member.position(partition) !== 0)
              member.seek({ topic, partition }, 0)
            return found
          })
        await send('new')
        await eventually(everywhere, { deadlineMs: 40_000, every: 2_000, what: 'all of the new topic' })
      },
      { timeoutMs: 300_000 },
    )

    test(
      `with ${driver} and the ${protocol} protocol a member whose connections are all forgotten is back in time`,
      async () => {
        const topic = await freshTopic({ partitions: 3, replicas: 3, kafka: cluster.kafkaAddress })
        const publisher = new KafkaPublisher({
          bootstrap: cluster.kafkaAddress.split(','),
          clientId: 'brokers',
          clock: systemClock,
          log: silentLog,
        })
        open.push(publisher)
        const member = await Member.create((options) => createSource({ ...options, driver }), {
          bootstrap: way.brokers.split(','),
          group: `forgotten-${driver}-${protocol}`,
          topics: [topic],
          from: 0,
          protocol,
          sessionTimeoutMs: 6_000,
          requestTimeoutMs: 5_000,
        })
        open.push(member)
        await member.start()
        await eventually(() => member.assignedNow.size === 3, { deadlineMs: 30_000 })
        for (const proxy of way.kafka) proxy.deaden()
        const messages = [0, 1, 2].map((partition) => ({
          topic,
          partition,
          key: null,
          value: Buffer.from('later'),
          headers: [],
        }))
        await publisher.send(messages)
        const everywhere = () => [0, 1, 2].every((partition) => member.valuesOf(partition).includes('later'))
        await eventually(everywhere, { deadlineMs: 25_000, what: 'all that was sent meanwhile' })
        const committed = async () => (await member.source.commit([{ topic, partition: 0, offset: 0 }])) === 'committed'
        await eventually(committed, { deadlineMs: 25_000, every: 200, what: 'a commit' })
        await eventually(() => !member.inTrouble, { deadlineMs: 25_000, what: 'no more trouble' })
      },
      { timeoutMs: 120_000 },
    )
  }
}

test(
  'with platformatic and the classic protocol a member joins in time, though its coordinator freezes meanwhile',
  async () => {
    const topic = await freshTopic({ partitions: 3, replicas: 3, kafka: cluster.kafkaAddress })
    const bootstrap = cluster.kafkaAddress.split(',')
    const group = 'frozen-join'
    const admin = new Admin({ clientId: 'brokers', bootstrapBrokers: bootstrap })
    open.push({ stop: () => admin.close() })
    const [coordinator] = await admin.findCoordinator({ keyType: FindCoordinatorKeyTypes.GROUP, keys: [group] })
    const broker = cluster.kafka(coordinator?.nodeId ?? 0)
    const member = await Member.create((options) => createSource({ ...options, driver: 'platformatic' }), {
      bootstrap,
      group,
      topics: [topic],
      protocol: 'classic',
      sessionTimeoutMs: 45_000,
    })
    open.push(member)
    broker.pause()
    try {
      void member.start()
      await eventually(() => member.assignedNow.size === 3, { deadlineMs: 45_000, what: 'all partitions' })
    } finally {
      broker.resume()
      await cluster.kafkaComplete()
    }
  },
  { timeoutMs: 120_000 },
)

import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { type ClusterMetadata, Writer } from '@platformatic/kafka'
import * as assert from 'uvu/assert'
import { type Clock, systemClock } from '../../core/clock.ts'
import { keyOf } from '../../core/kafka/cluster.ts'
import { Fetcher } from '../../core/kafka/fetcher.ts'
import { Reading } from '../../core/kafka/reading.ts'
import { silentLog } from '../../core/log.ts'
import { after, test } from '../harness.ts'
import { ManualClock } from '../manual-clock.ts'
import { eventually } from '../services.ts'

// Who leads a partition, and what becomes of the others while that is not known. The brokers here take a fetch and say,
// after a while, that there is nothing new.

const topic = 'some.v1'
const topicId = '00000000-0000-4000-8000-000000000001'
const longPollMs = 20
const servers: Server[] = []
const sockets = new Set<Socket>()
const fetchers: Fetcher[] = []

after(async () => {
  for (const fetcher of fetchers) await fetcher.stop()
  for (const socket of sockets) socket.destroy()
  for (const server of servers) server.close()
})

class IdleBroker {
  port = 0
  fetches = 0

  async start(): Promise<this> {
    const server = createServer((socket) => {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('data', (request) => {
        this.fetches += 1
        systemClock.after(longPollMs, () => socket.write(nothingNew(request.readInt32BE(8))))
      })
    })
    servers.push(server)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    this.port = typeof address === 'object' && address !== null ? address.port : 0
    return this
  }
}

/** Of partition 0, to any fetch. */
function nothingNew(correlation: number): Buffer {
  return Writer.create()
    .appendInt32(correlation)
    .appendTaggedFields()
    .appendInt32(0)
    .appendInt16(0)
    .appendInt32(0)
    .appendArray([0], (topics, partition) =>
      topics.appendUUID(topicId).appendArray([partition], (partitions, number) =>
        partitions
          .appendInt32(number)
          .appendInt16(0)
          .appendInt64(0n)
          .appendInt64(0n)
          .appendInt64(0n)
          .appendArray(null, () => {})
          .appendInt32(-1)
          .appendUnsignedVarInt(1),
      ),
    )
    .appendTaggedFields()
    .prependLength().buffer
}

type Leaders = readonly (IdleBroker | undefined)[]

/** Each partition's leader, where it has one. */
function metadata(leaders: Leaders): ClusterMetadata {
  const known = leaders.filter((leader) => leader !== undefined)
  const partitions = leaders.map((leader) => ({
    leader: leader?.port ?? -1,
    leaderEpoch: 0,
    replicas: [],
    isr: [],
    offlineReplicas: [],
  }))
  return {
    id: 'cluster',
    controllerId: 1,
    brokers: new Map(known.map(({ port }) => [port, { host: '127.0.0.1', port, rack: null }])),
    topics: new Map([[topic, { id: topicId, partitions, partitionsCount: leaders.length, lastUpdate: 0 }]]),
    lastUpdate: 0,
  }
}

/** A fetcher of all partitions, to which `look` says who leads them. */
function fetcherOf(count: number, look: () => Promise<Leaders>, clock: Clock = systemClock) {
  const readings = Array.from({ length: count }, (_, partition) => new Reading({ topic, partition }))
  for (const reading of readings) reading.seek(0, 1, topicId)
  const troubles: string[] = []
  const fetcher = new Fetcher({
    source: {
      bootstrap: [],
      clientId: 'fetcher',
      group: 'fetcher',
      topics: [topic],
      protocol: 'consumer',
      sessionTimeoutMs: 10_000,
      releaseTimeoutMs: 1_000,
      maxFetchBytes: 1_048_576,
      clock,
      log: silentLog,
    },
    cluster: { topology: async () => metadata(await look()), version: async () => 13 },
    readings: new Map(readings.map((reading) => [keyOf(reading), reading])),
    arrived() {},
    outOfRange() {},
    otherTopic() {},
    failed: ({ message }) => troubles.push(message),
  })
  fetchers.push(fetcher)
  fetcher.wake()
  return { fetcher, troubles }
}

test('what has a leader is read on, while it is asked in vain who leads another partition', async () => {
  const broker = await new IdleBroker().start()
  let looks = 0
  fetcherOf(2, () => {
    looks += 1
    return looks === 1 ? Promise.resolve([broker, undefined]) : new Promise(() => {})
  })
  await eventually(() => looks === 2)
  const before = broker.fetches
  await eventually(() => broker.fetches > before + 3, { deadlineMs: 3_000, what: 'more fetches' })
})

test('a partition without a leader is trouble for as long as it has none', async () => {
  const broker = await new IdleBroker().start()
  let leaders: Leaders = [undefined]
  const { fetcher, troubles } = fetcherOf(1, () => Promise.resolve(leaders))
  await eventually(() => troubles.length > 0, { deadlineMs: 5_000, what: 'trouble' })
  assert.match(troubles[0] ?? '', /^Kafka did not let us fetch some\.v1 0: it has no leader\. /)
  assert.is(fetcher.healthy, false)
  leaders = [broker]
  await eventually(() => fetcher.healthy, { deadlineMs: 10_000, what: 'no more trouble' })
})

test('who leads is looked at now and then, although the broker that did so answers', async () => {
  const clock = new ManualClock()
  const [cutOff, successor] = [await new IdleBroker().start(), await new IdleBroker().start()]
  let leaders: Leaders = [cutOff]
  fetcherOf(1, () => Promise.resolve(leaders), clock)
  await eventually(() => cutOff.fetches > 0)
  leaders = [successor]
  await clock.pass(60_000)
  await eventually(() => successor.fetches > 0, { deadlineMs: 3_000, what: 'a fetch from the successor' })
})

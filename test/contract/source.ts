import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { Admin, Producer } from '@platformatic/kafka'
import * as assert from 'uvu/assert'
import { type Services, startServices } from '../../cli/dev/services.ts'
import { systemClock } from '../../core/clock.ts'
import { KafkaPublisher, type OutgoingMessage } from '../../core/kafka/producer.ts'
import { silentLog } from '../../core/log.ts'
import { after, before, test } from '../harness.ts'
import { eventually, freshTopic } from '../services.ts'
import { Frozen } from './frozen.ts'
import { type MakeSource, Member, type MemberOptions } from './member.ts'

const sessionMs = 4_000

/** Settings under which what takes minutes in production takes seconds. */
const quick: Readonly<Record<string, string>> = {
  'group.consumer.session.timeout.ms': String(sessionMs),
  'group.consumer.heartbeat.interval.ms': '300',
  'log.cleaner.backoff.ms': '200',
  'log.segment.delete.delay.ms': '100',
}

/**
 * What the engine relies on in every source, against a real broker. `driver` is also the name by which the member that is
 * to be frozen makes its source, in a process of its own.
 */
export function sourceContract(driver: 'confluent' | 'platformatic', make: MakeSource): void {
  let cluster: Services
  let bootstrap: readonly string[] = []
  let admin: Admin
  let publisher: KafkaPublisher
  let groups = 0
  const members: Member[] = []

  before(async () => {
    cluster = await startServices({
      dir: mkdtempSync(join(tmpdir(), 'contract-')),
      brokers: 1,
      kafka: true,
      postgres: false,
      redis: false,
      kafkaSettings: quick,
    })
    bootstrap = cluster.kafkaAddress.split(',')
    admin = new Admin({ clientId: 'contract', bootstrapBrokers: [...bootstrap] })
    publisher = new KafkaPublisher({ bootstrap, clientId: 'contract', clock: systemClock, log: silentLog })
  })

  after(async () => {
    await Promise.all(members.map((member) => member.stop()))
    await publisher.stop()
    await admin.close()
    await cluster.wipe()
  })

  const topic = (partitions: number, config: Readonly<Record<string, string>> = {}) =>
    freshTopic({ partitions, config, kafka: cluster.kafkaAddress, name: 'contract' })

  const join2 = async (options: Partial<MemberOptions> & { readonly topics: readonly string[] }): Promise<Member> => {
    groups += 1
    const member = await Member.create(make, { bootstrap, group: `contract-${driver}-${groups}`, ...options })
    members.push(member)
    await member.start()
    return member
  }

  /** A started member that owns all of `partitions` of its first topic. */
  const owner = async (
    partitions: number,
    options: Partial<MemberOptions> & { readonly topics: readonly string[] },
  ): Promise<Member> => {
    const member = await join2(options)
    await eventually(() => member.assignedNow.size === partitions, { what: 'all partitions are assigned' })
    return member
  }

  const send = async (messages: readonly OutgoingMessage[]): Promise<void> => {
    const deliveries = await publisher.send(messages)
    assert.ok(deliveries.every(({ kind }) => kind === 'delivered'))
  }

  const fill = (name: string, partition: number, from: number, count: number, bytes = 1): Promise<void> =>
    send(
      Array.from({ length: count }, (_, i) => ({
        topic: name,
        partition,
        key: null,
        value: Buffer.from(String(from + i).padStart(bytes, '0')),
        headers: [],
      })),
    )

  const transaction = async (
    producer: Producer,
    name: string,
    values: readonly string[],
    end: 'commit' | 'abort',
    chunk = values.length,
  ): Promise<void> => {
    const running = await producer.beginTransaction()
    for (let i = 0; i < values.length; i += chunk) {
      await running.send({
        messages: values.slice(i, i + chunk).map((value) => ({ topic: name, partition: 0, value: Buffer.from(value) })),
      })
    }
    await (end === 'commit' ? running.commit() : running.abort())
  }

  const transactional = () =>
    new Producer({
      clientId: 'contract',
      bootstrapBrokers: [...bootstrap],
      idempotent: true,
      transactionalId: `contract-${driver}-${Math.trunc(performance.now())}`,
    })

  const numbers = (from: number, count: number) => Array.from({ length: count }, (_, i) => String(from + i))

  test('delivers nothing of a partition before it was sought, then all of it in order', async () => {
    const name = await topic(2)
    await fill(name, 0, 0, 500)
    await fill(name, 1, 0, 500)
    const member = await owner(2, { topics: [name] })
    const token = member.seek({ topic: name, partition: 1 }, 100)
    await eventually(() => member.recordsOf(1).length === 400)
    assert.is(member.of(0).length, 0)
    assert.equal(member.valuesOf(1, token), numbers(100, 400))
    const batches = member.of(1)
    for (const batch of batches) {
      const last = batch.records.at(-1)
      if (last) assert.ok(batch.position > last.offset)
    }
    assert.is(member.position(1), 500)
    assert.is(batches.at(-1)?.end, 500)
  })

  test('reads small logs to their ends, though one poll of a busy thread brings records and ends at once', async () => {
    const name = await topic(12)
    const partitions = Array.from({ length: 12 }, (_, i) => i)
    for (const partition of partitions) await fill(name, partition, 0, 1 + partition)
    const member = await owner(12, { topics: [name] })
    for (let round = 0; round < 5; round++) {
      const tokens = partitions.map((partition) => member.seek({ topic: name, partition }, 0))
      for (let turns = 0; turns < 5; turns++) await nextTurn()
      blockThread(700)
      await eventually(() =>
        partitions.every((partition) => member.of(partition, tokens[partition]).at(-1)?.position === 1 + partition),
      )
      for (const partition of partitions) {
        assert.equal(member.valuesOf(partition, tokens[partition]), numbers(0, 1 + partition))
      }
    }
  })

  test('hands over keys, values, headers and timestamps byte for byte', async () => {
    const name = await topic(1)
    const key = Buffer.from([0, 255, 128])
    await send([
      {
        topic: name,
        partition: 0,
        key,
        value: Buffer.from('v'),
        headers: [
          ['h', Buffer.from([1, 2])],
          ['h', 'again'],
          ['empty', ''],
        ],
        timestamp: 1_700_000_000_123,
      },
      { topic: name, partition: 0, key: null, value: null, headers: [], timestamp: 1_700_000_000_999 },
      { topic: name, partition: 0, key: Buffer.alloc(0), value: Buffer.alloc(0), headers: [], timestamp: 0 },
    ])
    const member = await owner(1, { topics: [name], from: 0 })
    await eventually(() => member.count() === 3)
    const [first, second, third] = member.recordsOf(0)
    assert.equal(first?.key, key)
    assert.equal(String(first?.value), 'v')
    assert.equal(first?.headers, [
      [Buffer.from('h'), Buffer.from([1, 2])],
      [Buffer.from('h'), Buffer.from('again')],
      [Buffer.from('empty'), Buffer.alloc(0)],
    ])
    assert.is(first?.timestamp, 1_700_000_000_123)
    assert.is(second?.key, null)
    assert.is(second?.value, null)
    assert.equal(third?.key, Buffer.alloc(0))
    assert.equal(third?.value, Buffer.alloc(0))
    assert.is(third?.timestamp, 0)
  })

  for (const codec of ['gzip', 'snappy', 'lz4', 'zstd'] as const) {
    test(`reads what was compressed with ${codec}`, async () => {
      const name = await topic(1)
      const compressing = new KafkaPublisher({
        bootstrap,
        clientId: 'contract',
        clock: systemClock,
        log: silentLog,
        compression: codec,
      })
      const messages = numbers(0, 1_000).map((value) => ({
        topic: name,
        partition: 0,
        key: Buffer.from(`key-${value}`),
        value: Buffer.from(value.padStart(200, 'x')),
        headers: [],
      }))
      const deliveries = await compressing.send(messages)
      await compressing.stop()
      assert.ok(deliveries.every(({ kind }) => kind === 'delivered'))
      const member = await owner(1, { topics: [name], from: 0 })
      await eventually(() => member.count() === 1_000)
      assert.equal(
        member.valuesOf(0),
        messages.map(({ value }) => String(value)),
      )
    })
  }

  test('after a seek only what is from there on arrives under its token', async () => {
    const name = await topic(1)
    await fill(name, 0, 0, 20_000, 100)
    const member = await owner(1, { topics: [name], from: 0 })
    await eventually(() => member.count() > 0)
    for (const position of [15_000, 3, 19_000]) {
      const token = member.seek({ topic: name, partition: 0 }, position)
      await eventually(() => member.recordsOf(0, token).length >= Math.min(2_000, 20_000 - position))
      const offsets = member.recordsOf(0, token).map(({ offset }) => offset)
      assert.is(offsets[0], position)
      assert.ok(offsets.every((offset, i) => offset === position + i))
    }
    const newest = member.seek({ topic: name, partition: 0 }, 19_990)
    await eventually(() => member.recordsOf(0, newest).length === 10)
    const tokens = member.batches.map(({ batch }) => batch.token)
    assert.equal(
      tokens,
      [...tokens].sort((a, b) => a - b),
    )
  })

  test('a paused partition is silent while another goes on, and resumes where it stopped', async () => {
    const name = await topic(2)
    const member = await owner(2, { topics: [name], from: 0 })
    await fill(name, 0, 0, 10)
    await eventually(() => member.recordsOf(0).length === 10)
    member.source.pause([{ topic: name, partition: 0 }])
    await fill(name, 1, 0, 10)
    await eventually(() => member.recordsOf(1).length === 10)
    await fill(name, 0, 10, 5_000, 100)
    await fill(name, 1, 10, 10)
    await eventually(() => member.recordsOf(1).length === 20)
    assert.is(member.recordsOf(0).length, 10)
    member.source.resume([{ topic: name, partition: 0 }])
    await eventually(() => member.recordsOf(0).length === 5_010)
    assert.ok(member.recordsOf(0).every(({ offset }, i) => offset === i))
  })

  test('many short pauses neither lose nor repeat a record', async () => {
    const name = await topic(1)
    await fill(name, 0, 0, 30_000, 100)
    const member = await owner(1, { topics: [name], from: 0 })
    const partition = { topic: name, partition: 0 }
    let pauses = 0
    await eventually(
      () => {
        if (pauses++ % 2 === 0) member.source.pause([partition])
        else member.source.resume([partition])
        return pauses > 40 && pauses % 2 === 0
      },
      { every: 15 },
    )
    member.source.resume([partition])
    await eventually(() => member.recordsOf(0).length >= 30_000)
    assert.ok(member.recordsOf(0).every(({ offset }, i) => offset === i))
    assert.is(member.recordsOf(0).length, 30_000)
  })

  test('a long pause outlives what was fetched ahead', async () => {
    const name = await topic(1)
    await fill(name, 0, 0, 20_000, 500)
    const member = await owner(1, { topics: [name], from: 0 })
    await eventually(() => member.count() > 0)
    member.source.pause([{ topic: name, partition: 0 }])
    await fill(name, 0, 20_000, 10)
    await eventually(() => performance.now() - (member.batches.at(-1)?.at ?? 0) > 800)
    const before2 = member.count()
    assert.ok(before2 < 20_010)
    member.source.resume([{ topic: name, partition: 0 }])
    await eventually(() => member.count() >= 20_010)
    assert.ok(member.recordsOf(0).every(({ offset }, i) => offset === i))
  })

  test('a commit is what the coordinator then has, and it stays in its group', async () => {
    const name = await topic(3)
    await fill(name, 1, 0, 10)
    const member = await owner(3, { topics: [name], from: 0 })
    assert.equal(await member.source.committed([{ topic: name, partition: 1 }]), [])
    assert.is(await member.source.commit([{ topic: name, partition: 1, offset: 7 }]), 'committed')
    assert.equal(await member.source.committed([0, 1, 2].map((partition) => ({ topic: name, partition }))), [
      { topic: name, partition: 1, offset: 7 },
    ])
    const other = await owner(3, { topics: [name] })
    assert.equal(await other.source.committed([{ topic: name, partition: 1 }]), [])
    assert.is(await member.source.commit([]), 'committed')
    const many = await Promise.all(
      [8, 9, 10].map((offset) => member.source.commit([{ topic: name, partition: 1, offset }])),
    )
    assert.equal(many, ['committed', 'committed', 'committed'])
  })

  test('tells the bounds of a log, where a time is in it, and which cluster it is', async () => {
    const name = await topic(2)
    await send(
      [1_000, 2_000, 3_000].map((timestamp) => ({
        topic: name,
        partition: 0,
        key: null,
        value: Buffer.from('v'),
        headers: [],
        timestamp: 1_700_000_000_000 + timestamp,
      })),
    )
    const member = await join2({ topics: [name] })
    const partitions = [0, 1].map((partition) => ({ topic: name, partition }))
    assert.equal(await member.source.range(partitions), [
      { topic: name, partition: 0, start: 0, end: 3 },
      { topic: name, partition: 1, start: 0, end: 0 },
    ])
    assert.equal(await member.source.offsetsAt(partitions, 1_700_000_001_500), [
      { topic: name, partition: 0, offset: 1 },
      { topic: name, partition: 1, offset: 0 },
    ])
    assert.equal(await member.source.offsetsAt([{ topic: name, partition: 0 }], 1_700_000_009_000), [
      { topic: name, partition: 0, offset: 3 },
    ])
    assert.match(await member.source.clusterId(), /^[\w-]{22}$/)
  })

  test('describes a topic, and one that does not exist as undefined', async () => {
    const name = await topic(5)
    const member = await join2({ topics: [name] })
    const described = await member.source.describe(name)
    assert.is(described?.partitions, 5)
    assert.match(described?.id ?? '', /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
    assert.is(await member.source.describe('contract.nothing-here'), undefined)
  })

  test('tells of new partitions and is assigned them', async () => {
    const name = await topic(1)
    const member = await owner(1, { topics: [name], from: 0 })
    await admin.createPartitions({ topics: [{ name, count: 3, assignments: null }] })
    await eventually(() => member.changes.some(({ partitions }) => partitions === 3), {
      deadlineMs: 20_000,
      what: 'topicChanged',
    })
    await eventually(() => member.assignedNow.size === 3, {
      deadlineMs: 30_000,
      what: 'the new partitions are assigned',
    })
    await fill(name, 2, 0, 5)
    await eventually(() => member.recordsOf(2).length === 5)
  })

  test('tells of a topic that was deleted and made anew, by its id', async () => {
    const name = await topic(1)
    const member = await owner(1, { topics: [name], from: 0 })
    const before2 = await member.source.describe(name)
    await admin.deleteTopics({ topics: [name] })
    await eventually(async () => {
      await admin.createTopics({ topics: [name], partitions: 1, replicas: 1 })
      return true
    })
    await eventually(() => member.changes.some(({ id }) => id !== before2?.id), {
      deadlineMs: 20_000,
      what: 'topicChanged',
    })
  })

  test('position passes the control record at the end of the log', async () => {
    const name = await topic(1)
    const producer = transactional()
    await transaction(producer, name, ['a', 'b'], 'commit')
    await producer.close()
    const member = await owner(1, { topics: [name], from: 0 })
    await eventually(() => member.position(0) === 3, { what: 'the position is past the marker' })
    assert.equal(member.valuesOf(0), ['a', 'b'])
    const [range] = await member.source.range([{ topic: name, partition: 0 }])
    assert.is(range?.end, 3)
    assert.is(member.of(0).at(-1)?.end, 3)
  })

  test('two aborted transactions of one producer in one fetch are left out, and all others kept', async () => {
    const name = await topic(1)
    const producer = transactional()
    await transaction(producer, name, ['a1', 'a2'], 'abort')
    await transaction(producer, name, ['kept'], 'commit')
    await transaction(producer, name, ['b1'], 'abort')
    await transaction(producer, name, ['last'], 'commit')
    await producer.close()
    const member = await owner(1, { topics: [name], from: 0 })
    await eventually(() => member.position(0) === 9, { what: 'the position is at the end' })
    assert.equal(member.valuesOf(0), ['kept', 'last'])
  })

  test('an aborted transaction longer than a fetch is left out whole', async () => {
    const name = await topic(1)
    const producer = transactional()
    await fill(name, 0, 0, 3)
    await transaction(
      producer,
      name,
      numbers(0, 400).map((value) => value.padStart(2_000, 'a')),
      'abort',
      10,
    )
    await producer.close()
    await fill(name, 0, 3, 3)
    const member = await owner(1, { topics: [name], from: 0, maxFetchBytes: 256 * 1024 })
    await eventually(() => member.position(0) === 407, { what: 'the position is at the end' })
    assert.equal(member.valuesOf(0), ['0', '1', '2', '3', '4', '5'])
    const inside = member.seek({ topic: name, partition: 0 }, 200)
    await eventually(() => member.of(0, inside).at(-1)?.position === 407)
    assert.equal(member.valuesOf(0, inside), ['3', '4', '5'])
  })

  test('an open transaction is not read before it ends', async () => {
    const name = await topic(1)
    const producer = transactional()
    const open = await producer.beginTransaction()
    await open.send({ messages: [{ topic: name, partition: 0, value: Buffer.from('open') }] })
    await fill(name, 0, 0, 1)
    const member = await owner(1, { topics: [name], from: 0 })
    const [range] = await member.source.range([{ topic: name, partition: 0 }])
    assert.is(range?.end, 0)
    assert.is(member.count(), 0)
    await open.commit()
    await producer.close()
    await eventually(() => member.position(0) === 3)
    assert.equal(member.valuesOf(0), ['open', '0'])
  })

  test('goes over the gaps that compaction leaves', async () => {
    const name = await topic(1, {
      'cleanup.policy': 'compact',
      'segment.ms': '100',
      'min.cleanable.dirty.ratio': '0.01',
      'min.compaction.lag.ms': '0',
      'delete.retention.ms': '100',
    })
    const keyed = (key: string, value: string) =>
      send([{ topic: name, partition: 0, key: Buffer.from(key), value: Buffer.from(value), headers: [] }])
    const member = await owner(1, { topics: [name] })
    for (let i = 0; i < 20; i++) await keyed(`key-${i % 2}`, String(i))
    let token = 0
    await eventually(
      async () => {
        // Only closed segments are compacted, and a record closes one.
        await keyed('other', 'x')
        token = member.seek({ topic: name, partition: 0 }, 0)
        const [range] = await member.source.range([{ topic: name, partition: 0 }])
        await eventually(() => member.of(0, token).at(-1)?.position === range?.end)
        return member.recordsOf(0, token).length < 10
      },
      { deadlineMs: 40_000, every: 500, what: 'compaction' },
    )
    const read = member.recordsOf(0, token)
    assert.ok(read.every(({ offset }, i) => i === 0 || offset > (read[i - 1]?.offset ?? -1)))
    assert.ok(read.some(({ offset, value }) => offset === 19 && String(value) === '19'))
  })

  test('a position outside the log is said to be, and never becomes another one', async () => {
    const name = await topic(2)
    await fill(name, 0, 0, 100)
    await fill(name, 1, 0, 100)
    await admin.deleteRecords({ topics: [{ name, partitions: [{ partition: 0, offset: 50n }] }] })
    const member = await owner(2, { topics: [name] })
    member.seek({ topic: name, partition: 0 }, 10)
    member.seek({ topic: name, partition: 1 }, 500)
    await eventually(() => member.outside.length === 2, { deadlineMs: 20_000 })
    const below = member.outside.find(({ partition }) => partition.partition === 0)
    const beyond = member.outside.find(({ partition }) => partition.partition === 1)
    assert.equal(below, {
      partition: { topic: name, partition: 0 },
      position: 10,
      range: { topic: name, partition: 0, start: 50, end: 100 },
    })
    assert.equal(beyond, {
      partition: { topic: name, partition: 1 },
      position: 500,
      range: { topic: name, partition: 1, start: 0, end: 100 },
    })
    assert.is(member.batches.length, 0)
    member.seek({ topic: name, partition: 0 }, 50)
    member.seek({ topic: name, partition: 1 }, 100)
    await eventually(() => member.recordsOf(0).length === 50)
    await fill(name, 1, 100, 1)
    await eventually(() => member.recordsOf(1).length === 1)
  })

  for (const protocol of ['consumer', 'classic'] as const) {
    test(`members of a ${protocol} group share partitions, give them up when asked, and get them back`, async () => {
      const name = await topic(6)
      const first = await owner(6, { topics: [name], from: 0, protocol })
      const group = `contract-${driver}-${groups}`
      const second = await join2({ topics: [name], from: 0, protocol, group })
      await eventually(() => first.assignedNow.size === 3 && second.assignedNow.size === 3, {
        deadlineMs: 30_000,
        what: 'three partitions each',
      })
      assert.ok(first.events.some((event) => event.startsWith('revoked')))
      assert.equal(
        [...first.assignedNow].filter((partition) => second.assignedNow.has(partition)),
        [],
      )
      for (let partition = 0; partition < 6; partition++) await fill(name, partition, 0, 4)
      await eventually(() => first.count() + second.count() === 24)
      const [mine] = first.assignedNow
      const [theirs] = second.assignedNow
      const numberOf = (partition: string | undefined) => Number(partition?.split(' ')[1])
      assert.is(await first.source.commit([{ topic: name, partition: numberOf(mine), offset: 4 }]), 'committed')
      assert.is(await first.source.commit([{ topic: name, partition: numberOf(theirs), offset: 4 }]), 'not-member')
      await second.stop()
      await eventually(() => first.assignedNow.size === 6, { deadlineMs: 30_000, what: 'all partitions are back' })
      await fill(name, numberOf(theirs), 4, 1)
      await eventually(() => first.valuesOf(numberOf(theirs)).includes('4'))
    })

    test(`in a ${protocol} group a revoked partition is silent, and nobody's until it is released`, async () => {
      const name = await topic(2)
      const first = await owner(2, { topics: [name], from: 0, protocol, yielding: false })
      const group = `contract-${driver}-${groups}`
      const second = await join2({ topics: [name], from: 0, protocol, group })
      await eventually(() => first.events.some((event) => event.startsWith('revoked')), {
        deadlineMs: 20_000,
        what: 'revoked',
      })
      const revoked = Number(first.events.find((event) => event.startsWith('revoked'))?.split(' ')[2])
      await fill(name, revoked, 0, 5)
      assert.is(await first.source.commit([{ topic: name, partition: revoked, offset: 0 }]), 'committed')
      assert.is(second.assignedNow.size, 0)
      assert.is(first.recordsOf(revoked).length, 0)
      first.release([{ topic: name, partition: revoked }])
      await eventually(() => second.recordsOf(revoked).length === 5, { deadlineMs: 20_000, what: 'the other has it' })
      assert.is(first.recordsOf(revoked).length, 0)
    })

    test(`in a ${protocol} group a partition that is not released in time goes anyway`, async () => {
      const name = await topic(2)
      const first = await owner(2, { topics: [name], protocol, yielding: false, releaseTimeoutMs: 1_000 })
      const second = await join2({ topics: [name], protocol, group: `contract-${driver}-${groups}` })
      await eventually(() => second.assignedNow.size === 1, { deadlineMs: 20_000 })
      assert.ok(first.events.some((event) => event.startsWith('revoked')))
    })

    test(`a member of a ${protocol} group without a partition has joined, too`, async () => {
      const name = await topic(1)
      await owner(1, { topics: [name], protocol })
      const second = await join2({ topics: [name], protocol, group: `contract-${driver}-${groups}` })
      assert.is(second.assignedNow.size, 0)
    })

    test(`a member of a ${protocol} group that was frozen past its session is not a member, and loses what it had`, async () => {
      const name = await topic(1)
      const group = `contract-${driver}-frozen-${protocol}`
      const frozen = await Frozen.start({
        driver,
        bootstrap,
        group,
        topic: name,
        protocol,
        sessionTimeoutMs: sessionMs,
      })
      try {
        await eventually(() => frozen.events.includes('assigned'), {
          deadlineMs: 20_000,
          what: 'the other process has the partition',
        })
        assert.is(await frozen.commit(), 'committed')
        frozen.freeze()
        const successor = await join2({ topics: [name], protocol, group, sessionTimeoutMs: sessionMs })
        await eventually(() => successor.assignedNow.size === 1, {
          deadlineMs: 30_000,
          what: 'the successor has the partition',
        })
        frozen.thaw()
        assert.is.not(await frozen.commit(), 'committed')
        await eventually(() => frozen.events.includes('lost'), { deadlineMs: 20_000, what: 'lost' })
      } finally {
        await frozen.kill()
      }
    })

    test(`a static member of a ${protocol} group keeps its partitions over a restart`, async () => {
      const name = await topic(4)
      const first = await owner(4, { topics: [name], protocol, groupInstanceId: 'one' })
      const group = `contract-${driver}-${groups}`
      const second = await join2({ topics: [name], protocol, group, groupInstanceId: 'two' })
      await eventually(() => first.assignedNow.size === 2 && second.assignedNow.size === 2, { deadlineMs: 30_000 })
      const had = [...second.assignedNow].sort()
      const events = first.events.length
      await second.stop()
      const again = await join2({ topics: [name], protocol, group, groupInstanceId: 'two' })
      await eventually(() => again.assignedNow.size === 2, { deadlineMs: 30_000 })
      assert.equal([...again.assignedNow].sort(), had)
      assert.equal(first.events.slice(events), [])
      const [partition] = had
      assert.is(
        await again.source.commit([{ topic: name, partition: Number(partition?.split(' ')[1]), offset: 0 }]),
        'committed',
      )
    })
  }

  test('of two members with one instance id the older is fenced, says so, and does not fight back', async () => {
    const name = await topic(1)
    const first = await owner(1, { topics: [name], protocol: 'classic', groupInstanceId: 'same' })
    const second = await owner(1, {
      topics: [name],
      protocol: 'classic',
      groupInstanceId: 'same',
      group: `contract-${driver}-${groups}`,
    })
    await eventually(() => first.events.includes(`lost ${name} 0`), { deadlineMs: 20_000, what: 'lost' })
    await eventually(
      () => first.troubles.some((trouble) => 'code' in trouble && trouble.code === 'TENANTRY_INSTANCE_FENCED'),
      { what: 'troubled by the fence' },
    )
    assert.is(await first.source.commit([{ topic: name, partition: 0, offset: 0 }]), 'not-member')
    assert.is(await second.source.commit([{ topic: name, partition: 0, offset: 0 }]), 'committed')
    assert.equal(second.events, [`assigned ${name} 0`])
  })

  test(
    'goes on after the broker was restarted, with nothing lost or repeated',
    async () => {
      const name = await topic(3)
      const member = await owner(3, { topics: [name], from: 0 })
      for (let partition = 0; partition < 3; partition++) await fill(name, partition, 0, 1_000)
      await eventually(() => member.count() === 3_000)
      await cluster.kafka(1).stop()
      await eventually(() => member.troubles.length > 0, { deadlineMs: 30_000, what: 'troubled' })
      await cluster.kafka(1).start()
      for (let partition = 0; partition < 3; partition++) await fill(name, partition, 1_000, 1_000)
      await eventually(() => member.count() >= 6_000, { deadlineMs: 60_000 })
      await eventually(() => member.recoveries > 0, { deadlineMs: 20_000, what: 'recovered' })
      for (let partition = 0; partition < 3; partition++) assert.equal(member.valuesOf(partition), numbers(0, 2_000))
    },
    { timeoutMs: 180_000 },
  )

  test('waits, and says so, while there is no Kafka at all, and stops when told to', async () => {
    const member = await Member.create(make, { bootstrap: ['127.0.0.1:1'], group: 'nobody', topics: ['nothing'] })
    const started = member.start()
    await eventually(() => member.troubles.length > 0, { deadlineMs: 30_000 })
    await Promise.all([member.stop(), member.stop()])
    await started
  })
}

/** Holds up everything in this thread, as a long handler would. */
function blockThread(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

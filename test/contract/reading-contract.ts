import { setImmediate as nextTurn } from 'node:timers/promises'
import * as assert from 'uvu/assert'
import { systemClock } from '../../core/clock.ts'
import { KafkaPublisher } from '../../core/kafka/producer.ts'
import { silentLog } from '../../core/log.ts'
import { test } from '../harness.ts'
import { eventually } from '../services.ts'
import { numbers, type Stage } from './stage.ts'

/** What a source delivers, from where, and what it knows of logs and topics. */
export function readingContract(stage: Stage): void {
  test('delivers nothing of a partition before it was sought, then all of it in order', async () => {
    const name = await stage.topic(2)
    await stage.fill(name, 0, 0, 500)
    await stage.fill(name, 1, 0, 500)
    const member = await stage.owner(2, { topics: [name] })
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
    const name = await stage.topic(12)
    const partitions = Array.from({ length: 12 }, (_, i) => i)
    for (const partition of partitions) await stage.fill(name, partition, 0, 1 + partition)
    const member = await stage.owner(12, { topics: [name] })
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
    const name = await stage.topic(1)
    const key = Buffer.from([0, 255, 128])
    await stage.send([
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
    const member = await stage.owner(1, { topics: [name], from: 0 })
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
      const name = await stage.topic(1)
      const compressing = new KafkaPublisher({
        bootstrap: stage.bootstrap,
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
      const member = await stage.owner(1, { topics: [name], from: 0 })
      await eventually(() => member.count() === 1_000)
      assert.equal(
        member.valuesOf(0),
        messages.map(({ value }) => String(value)),
      )
    })
  }

  test('after a seek only what is from there on arrives under its token', async () => {
    const name = await stage.topic(1)
    await stage.fill(name, 0, 0, 20_000, 100)
    const member = await stage.owner(1, { topics: [name], from: 0 })
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
    const name = await stage.topic(2)
    const member = await stage.owner(2, { topics: [name], from: 0 })
    await stage.fill(name, 0, 0, 10)
    await eventually(() => member.recordsOf(0).length === 10)
    member.source.pause([{ topic: name, partition: 0 }])
    await stage.fill(name, 1, 0, 10)
    await eventually(() => member.recordsOf(1).length === 10)
    await stage.fill(name, 0, 10, 5_000, 100)
    await stage.fill(name, 1, 10, 10)
    await eventually(() => member.recordsOf(1).length === 20)
    assert.is(member.recordsOf(0).length, 10)
    member.source.resume([{ topic: name, partition: 0 }])
    await eventually(() => member.recordsOf(0).length === 5_010)
    assert.ok(member.recordsOf(0).every(({ offset }, i) => offset === i))
  })

  test('many short pauses neither lose nor repeat a record', async () => {
    const name = await stage.topic(1)
    await stage.fill(name, 0, 0, 30_000, 100)
    const member = await stage.owner(1, { topics: [name], from: 0 })
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
    const name = await stage.topic(1)
    await stage.fill(name, 0, 0, 20_000, 500)
    const member = await stage.owner(1, { topics: [name], from: 0 })
    await eventually(() => member.count() > 0)
    member.source.pause([{ topic: name, partition: 0 }])
    await stage.fill(name, 0, 20_000, 10)
    await eventually(() => performance.now() - (member.batches.at(-1)?.at ?? 0) > 800)
    const before2 = member.count()
    assert.ok(before2 < 20_010)
    member.source.resume([{ topic: name, partition: 0 }])
    await eventually(() => member.count() >= 20_010)
    assert.ok(member.recordsOf(0).every(({ offset }, i) => offset === i))
  })

  test('a commit is what the coordinator then has, and it stays in its group', async () => {
    const name = await stage.topic(3)
    await stage.fill(name, 1, 0, 10)
    const member = await stage.owner(3, { topics: [name], from: 0 })
    assert.equal(await member.source.committed([{ topic: name, partition: 1 }]), [])
    assert.is(await member.source.commit([{ topic: name, partition: 1, offset: 7 }]), 'committed')
    assert.equal(await member.source.committed([0, 1, 2].map((partition) => ({ topic: name, partition }))), [
      { topic: name, partition: 1, offset: 7 },
    ])
    const other = await stage.owner(3, { topics: [name] })
    assert.equal(await other.source.committed([{ topic: name, partition: 1 }]), [])
    assert.is(await member.source.commit([]), 'committed')
    const many = await Promise.all(
      [8, 9, 10].map((offset) => member.source.commit([{ topic: name, partition: 1, offset }])),
    )
    assert.equal(many, ['committed', 'committed', 'committed'])
  })

  test('tells the bounds of a log, where a time is in it, and which cluster it is', async () => {
    const name = await stage.topic(2)
    await stage.send(
      [1_000, 2_000, 3_000].map((timestamp) => ({
        topic: name,
        partition: 0,
        key: null,
        value: Buffer.from('v'),
        headers: [],
        timestamp: 1_700_000_000_000 + timestamp,
      })),
    )
    const member = await stage.join({ topics: [name] })
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
    const name = await stage.topic(5)
    const member = await stage.join({ topics: [name] })
    const described = await member.source.describe(name)
    assert.is(described?.partitions, 5)
    assert.match(described?.id ?? '', /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
    assert.is(await member.source.describe('contract.nothing-here'), undefined)
  })

  test('tells of new partitions and is assigned them', async () => {
    const name = await stage.topic(1)
    const member = await stage.owner(1, { topics: [name], from: 0 })
    await stage.admin.createPartitions({ topics: [{ name, count: 3, assignments: null }] })
    await eventually(() => member.changes.some(({ partitions }) => partitions === 3), {
      deadlineMs: 20_000,
      what: 'topicChanged',
    })
    await eventually(() => member.assignedNow.size === 3, {
      deadlineMs: 30_000,
      what: 'the new partitions are assigned',
    })
    await stage.fill(name, 2, 0, 5)
    await eventually(() => member.recordsOf(2).length === 5)
  })

  test('tells of a topic that was deleted and made anew, by its id', async () => {
    const name = await stage.topic(1)
    const member = await stage.owner(1, { topics: [name], from: 0 })
    const before2 = await member.source.describe(name)
    await stage.admin.deleteTopics({ topics: [name] })
    await eventually(async () => {
      await stage.admin.createTopics({ topics: [name], partitions: 1, replicas: 1 })
      return true
    })
    await eventually(() => member.changes.some(({ id }) => id !== before2?.id), {
      deadlineMs: 20_000,
      what: 'topicChanged',
    })
  })

  for (const protocol of ['consumer', 'classic'] as const) {
    test(`with the ${protocol} protocol delivers nothing of a topic that was made anew, where another one of its name was sought`, async () => {
      const name = await stage.topic(1)
      const member = await stage.owner(1, { topics: [name], protocol })
      const partition = { topic: name, partition: 0 }
      const before2 = await member.source.describe(name)
      const token = member.seek({ ...partition, ...(before2 && { topicId: before2.id }) }, 0)
      await stage.fill(name, 0, 0, 100)
      await eventually(() => member.recordsOf(0, token).length === 100)
      await stage.admin.deleteTopics({ topics: [name] })
      await eventually(async () => {
        await stage.admin.createTopics({ topics: [name], partitions: 1, replicas: 1 })
        return true
      })
      await eventually(
        async () => {
          await stage.fill(name, 0, 1_000, 1_000)
          const now = await member.source.describe(name)
          return now !== undefined && now.id !== before2?.id && member.changes.some(({ id }) => id === now.id)
        },
        { deadlineMs: 20_000, what: 'topicChanged' },
      )
      const now = await member.source.describe(name)
      let anew = 0
      const seek = () => {
        if (member.assignedNow.size === 1 && anew === 0)
          anew = member.seek({ ...partition, ...(now && { topicId: now.id }) }, 0)
        if (member.assignedNow.size === 0) anew = 0
        return anew > 0 && member.recordsOf(0, anew).length >= 1_000
      }
      await eventually(seek, { deadlineMs: 30_000, what: 'the new topic from its beginning' })
      assert.is(member.recordsOf(0, token).length, 100)
      assert.equal(member.valuesOf(0, anew).slice(0, 1_000), numbers(1_000, 1_000))
    })
  }

  test('position passes the control record at the end of the log', async () => {
    const name = await stage.topic(1)
    const producer = stage.transactional()
    await stage.transaction(producer, name, ['a', 'b'], 'commit')
    await producer.close()
    const member = await stage.owner(1, { topics: [name], from: 0 })
    await eventually(() => member.position(0) === 3, { what: 'the position is past the marker' })
    assert.equal(member.valuesOf(0), ['a', 'b'])
    const [range] = await member.source.range([{ topic: name, partition: 0 }])
    assert.is(range?.end, 3)
    assert.is(member.of(0).at(-1)?.end, 3)
  })

  test('two aborted transactions of one producer in one fetch are left out, and all others kept', async () => {
    const name = await stage.topic(1)
    const producer = stage.transactional()
    await stage.transaction(producer, name, ['a1', 'a2'], 'abort')
    await stage.transaction(producer, name, ['kept'], 'commit')
    await stage.transaction(producer, name, ['b1'], 'abort')
    await stage.transaction(producer, name, ['last'], 'commit')
    await producer.close()
    const member = await stage.owner(1, { topics: [name], from: 0 })
    await eventually(() => member.position(0) === 9, { what: 'the position is at the end' })
    assert.equal(member.valuesOf(0), ['kept', 'last'])
  })

  test('an aborted transaction longer than a fetch is left out whole', async () => {
    const name = await stage.topic(1)
    const producer = stage.transactional()
    await stage.fill(name, 0, 0, 3)
    await stage.transaction(
      producer,
      name,
      numbers(0, 400).map((value) => value.padStart(2_000, 'a')),
      'abort',
      10,
    )
    await producer.close()
    await stage.fill(name, 0, 3, 3)
    const member = await stage.owner(1, { topics: [name], from: 0, maxFetchBytes: 256 * 1024 })
    await eventually(() => member.position(0) === 407, { what: 'the position is at the end' })
    assert.equal(member.valuesOf(0), ['0', '1', '2', '3', '4', '5'])
    const inside = member.seek({ topic: name, partition: 0 }, 200)
    await eventually(() => member.of(0, inside).at(-1)?.position === 407)
    assert.equal(member.valuesOf(0, inside), ['3', '4', '5'])
  })

  test('an open transaction is not read before it ends', async () => {
    const name = await stage.topic(1)
    const producer = stage.transactional()
    const open = await producer.beginTransaction()
    await open.send({ messages: [{ topic: name, partition: 0, value: Buffer.from('open') }] })
    await stage.fill(name, 0, 0, 1)
    const member = await stage.owner(1, { topics: [name], from: 0 })
    const [range] = await member.source.range([{ topic: name, partition: 0 }])
    assert.is(range?.end, 0)
    assert.is(member.count(), 0)
    await open.commit()
    await producer.close()
    await eventually(() => member.position(0) === 3)
    assert.equal(member.valuesOf(0), ['open', '0'])
  })

  test('goes over the gaps that compaction leaves', async () => {
    const name = await stage.topic(1, {
      'cleanup.policy': 'compact',
      'segment.ms': '100',
      'min.cleanable.dirty.ratio': '0.01',
      'min.compaction.lag.ms': '0',
      'delete.retention.ms': '100',
    })
    const keyed = (key: string, value: string) =>
      stage.send([{ topic: name, partition: 0, key: Buffer.from(key), value: Buffer.from(value), headers: [] }])
    const member = await stage.owner(1, { topics: [name] })
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
    const name = await stage.topic(2)
    await stage.fill(name, 0, 0, 100)
    await stage.fill(name, 1, 0, 100)
    await stage.admin.deleteRecords({ topics: [{ name, partitions: [{ partition: 0, offset: 50n }] }] })
    const member = await stage.owner(2, { topics: [name] })
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
    await stage.fill(name, 1, 100, 1)
    await eventually(() => member.recordsOf(1).length === 1)
  })
}

/** Holds up everything in this thread, as a long handler would. */
function blockThread(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

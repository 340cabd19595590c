import * as assert from 'uvu/assert'
import { test } from '../harness.ts'
import { eventually } from '../services.ts'
import { Frozen, type FrozenOptions } from './frozen.ts'
import { type MakeSource, Member } from './member.ts'
import { numbers, sessionMs, type Stage } from './stage.ts'

/** How a source is a member of its group, by both protocols, and how it takes a broker that goes away. */
export function groupContract(driver: 'confluent' | 'platformatic', make: MakeSource, stage: Stage): void {
  const elsewhere = (of: Pick<FrozenOptions, 'group' | 'topic' | 'protocol'>) =>
    Frozen.start({ ...of, driver, bootstrap: [...stage.bootstrap], sessionTimeoutMs: sessionMs })

  for (const protocol of ['consumer', 'classic'] as const) {
    test(`members of a ${protocol} group share partitions, give them up when asked, and get them back`, async () => {
      const name = await stage.topic(6)
      const first = await stage.owner(6, { topics: [name], from: 0, protocol })
      const group = stage.group
      const second = await stage.join({ topics: [name], from: 0, protocol, group })
      await eventually(() => first.assignedNow.size === 3 && second.assignedNow.size === 3, {
        deadlineMs: 30_000,
        what: 'three partitions each',
      })
      assert.ok(first.events.some((event) => event.startsWith('revoked')))
      assert.equal(
        [...first.assignedNow].filter((partition) => second.assignedNow.has(partition)),
        [],
      )
      for (let partition = 0; partition < 6; partition++) await stage.fill(name, partition, 0, 4)
      await eventually(() => first.count() + second.count() === 24)
      const [mine] = first.assignedNow
      const [theirs] = second.assignedNow
      const numberOf = (partition: string | undefined) => Number(partition?.split(' ')[1])
      assert.is(await first.source.commit([{ topic: name, partition: numberOf(mine), offset: 4 }]), 'committed')
      assert.is(await first.source.commit([{ topic: name, partition: numberOf(theirs), offset: 4 }]), 'not-member')
      await second.stop()
      await eventually(() => first.assignedNow.size === 6, { deadlineMs: 30_000, what: 'all partitions are back' })
      await stage.fill(name, numberOf(theirs), 4, 1)
      await eventually(() => first.valuesOf(numberOf(theirs)).includes('4'))
    })

    test(`in a ${protocol} group a revoked partition is silent, and nobody's until it is released`, async () => {
      const name = await stage.topic(2)
      const first = await stage.owner(2, { topics: [name], from: 0, protocol, yielding: false })
      const group = stage.group
      const second = await stage.join({ topics: [name], from: 0, protocol, group })
      await eventually(() => first.events.some((event) => event.startsWith('revoked')), {
        deadlineMs: 20_000,
        what: 'revoked',
      })
      const revoked = Number(first.events.find((event) => event.startsWith('revoked'))?.split(' ')[2])
      await stage.fill(name, revoked, 0, 5)
      assert.is(await first.source.commit([{ topic: name, partition: revoked, offset: 0 }]), 'committed')
      assert.is(second.assignedNow.size, 0)
      assert.is(first.recordsOf(revoked).length, 0)
      first.release([{ topic: name, partition: revoked }])
      await eventually(() => second.recordsOf(revoked).length === 5, { deadlineMs: 20_000, what: 'the other has it' })
      assert.is(first.recordsOf(revoked).length, 0)
    })

    test(`in a ${protocol} group a partition that is not released in time goes anyway`, async () => {
      const name = await stage.topic(2)
      const first = await stage.owner(2, { topics: [name], protocol, yielding: false, releaseTimeoutMs: 1_000 })
      const second = await stage.join({ topics: [name], protocol, group: stage.group })
      await eventually(() => second.assignedNow.size === 1, { deadlineMs: 20_000 })
      assert.ok(first.events.some((event) => event.startsWith('revoked')))
    })

    test(`a member of a ${protocol} group without a partition has joined, too`, async () => {
      const name = await stage.topic(1)
      await stage.owner(1, { topics: [name], protocol })
      const second = await stage.join({ topics: [name], protocol, group: stage.group })
      assert.is(second.assignedNow.size, 0)
    })

    test(`a member of a ${protocol} group that was frozen past its session is not a member, and loses what it had`, async () => {
      const name = await stage.topic(1)
      const group = `contract-${driver}-frozen-${protocol}`
      const frozen = await elsewhere({ group, topic: name, protocol })
      try {
        await eventually(() => frozen.events.includes('assigned'), {
          deadlineMs: 20_000,
          what: 'the other process has the partition',
        })
        assert.is(await frozen.commit(), 'committed')
        frozen.freeze()
        const successor = await stage.join({ topics: [name], protocol, group, sessionTimeoutMs: sessionMs })
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

    test(`a member of a ${protocol} group that is forgotten while it is frozen joins it anew`, async () => {
      const name = await stage.topic(1)
      const group = `contract-${driver}-forgotten-${protocol}`
      const frozen = await elsewhere({ group, topic: name, protocol })
      try {
        const assigned = () => frozen.events.filter((event) => event === 'assigned').length
        await eventually(() => assigned() === 1, { deadlineMs: 20_000, what: 'the partition is assigned' })
        frozen.freeze()
        const forget = async () => {
          await stage.admin.deleteGroups({ groups: [group] })
          return true
        }
        await eventually(forget, { deadlineMs: 30_000, every: 500, what: 'the group is empty, and deleted' })
        frozen.thaw()
        await eventually(() => assigned() === 2, { deadlineMs: 30_000, what: 'the partition is assigned anew' })
        assert.is(await frozen.commit(), 'committed')
      } finally {
        await frozen.kill()
      }
    })

    // librdkafka joins a classic group only once there is a topic, and as a member that was away it leaves all as it was.
    if (driver === 'platformatic' || protocol === 'consumer') {
      test(`a topic that is made after its ${protocol} group was joined is assigned`, async () => {
        const name = `${await stage.topic(1)}.later`
        const member = await stage.join({ topics: [name], from: 0, protocol })
        await stage.admin.createTopics({ topics: [name], partitions: 2, replicas: 1 })
        await eventually(() => member.assignedNow.size === 2, {
          deadlineMs: 30_000,
          what: 'its partitions are assigned',
        })
      })

      test(`partitions that are added while the only member of a ${protocol} group, a static one, is away are assigned`, async () => {
        const name = await stage.topic(1)
        const lone = { topics: [name], protocol, groupInstanceId: 'alone', sessionTimeoutMs: 30_000 }
        const first = await stage.owner(1, lone)
        await first.stop()
        await stage.admin.createPartitions({ topics: [{ name, count: 3, assignments: null }] })
        const again = await stage.join({ ...lone, group: stage.group })
        await eventually(() => again.assignedNow.size === 3, {
          deadlineMs: 25_000,
          what: 'all partitions are assigned',
        })
      })
    }

    test(`a static member of a ${protocol} group keeps its partitions over a restart`, async () => {
      const name = await stage.topic(4)
      const first = await stage.owner(4, { topics: [name], protocol, groupInstanceId: 'one' })
      const group = stage.group
      const second = await stage.join({ topics: [name], protocol, group, groupInstanceId: 'two' })
      await eventually(() => first.assignedNow.size === 2 && second.assignedNow.size === 2, { deadlineMs: 30_000 })
      const had = [...second.assignedNow].sort()
      const events = first.events.length
      await second.stop()
      const again = await stage.join({ topics: [name], protocol, group, groupInstanceId: 'two' })
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

  for (const protocol of ['consumer', 'classic'] as const) {
    test(`a member of a ${protocol} group whose topic is deleted leaves, though it has given nothing back`, async () => {
      const name = await stage.topic(2)
      const member = await stage.owner(2, {
        topics: [name],
        from: 0,
        protocol,
        yielding: false,
        releaseTimeoutMs: 60_000,
      })
      await stage.admin.deleteTopics({ topics: [name] })
      const taken = () => member.events.some((event) => /^(revoked|lost)/.test(event))
      // A classic group's leader shares out what there is: platformatic's looks again when the topic is there anew.
      if (driver === 'confluent' || protocol === 'consumer')
        await eventually(taken, { deadlineMs: 30_000, what: 'the partitions are taken' })
      await member.stop()
      assert.is(member.source.lingering, 0)
    })
  }

  test('of two members with one instance id the older is fenced, says so, and does not fight back', async () => {
    const name = await stage.topic(1)
    const first = await stage.owner(1, { topics: [name], protocol: 'classic', groupInstanceId: 'same' })
    const second = await stage.owner(1, {
      topics: [name],
      protocol: 'classic',
      groupInstanceId: 'same',
      group: stage.group,
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
      const name = await stage.topic(3)
      const member = await stage.owner(3, { topics: [name], from: 0 })
      for (let partition = 0; partition < 3; partition++) await stage.fill(name, partition, 0, 1_000)
      await eventually(() => member.count() === 3_000)
      await stage.cluster.kafka(1).stop()
      await eventually(() => member.troubles.length > 0, { deadlineMs: 30_000, what: 'troubled' })
      await stage.cluster.kafka(1).start()
      for (let partition = 0; partition < 3; partition++) await stage.fill(name, partition, 1_000, 1_000)
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

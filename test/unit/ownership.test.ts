import * as assert from 'uvu/assert'
import type { TopicDescription } from '../../core/kafka/source.ts'
import { TenantryError } from '../../core/errors.ts'
import { silentLog } from '../../core/log.ts'
import { noProgressCode, type Ownership as Owned, supersededCode } from '../../core/postgres/ownership.ts'
import { systemRandom } from '../../core/random.ts'
import type { GroupOptions } from '../../supervisors/group.ts'
import { Ownership } from '../../supervisors/ownership.ts'
import { test } from '../harness.ts'
import { ManualClock } from '../manual-clock.ts'
import { partition, settled, stubLedger, stubSource, taken } from './engine-ports.ts'

/** Claims of a partition in a cluster that answers what `describe` says, each time anew. */
function claiming(number: number, describe: (look: number) => TopicDescription) {
  const clock = new ManualClock()
  const done: string[] = []
  let looks = 0
  let asking = () => Promise.resolve()
  let owning = () => {}
  const source = stubSource({
    describe: async () => describe(++looks),
    clusterId: async () => 'cluster',
    committed: async () => [],
    range: async (all) => all.map((at) => ({ ...at, start: 0, end: 0 })),
  })
  const recorded = new Map<string, number>()
  const ledger = stubLedger({
    topicProgress: async (_group, _topic, id) => {
      await asking()
      return { partitions: recorded.get(id) ?? 0, recreated: false, superseded: false, clusterId: 'cluster' }
    },
    begin: async (_group, _topic, id, _cluster, partitions) => {
      recorded.set(id, partitions)
    },
    takeOver: async (ref) => {
      if (ref.partition < (recorded.get(ref.topicId) ?? 0)) return taken
      throw new TenantryError(noProgressCode, 'no row', { partition: ref.partition })
    },
  })
  const ownership = new Ownership(
    ledger,
    clock,
    systemRandom,
    silentLog,
    { promptRaiseMs: 60_000, backoffMinMs: 100, backoffMaxMs: 1_000 },
    {
      owned: (claimed) => {
        claimed.phase = 'owned'
        done.push(`owned ${claimed.topicId}`)
        owning()
      },
      inVain: () => {},
      stopped: (claimed, error) => {
        claimed.phase = 'stopped'
        done.push(`stopped: ${error.code}`)
      },
    },
  )
  const claimed = partition(number, source)
  return {
    clock,
    ownership,
    done,
    claimed,
    ask: (answer: () => Promise<void>) => {
      asking = answer
    },
    own: (then: () => void) => {
      owning = then
    },
  }
}

test('a fault in what begins with a takeover is not taken for one of the claim, which would leave the partition still', async () => {
  const { ownership, claimed, done, own } = claiming(0, () => ({ topic: 't', id: 'new', partitions: 1 }))
  own(() => {
    throw new RangeError('a fault')
  })
  let fault = ''
  await ownership.claim(claimed).catch((thrown: unknown) => {
    fault = String(thrown)
  })
  assert.equal([fault, done], ['RangeError: a fault', ['owned new']])
})

test('a topic that was recreated while PostgreSQL was asked about it is not taken over under its old id', async () => {
  const { ownership, claimed, done, ask } = claiming(0, (look) => ({
    topic: 't',
    id: look === 1 ? 'old' : 'new',
    partitions: 1,
  }))
  let answer = () => {}
  ask(
    () =>
      new Promise((resolve) => {
        answer = resolve
      }),
  )
  void ownership.claim(claimed)
  await settled()
  ownership.forget('g', 't')
  ask(() => Promise.resolve())
  answer()
  await settled()
  assert.equal(done, ['owned new'])
})

test('a partition that was added is waited for while brokers have not all heard of it', async () => {
  const { clock, ownership, claimed, done } = claiming(12, (look) => ({
    topic: 't',
    id: 'x',
    partitions: look <= 4 ? 12 : 13,
  }))
  void ownership.claim(claimed)
  await settled()
  assert.equal(done, [])
  assert.is(claimed.phase, 'claiming')
  assert.match(claimed.reason, /t-12 was assigned/)
  for (let i = 0; i < 3; i++) await clock.pass(1_000)
  assert.equal(done, ['owned x'])
})

test('a topic that brokers go on naming is begun again, where an earlier one was begun after it; one that lags is waited for', async () => {
  for (const lags of [true, false]) {
    const clock = new ManualClock()
    let [looks, newest] = [0, 'other']
    const again: string[] = []
    const source = stubSource({
      describe: async () => ({ topic: 't', id: lags && ++looks > 2 ? 'other' : 'x', partitions: 1 }),
      clusterId: async () => 'cluster',
      committed: async () => [],
    })
    const ledger = stubLedger({
      topicProgress: async (_group, _topic, id) => ({
        partitions: 1,
        recreated: false,
        superseded: id !== newest,
        clusterId: 'cluster',
      }),
      beginAgain: async (_group, _topic, id) => {
        again.push(id)
        newest = id
      },
      takeOver: async ({ topicId }) => {
        if (topicId !== newest) throw new TenantryError(supersededCode, 'another one', {})
        return taken
      },
    })
    const owned: string[] = []
    const settings = { promptRaiseMs: 60_000, backoffMinMs: 100, backoffMaxMs: 1_000 }
    const ownership = new Ownership(ledger, clock, systemRandom, silentLog, settings, {
      owned: (claimed) => {
        claimed.phase = 'owned'
        owned.push(claimed.topicId)
      },
      inVain: () => {},
      stopped: (_, error) => owned.push(error.code),
    })
    void ownership.claim(partition(0, source))
    await settled()
    for (let i = 0; i < 8; i++) await clock.pass(1_000)
    assert.equal([owned, again], lags ? [['other'], []] : [['x'], ['x']])
  }
})

/** A claim of a partition that was left with this progress, where Kafka has this offset, and accepting it takes so long. */
function foreign(
  onForeignOffset: GroupOptions['onForeignOffset'],
  kafka: number | (() => number),
  log = { start: 0, end: 100 },
  acceptMs = 0,
) {
  const clock = new ManualClock()
  let owned: Owned = { ...taken, epoch: 3, seq: 7, commitId: 'raise 3', kafkaOffset: 40, watermark: 60 }
  const accepted: number[] = []
  const events: string[] = []
  const source = stubSource({
    describe: async () => ({ topic: 't', id: 'x', partitions: 1 }),
    clusterId: async () => 'cluster',
    committed: async (all) => all.map((at) => ({ ...at, offset: typeof kafka === 'number' ? kafka : kafka() })),
    range: async (all) => all.map((at) => ({ ...at, ...log })),
    commit: async () => {
      events.push('proved')
      return 'committed'
    },
  })
  const ledger = stubLedger({
    topicProgress: async () => ({ partitions: 1, recreated: false, superseded: false, clusterId: 'cluster' }),
    standing: async () => [owned],
    takeOver: async () => {
      raising()
      return owned
    },
    acceptOffset: async (_ref, { commitId }, position) => {
      assert.is(commitId, 'raise 3')
      await clock.pass(acceptMs)
      accepted.push(position)
      owned = { ...owned, kafkaOffset: -1, watermark: position }
    },
  })
  const settings = { promptRaiseMs: 60_000, backoffMinMs: 100, backoffMaxMs: 1_000 }
  const ownership = new Ownership(ledger, clock, systemRandom, silentLog, settings, {
    owned: (_, { watermark }) => events.push(`owned at ${watermark}`),
    inVain: (gone) => events.push(`${gone.epoch} in vain`),
    stopped: (_, error) => events.push(`${error.code}: ${error.message}`),
  })
  const claimed = partition(0, source)
  Object.assign(claimed, { group: { ...claimed.group, onForeignOffset } })
  let raising = () => {}
  const goesMeanwhile = () => {
    raising = () => void (claimed.phase = 'gone')
  }
  const claim = async () => {
    const claiming = ownership.claim(claimed)
    await clock.pass(10_000)
    await claiming
  }
  return { claim, goesMeanwhile, events, accepted, claimed }
}

test('an offset below what was written last is asked for again: a coordinator of before may have answered', async () => {
  for (const way of ['stop', 'accept'] as const) {
    const answers = [10, 10, 40]
    const { claim, events, accepted } = foreign(way, () => answers.shift() ?? 40)
    await claim()
    assert.equal([events, accepted], [['owned at 60'], []])
  }
})

for (const [kafka, way] of [
  [10, '--rerun'],
  [80, '--skip'],
] as const) {
  test(`Kafka's offset ${kafka}, which nobody of ours wrote, stops the partition, with the commands that decide`, async () => {
    const { claim, events, claimed } = foreign('stop', kafka)
    await claim()
    assert.is(events.length, 1)
    const at = '--group g --topic t --partition 0 --reason WHY'
    for (const part of [
      'TENANTRY_FOREIGN_OFFSET',
      '(40 to 60)',
      `tenantry offsets ignore ${at}`,
      `tenantry offsets accept ${at} ${way}`,
    ])
      assert.ok(events[0]?.includes(part), `${part} in ${events[0]}`)
    assert.is(claimed.epoch, 3, 'it is told by this that an operator has decided')
  })

  test(`Kafka's offset ${kafka} is gone on from where configuration accepts it`, async () => {
    const { claim, events, accepted } = foreign('accept', kafka)
    await claim()
    assert.equal([events, accepted], [[`owned at ${kafka}`], [kafka]])
  })

  test(`Kafka's offset ${kafka} counts for nothing where configuration ignores it`, async () => {
    const { claim, events, accepted } = foreign('ignore', kafka)
    await claim()
    assert.equal([events, accepted], [['owned at 60'], []])
  })
}

test('who has accepted an offset too late proves membership before taking over', async () => {
  const { claim, events, accepted } = foreign('accept', 10, { start: 0, end: 100 }, 60_001)
  await claim()
  assert.equal([events, accepted], [['proved', 'owned at 10'], [10]])
})

test('an offset of ours is nobody else’s, and one outside the log is not accepted', async () => {
  for (const kafka of [40, 50, 60]) {
    const { claim, events } = foreign('stop', kafka)
    await claim()
    assert.equal(events, ['owned at 60'])
  }
  for (const kafka of [10, 120]) {
    const { claim, events, accepted } = foreign('accept', kafka, { start: 20, end: 100 })
    await claim()
    assert.match(events.join(), /TENANTRY_FOREIGN_OFFSET/)
    assert.equal(accepted, [])
  }
})

test('what was raised for a partition that had gone meanwhile is said, so that it can be given back', async () => {
  const { claim, goesMeanwhile, events } = foreign('stop', 40)
  goesMeanwhile()
  await claim()
  assert.equal(events, ['3 in vain'])
})

/** What becomes of partition 0 of a topic with four, whose logs hold [10, 100), and where it was begun. */
async function beginning(options: {
  readonly start: GroupOptions['start']
  /** Kafka's offsets of the group, by partition. */
  readonly kafka?: readonly number[]
  readonly known?: number
  readonly recreated?: boolean
  readonly recordedCluster?: string
  readonly refusal?: string
}) {
  const { start, kafka = [], known = 0, recreated = false, recordedCluster = '', refusal } = options
  const events: string[] = []
  const source = stubSource({
    describe: async () => ({ topic: 't', id: 'x', partitions: 4 }),
    clusterId: async () => 'cluster',
    committed: async (all) =>
      all.flatMap((at) => (at.partition < kafka.length ? { ...at, offset: kafka[at.partition] ?? 0 } : [])),
    range: async (all) => all.map((at) => ({ ...at, start: 10, end: 100 })),
    offsetsAt: async (all, time) => all.map((at) => ({ ...at, offset: time + at.partition })),
  })
  const ledger = stubLedger({
    topicProgress: async () => ({ partitions: known, recreated, superseded: false, clusterId: recordedCluster }),
    begin: async (_group, _topic, id, cluster, partitions, starts) => {
      events.push(
        `${id} of ${cluster}, ${partitions}: ${starts.map(({ ref, position }) => `${ref.partition} at ${position}`).join(', ')}`,
      )
    },
    takeOver: async () => {
      if (refusal !== undefined) throw new TenantryError(refusal, 'no', {})
      return taken
    },
  })
  const settings = { promptRaiseMs: 60_000, backoffMinMs: 100, backoffMaxMs: 1_000 }
  const ownership = new Ownership(ledger, new ManualClock(), systemRandom, silentLog, settings, {
    owned: () => events.push('owned'),
    inVain: () => {},
    stopped: (_, { code }) => events.push(code),
  })
  const claimed = partition(0, source)
  Object.assign(claimed, { group: { ...claimed.group, start, onForeignOffset: 'ignore' } })
  await ownership.claim(claimed)
  return events
}

test('the first to see a topic begins all its partitions: at Kafka’s offset where there is one, else as configured', async () => {
  for (const [start, starts] of [
    ['earliest', '0 at 10, 1 at 10, 2 at 10, 3 at 10'],
    ['latest', '0 at 100, 1 at 100, 2 at 100, 3 at 100'],
    [50, '0 at 50, 1 at 51, 2 at 52, 3 at 53'],
  ] as const) {
    assert.equal(await beginning({ start }), [`x of cluster, 4: ${starts}`, 'owned'])
    const [begun] = await beginning({ start, kafka: [7, 0] })
    assert.is(begun, `x of cluster, 4: 0 at 7, 1 at 0, ${starts.split(', ').slice(2).join(', ')}`)
  }
})

test('without a configured start a topic is begun only where Kafka has an offset for every partition', async () => {
  assert.equal(await beginning({ start: 'error' }), ['TENANTRY_START_MISSING'])
  assert.equal(await beginning({ start: 'error', kafka: [1, 2, 3] }), ['TENANTRY_START_MISSING'])
  assert.equal(await beginning({ start: 'error', kafka: [1, 2, 3, 4] }), [
    'x of cluster, 4: 0 at 1, 1 at 2, 2 at 3, 3 at 4',
    'owned',
  ])
})

test('partitions that appeared later begin at 0, and so do all of a topic that was made anew, whatever Kafka says', async () => {
  const kafka = [5, 6, 7, 8]
  for (const start of ['latest', 'error'] as const) {
    assert.equal(await beginning({ start, kafka, known: 2 }), ['x of cluster, 4: 2 at 0, 3 at 0', 'owned'])
    assert.equal(await beginning({ start, kafka, recreated: true }), [
      'x of cluster, 4: 0 at 0, 1 at 0, 2 at 0, 3 at 0',
      'owned',
    ])
  }
  assert.equal(await beginning({ start: 'latest', known: 4 }), ['owned'], 'and what was begun is not begun again')
})

test('a partition without the row that it must have stops, and so does a group whose progress is of another cluster', async () => {
  assert.equal(await beginning({ start: 'latest', known: 4, refusal: noProgressCode }), [noProgressCode])
  assert.equal(await beginning({ start: 'latest', recordedCluster: 'other' }), ['TENANTRY_OTHER_CLUSTER'])
  assert.equal(await beginning({ start: 'latest', known: 4, recordedCluster: 'cluster' }), ['owned'])
})

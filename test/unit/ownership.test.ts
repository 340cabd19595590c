import * as assert from 'uvu/assert'
import type { TopicDescription } from '../../core/kafka/source.ts'
import { TenantryError } from '../../core/errors.ts'
import { silentLog } from '../../core/log.ts'
import { noProgressCode } from '../../core/postgres/transactions.ts'
import { systemRandom } from '../../core/random.ts'
import { Ownership } from '../../supervisors/ownership.ts'
import { test } from '../harness.ts'
import { HandClock, partition, settled, stubLedger, stubSource, taken } from './engine-ports.ts'

/** Claims of a partition in a cluster that answers what `describe` says, each time anew. */
function claiming(number: number, describe: (look: number) => TopicDescription) {
  const clock = new HandClock()
  const done: string[] = []
  let looks = 0
  let asking = () => Promise.resolve()
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
      return { partitions: recorded.get(id) ?? 0, recreated: false, clusterId: 'cluster' }
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
      },
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
  }
}

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
  for (let i = 0; i < 3; i++) await clock.turn(1_000)
  assert.equal(done, ['owned x'])
})

import * as assert from 'uvu/assert'
import type { OutboxRow } from '../../core/postgres/ownership.ts'
import { collecting, collector } from '../garbage.ts'
import { test } from '../harness.ts'
import { eventually } from '../services.ts'
import { partition, settled } from './engine-ports.ts'
import { OutboxFeed } from '../../supervisors/outbox-feed.ts'
import { message, OutboxStage } from './outbox-stage.ts'

const ids = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => `acme ${from + i}.0`)
const messages = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => message(from + i))

test('what a last owner left goes out page by page, and before what is committed later', async () => {
  const stage = new OutboxStage()
  stage.table = messages(1, 10)
  stage.outbox.open(stage.partition, [])
  stage.commit(message(11))
  stage.commit(message(12))
  await settled()
  assert.equal(stage.firstCopies, ids(1, 12))
  assert.equal(stage.table, [])
  assert.is(stage.outbox.pending, 0)
})

test('what is committed while the last page is on its way goes out once, whether the page has it or not', async () => {
  const stage = new OutboxStage()
  stage.table = messages(1, 3)
  let answer = () => {}
  stage.reading = () =>
    new Promise((resolve) => {
      answer = resolve
    })
  stage.outbox.open(stage.partition, [])
  await settled()
  // The page has 3 and not 4; both commits are heard of before it comes.
  stage.outbox.push(stage.partition, [message(3)])
  stage.commit(message(4))
  assert.equal(stage.published, [])
  answer()
  await settled()
  assert.equal(stage.published, ids(1, 4))
  assert.equal(stage.table, [])
})

test('what is committed while there is no room stays in the table, counts as pending, and follows', async () => {
  const stage = new OutboxStage({ outboxMaxPending: 4 })
  stage.outbox.open(stage.partition, [])
  await settled()
  stage.answer = () => ({ kind: 'failed', reason: 'away' })
  stage.commit(...messages(1, 5))
  stage.commit(...messages(6, 9))
  await settled()
  assert.is(stage.outbox.pending, 9)
  assert.equal(stage.published, [])
  stage.answer = () => null
  await stage.clock.pass(10_000)
  assert.equal(stage.firstCopies, ids(1, 9))
  assert.is(stage.outbox.pending, 0)
  assert.equal(stage.table, [])
})

test('a page that cannot be read is asked for again, and what was committed meanwhile is in it', async () => {
  const stage = new OutboxStage()
  stage.table = messages(1, 2)
  stage.reading = () => Promise.reject(new Error('PostgreSQL is away'))
  stage.outbox.open(stage.partition, [])
  stage.commit(message(3))
  await settled()
  assert.equal([...stage.troubles.keys()], ['postgres.outbox'])
  stage.reading = () => Promise.resolve()
  await stage.clock.pass(200)
  assert.equal(stage.published, ids(1, 3))
  assert.equal([...stage.troubles.keys()], [])
})

test('a partition that was lost while its page was read publishes nothing', async () => {
  const stage = new OutboxStage()
  stage.table = messages(1, 2)
  stage.outbox.open(stage.partition, [])
  stage.outbox.drop(stage.partition)
  await settled()
  assert.equal(stage.published, [])
  assert.is(stage.outbox.pending, 0)
})

test('a message that Kafka refuses does not stop what waits behind it, however long recording that takes', async () => {
  const stage = new OutboxStage({ outboxMaxPending: 10_000 })
  stage.outbox.open(stage.partition, [])
  await settled()
  let recorded = () => {}
  stage.refusing = () =>
    new Promise((resolve) => {
      recorded = resolve
    })
  stage.answer = ({ position }) => (position.seq === 1 ? { kind: 'refused', reason: 'MESSAGE_TOO_LARGE' } : null)
  stage.commit(...messages(1, 5_000))
  await settled()
  assert.equal(stage.published, ids(2, 5_000))
  assert.is(stage.table.length, 5_000)
  recorded()
  await settled()
  assert.is(stage.outbox.pending, 0)
  assert.equal(stage.table, [])
})

test('that Kafka refuses a message is told once, however often recording it fails', async () => {
  const stage = new OutboxStage()
  stage.outbox.open(stage.partition, [])
  await settled()
  stage.answer = () => ({ kind: 'refused', reason: 'MESSAGE_TOO_LARGE' })
  stage.refusing = () => Promise.reject(new Error('PostgreSQL is away'))
  stage.commit(message(1))
  await stage.clock.pass(5_000)
  assert.equal([...stage.troubles.keys()], ['postgres.refused'])
  stage.refusing = () => Promise.resolve()
  await stage.clock.pass(5_000)
  assert.equal([stage.refused, stage.outbox.pending, [...stage.troubles]], [['acme 1.0'], 0, []])
})

test('a topic that is away holds up those alone who publish to it, each in order, and its messages are kept', async () => {
  const stage = new OutboxStage({ outboxMaxPending: 10_000 })
  stage.outbox.open(stage.partition, [])
  await settled()
  stage.answer = ({ topic }) => (topic === 'away' ? { kind: 'failed', reason: 'it does not exist' } : null)
  stage.commit(
    message(1, 0, { tenant: 'waits', topic: 'away' }),
    message(1, 1, { tenant: 'goes on' }),
    message(1, 2, { tenant: 'waits' }),
  )
  // More than one send takes: they must not be in the way of what comes after them.
  stage.commit(...Array.from({ length: 3_000 }, (_, i) => message(2, i, { tenant: 'waits', topic: 'away' })))
  await settled()
  stage.commit(message(3, 0, { tenant: 'goes on' }))
  stage.commit(message(4, 0, { tenant: 'waits' }))
  await settled()
  assert.ok(stage.published.includes('goes on 3.0'))
  assert.not.ok(stage.published.includes('waits 4.0'))
  assert.equal([...stage.troubles], [['kafka.outbox', 'away: it does not exist']])
  const before = stage.sends
  await settled()
  assert.is(stage.sends, before, 'it waits before it tries again')
  stage.answer = () => null
  await stage.clock.pass(2_000)
  const own = stage.published.filter((id) => id.startsWith('waits')).slice(1)
  assert.equal(own, ['waits 1.0', 'waits 1.2', ...Array.from({ length: 3_000 }, (_, i) => `waits 2.${i}`), 'waits 4.0'])
  assert.is(stage.outbox.pending, 0)
  assert.equal(stage.table, [])
  assert.equal([...stage.troubles], [])
})

test('a topic that does not answer holds up those alone who publish to it, each in order', async () => {
  const stage = new OutboxStage({ outboxMaxPending: 10_000 })
  stage.outbox.open(stage.partition, [])
  await settled()
  const leaderless = ({ topic }: OutboxRow) => topic === 'leaderless'
  let timeOut = () => {}
  stage.answer = (row) => (leaderless(row) ? { kind: 'failed', reason: 'not delivered within 30000 ms' } : null)
  stage.sending = (rows) =>
    rows.some(leaderless)
      ? new Promise((resolve) => {
          timeOut = resolve
        })
      : Promise.resolve()
  stage.commit(
    message(1, 0, { tenant: 'waits', topic: 'leaderless' }),
    message(1, 1, { tenant: 'goes on' }),
    message(1, 2, { tenant: 'goes on', topic: 'another' }),
  )
  await settled()
  // More than one send takes, of tenants who had nothing on its way: they must not be in the way of what comes after.
  const more = Array.from({ length: 3_000 }, (_, i) => message(2, i, { tenant: `waits ${i}`, topic: 'leaderless' }))
  stage.commit(...more)
  await settled()
  stage.commit(message(3, 0, { tenant: 'goes on' }), message(3, 1, { tenant: 'waits' }))
  await settled()
  const healthy = ['goes on 1.1', 'goes on 1.2', 'goes on 3.0']
  assert.equal(stage.published, healthy)
  timeOut()
  await settled()
  assert.equal([...stage.troubles], [['kafka.outbox', 'leaderless: not delivered within 30000 ms']])
  // It is tried again, alone, and again does not answer.
  await stage.clock.pass(1_000)
  stage.commit(message(4, 0, { tenant: 'goes on' }), message(4, 1, { tenant: 'new' }))
  stage.commit(message(4, 2, { tenant: 'new', topic: 'leaderless' }), message(4, 3, { tenant: 'new' }))
  await settled()
  assert.equal(stage.published, [...healthy, 'goes on 4.0', 'new 4.1'])
  stage.answer = () => null
  stage.sending = () => Promise.resolve()
  timeOut()
  await settled()
  await stage.clock.pass(1_000)
  const of = (tenant: string) => stage.firstCopies.filter((id) => id.startsWith(`${tenant} `) && !id.includes(' 2.'))
  assert.equal(of('waits'), ['waits 1.0', 'waits 3.1'])
  assert.equal(of('new'), ['new 4.1', 'new 4.2', 'new 4.3'])
  assert.equal([stage.outbox.pending, stage.table, [...stage.troubles]], [0, [], []])
})

test('who publishes to several topics in turn waits for no answer between two of them', async () => {
  const stage = new OutboxStage({ outboxMaxPending: 10_000 })
  stage.outbox.open(stage.partition, [])
  await settled()
  stage.commit(...Array.from({ length: 1_000 }, (_, i) => message(1, i, { topic: i % 2 === 0 ? 'a' : 'b' })))
  await settled()
  assert.is(stage.sends, 1)
  assert.is(stage.outbox.pending, 0)
})

test('what could not be delivered is no trouble any more when its partition has another owner', async () => {
  const stage = new OutboxStage()
  stage.outbox.open(stage.partition, [])
  await settled()
  stage.answer = () => ({ kind: 'failed', reason: 'away' })
  stage.commit(message(1))
  await settled()
  assert.is(stage.troubles.size, 1)
  stage.outbox.drop(stage.partition)
  assert.is(stage.troubles.size, 0)
})

test('what could not be read or recorded is no trouble any more when its partition has another owner', async () => {
  const stage = new OutboxStage()
  stage.outbox.open(stage.partition, [])
  await settled()
  stage.answer = () => ({ kind: 'refused', reason: 'MESSAGE_TOO_LARGE' })
  stage.refusing = () => Promise.reject(new Error('PostgreSQL is away'))
  stage.commit(message(1))
  await settled()
  const other = partition(1)
  stage.reading = () => Promise.reject(new Error('PostgreSQL is away'))
  stage.outbox.open(other, [])
  await settled()
  assert.equal([...stage.troubles.keys()].sort(), ['postgres.outbox', 'postgres.refused'])
  stage.outbox.drop(stage.partition)
  stage.outbox.drop(other)
  await stage.clock.pass(5_000)
  assert.equal([...stage.troubles.keys()], [])
})

test('what waits in the table for room goes out when a partition that filled memory has another owner', async () => {
  const stage = new OutboxStage({ outboxMaxPending: 3 })
  const other = partition(1)
  stage.outbox.open(stage.partition, [])
  stage.outbox.open(other, [])
  await settled()
  stage.answer = ({ topic }) => (topic === 'away' ? { kind: 'failed', reason: 'it does not exist' } : null)
  stage.outbox.push(
    other,
    [1, 2, 3].map((seq) => message(seq, 0, { tenant: 'other', topic: 'away' })),
  )
  await settled()
  stage.commit(message(1), message(2))
  await settled()
  assert.equal([stage.published, stage.outbox.pending], [[], 5])
  stage.outbox.drop(other)
  await settled()
  assert.equal([stage.published, stage.outbox.pending], [ids(1, 2), 0])
})

test('what an earlier topic of this name left goes out before anything of the new one, and is deleted by itself', async () => {
  const stage = new OutboxStage()
  stage.left = Array.from({ length: 7 }, (_, i) => message(90 + i, 0, { tenant: 'old' }))
  stage.table = messages(1, 4)
  stage.outbox.open(stage.partition, [stage.inherited])
  stage.commit(message(5))
  await settled()
  assert.equal(stage.firstCopies, [...Array.from({ length: 7 }, (_, i) => `old ${90 + i}.0`), ...ids(1, 5)])
  assert.equal([stage.left, stage.table, stage.outbox.pending], [[], [], 0])
})

test('who finds that another has taken over what it inherits says so once, and keeps its rows', async () => {
  const stage = new OutboxStage()
  stage.left = [message(90), message(91)]
  stage.takenOver = true
  stage.outbox.open(stage.partition, [stage.inherited])
  await settled()
  for (let i = 0; i < 3; i++) await stage.clock.pass(1_000)
  assert.equal(stage.disinherited, [stage.partition])
  assert.is(stage.left.length, 2)
})

/** A message cut out of a frame of a worker's, whose text and bytes have 1 MiB each. */
function cutFromFrame(seq: number): OutboxRow {
  const text = String(seq).padEnd(1 << 20, 'x')
  const bytes = new Uint8Array(1 << 20)
  return {
    ...message(seq),
    topic: text.substring(0, 20),
    messageId: text.substring(20, 60),
    key: bytes.subarray(0, 10),
    value: bytes.subarray(10, 100),
    headers: [['traceparent', text.substring(60, 120)]],
  }
}

collecting('a message that waits keeps nothing of the frame in which it came', async () => {
  const collect = collector()
  const used = () => {
    collect()
    const { heapUsed, arrayBuffers } = process.memoryUsage()
    return { heapUsed, arrayBuffers }
  }
  const stage = new OutboxStage()
  stage.outbox.open(stage.partition, [])
  await settled()
  stage.answer = () => ({ kind: 'failed', reason: 'away' })
  const before = used()
  for (let seq = 1; seq <= 50; seq++) stage.outbox.push(stage.partition, [cutFromFrame(seq)])
  await settled()
  assert.is(stage.outbox.pending, 50)
  // V8 sweeps buffers on a thread of its own, so what one collection frees may be seen after a later one only.
  await eventually(() => {
    const after = used()
    const bytes = after.arrayBuffers - before.arrayBuffers
    const text = after.heapUsed - before.heapUsed
    assert.ok(bytes < 5_000_000 && text < 5_000_000, `bytes: ${bytes}, text: ${text}`)
    return true
  })
})

test('a commit may have more messages than a call takes arguments, while a page is on its way', () => {
  const feed = new OutboxFeed(partition(), null)
  feed.asked()
  const rows = Array.from({ length: 200_000 }, (_, index) => message(1, index))
  assert.equal(feed.committed(rows, true), [])
  assert.is(feed.read({ rows: [], more: 0 }).length, rows.length)
})

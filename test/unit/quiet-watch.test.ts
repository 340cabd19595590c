import * as assert from 'uvu/assert'
import { NativePartition } from '../../core/kafka/confluent-partitions.ts'
import { QuietWatch } from '../../core/kafka/quiet-watch.ts'
import { test } from '../harness.ts'
import { ManualClock } from '../manual-clock.ts'

/** A partition that delivers nothing at position 40 of a log, looked at every second. */
async function quiet(log: { readonly start: number; readonly end: number }, seconds: number) {
  const clock = new ManualClock()
  const partition = new NativePartition({ topic: 't', partition: 0 })
  partition.sought = { position: 40, token: 7 }
  const listen = () => {
    partition.start(clock.monotonic())
    partition.started = true
  }
  listen()
  const said: string[] = []
  const second = () => Math.round(clock.monotonic() / 1_000)
  const watch = new QuietWatch({
    clock,
    cluster: { range: async (all) => all.map((at) => ({ topic: at.topic, partition: at.partition, ...log })) },
    partitions: { all: () => [partition], get: () => partition },
    outOfRange: (_, { start, end }) => said.push(`${second()} outside ${start} to ${end}`),
    refetched: () => {
      said.push(`${second()} fetched anew at ${partition.sought?.position} as ${partition.sought?.token}`)
      listen()
    },
    stalled: ({ code }) => said.push(`${second()} ${code}`),
    failed: (error) => said.push(String(error)),
  })
  for (let i = 0; i < seconds; i++) {
    await clock.pass(1_000)
    watch.look()
    await clock.pass(0)
  }
  return said
}

test('polls that bring nothing of a log that goes on are fetched anew, and after a minute the group is joined again', async () => {
  const said = await quiet({ start: 0, end: 90 }, 61)
  assert.is(said[0], '6 fetched anew at 40 as 7')
  assert.is(said.at(-1), '60 TENANTRY_KAFKA_STALLED')
  assert.is(said.filter((one) => one.includes('STALLED')).length, 1)
})

test('at the end of its log a partition is only quiet', async () => {
  assert.equal(await quiet({ start: 0, end: 40 }, 90), [])
})

test('before its log, a position is outside at once; beyond it, only when it stays so', async () => {
  assert.is((await quiet({ start: 41, end: 90 }, 3))[0], '2 outside 41 to 90')
  const beyond = await quiet({ start: 0, end: 30 }, 14)
  assert.is(beyond.at(-1), '12 outside 0 to 30')
  assert.ok(beyond.slice(0, -1).every((one) => one.includes('fetched anew')))
})

test('a log that cannot be asked for is trouble until it can, or its partition delivers', async () => {
  const clock = new ManualClock()
  const partition = new NativePartition({ topic: 't', partition: 0 })
  partition.sought = { position: 40, token: 7 }
  partition.start(clock.monotonic())
  const said: string[] = []
  let range = () => Promise.reject<[]>(new Error('no leader'))
  const watch = new QuietWatch({
    clock,
    cluster: { range: () => range() },
    partitions: { all: () => [partition], get: () => partition },
    outOfRange() {},
    refetched() {},
    stalled() {},
    failed: ({ message }) => said.push(message),
  })
  const look = async () => {
    await clock.pass(2_000)
    watch.look()
    await clock.pass(0)
    return watch.healthy
  }
  assert.is(await look(), false)
  assert.equal(said, ['no leader'])
  range = () => Promise.resolve([])
  assert.is(await look(), true)
  range = () => Promise.reject<[]>(new Error('no leader'))
  assert.is(await look(), false)
  partition.heardAt = clock.monotonic() + 2_000
  assert.is(await look(), true)
})

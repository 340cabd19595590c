import { Kafka, logLevel } from 'kafkajs'
import { heartbeatMs, sessionMs } from '../peer.ts'
import { endWith, fail, ownAssignment, Progress } from './progress.ts'
import { workOf } from './work.ts'

/** Records between two heartbeats: a whole batch of a megabyte may take longer than a session. */
const sliceRecords = 500

const own = ownAssignment()
const progress = new Progress()
const work = workOf(own, progress)
const kafka = new Kafka({ clientId: 'bench-peer', brokers: own.kafka.split(','), logLevel: logLevel.ERROR })
const consumer = kafka.consumer({
  groupId: own.group,
  sessionTimeout: sessionMs,
  heartbeatInterval: heartbeatMs,
  maxWaitTimeInMs: 100,
})
consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
  if (Object.values(payload.memberAssignment).some((partitions) => partitions.length > 0)) progress.ready()
})
consumer.on(consumer.events.CRASH, ({ payload }) => {
  if (!payload.restart) fail(payload.error)
})
endWith(async () => {
  await consumer.disconnect()
  await work.end()
  progress.end()
})

await consumer.connect()
await consumer.subscribe({ topic: own.topic, fromBeginning: true })
await consumer.run({
  partitionsConsumedConcurrently: own.partitions,
  eachBatchAutoResolve: false,
  autoCommitInterval: 1_000,
  async eachBatch({ batch, resolveOffset, heartbeat, commitOffsetsIfNecessary, isRunning, isStale }) {
    for (let at = 0; at < batch.messages.length; at += sliceRecords) {
      if (!isRunning() || isStale()) return
      const slice = batch.messages.slice(at, at + sliceRecords)
      await work.run(slice)
      const last = slice.at(-1)
      if (last !== undefined) resolveOffset(last.offset)
      await commitOffsetsIfNecessary()
      await heartbeat()
    }
  },
})

import { KafkaJS } from '@confluentinc/kafka-javascript'
import { z } from 'zod'
import { heartbeatMs, sessionMs } from '../peer.ts'
import { endWith, ownAssignment, Progress } from './progress.ts'
import { workOf } from './work.ts'

/** 32 when left out. */
const batchRecords = 1_000

const assigned = z.object({
  error: z.object({ code: z.literal(KafkaJS.ErrorCodes.ERR__ASSIGN_PARTITIONS) }),
  partitions: z.array(z.unknown()).min(1),
})

const own = ownAssignment()
const progress = new Progress()
const work = workOf(own, progress)
const consumer = new KafkaJS.Kafka({
  kafkaJS: { brokers: own.kafka.split(','), logLevel: KafkaJS.logLevel.ERROR },
}).consumer({
  kafkaJS: {
    groupId: own.group,
    fromBeginning: true,
    sessionTimeout: sessionMs,
    heartbeatInterval: heartbeatMs,
    autoCommit: true,
    autoCommitInterval: 1_000,
  },
  'js.consumer.max.batch.size': batchRecords,
  rebalance_cb(error: unknown, partitions: unknown) {
    if (assigned.safeParse({ error, partitions }).success) progress.ready()
  },
})
endWith(async () => {
  await consumer.disconnect()
  await work.end()
  progress.end()
})

await consumer.connect()
await consumer.subscribe({ topics: [own.topic] })
await consumer.run({
  partitionsConsumedConcurrently: own.partitions,
  eachBatchAutoResolve: false,
  async eachBatch({ batch, resolveOffset, isStale }) {
    if (isStale()) return
    await work.run(batch.messages)
    const last = batch.messages.at(-1)
    if (last !== undefined) resolveOffset(last.offset)
  },
})

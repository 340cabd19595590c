import { inspect } from 'node:util'
import { Consumer, type Message, MessagesStreamFallbackModes, MessagesStreamModes } from '@platformatic/kafka'
import { heartbeatMs, sessionMs } from '../peer.ts'
import { endWith, fail, ownAssignment, Progress } from './progress.ts'
import { workOf } from './work.ts'

/** Records that are worked on together, at most: what has arrived is not kept waiting for more. */
const chunkRecords = 1_000
const commitEveryMs = 1_000

const own = ownAssignment()
const progress = new Progress()
const work = workOf(own, progress)
const consumer = new Consumer({
  clientId: 'bench-peer',
  groupId: own.group,
  bootstrapBrokers: own.kafka.split(','),
  sessionTimeout: sessionMs,
  heartbeatInterval: heartbeatMs,
})
consumer.on('consumer:group:join', () => progress.ready())
let running = Promise.resolve()
let stopping = false
let close = async () => {}
endWith(async () => {
  stopping = true
  await running
  await commit()
  await close()
  await consumer.close()
  await work.end()
  progress.end()
})

const finished = new Map<number, bigint>()
let committedAt = Date.now()
let chunk: Message[] = []
try {
  const stream = await consumer.consume({
    topics: [own.topic],
    mode: MessagesStreamModes.COMMITTED,
    fallbackMode: MessagesStreamFallbackModes.EARLIEST,
    autocommit: false,
    maxWaitTime: 100,
    highWaterMark: chunkRecords,
  })
  close = () => stream.close()
  for await (const message of stream) {
    if (stopping) continue // to break would destroy the stream before it is closed
    chunk.push(message)
    if (chunk.length < chunkRecords && stream.readableLength > 0) continue
    running = workOff(chunk)
    chunk = []
    await running
  }
} catch (error) {
  // Closing the stream aborts whoever waits for its next message.
  if (!stopping) fail(error)
}

async function workOff(messages: readonly Message[]): Promise<void> {
  await work.run(messages)
  for (const { partition, offset } of messages) finished.set(partition, offset + 1n)
  if (Date.now() - committedAt < commitEveryMs) return
  await commit()
}

async function commit(): Promise<void> {
  committedAt = Date.now()
  const offsets = [...finished].map(([partition, offset]) => ({ topic: own.topic, partition, offset, leaderEpoch: -1 }))
  finished.clear()
  if (offsets.length === 0) return
  try {
    await consumer.commit({ offsets })
  } catch (error) {
    // In a rebalance: who has the partitions next reads them again from the last commit.
    process.stderr.write(`${inspect(error)}\n`)
  }
}

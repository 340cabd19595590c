import { setImmediate } from 'node:timers/promises'
import { inspect } from 'node:util'
import { Consumer, type Message, MessagesStreamFallbackModes, MessagesStreamModes } from '@platformatic/kafka'
import { heartbeatMs, sessionMs } from '../peer.ts'
import { endWith, fail, ownAssignment, Progress } from './progress.ts'
import { workOf } from './work.ts'

/** Records of a partition that are worked on together, at most: what has arrived is not kept waiting for more. */
const chunkRecords = 1_000
const commitEveryMs = 1_000

const own = ownAssignment()
/** Records that wait, at most: a chunk of each partition. */
const mostWaiting = own.partitions * chunkRecords
const progress = new Progress()
const work = workOf(own, progress)
const consumer = new Consumer({
  clientId: 'bench-peer',
  groupId: own.group,
  bootstrapBrokers: own.kafka.split(','),
  sessionTimeout: sessionMs,
  heartbeatInterval: heartbeatMs,
})
/** The partitions that it has now. */
let kept: ReadonlySet<number> = new Set()
/** Of each partition, what has arrived and was not begun; and who works it off. */
const queues = new Map<number, Message[]>()
const running = new Map<number, Promise<void>>()
/** The next offset that is not there yet: after a rebalance the stream gives again what was not committed. */
const next = new Map<number, bigint>()
const finished = new Map<number, bigint>()
let waiting = 0
let room = Promise.withResolvers<void>()
let committedAt = Date.now()
let stopping = false
let close = async () => {}

consumer.on('consumer:group:join', () => {
  progress.ready()
  kept = new Set(consumer.assignments?.flatMap((assigned) => assigned.partitions))
  for (const [partition, queue] of queues) if (!kept.has(partition)) take(queue, queue.length)
  for (const offsets of [next, finished])
    for (const partition of offsets.keys()) if (!kept.has(partition)) offsets.delete(partition)
})
endWith(async () => {
  stopping = true
  await Promise.all(running.values())
  await commit()
  await close()
  await consumer.close()
  await work.end()
  progress.end()
})

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
    put(message)
    while (waiting >= mostWaiting) await room.promise
  }
} catch (error) {
  // Closing the stream aborts whoever waits for its next message.
  if (!stopping) fail(error)
}

function put(message: Message): void {
  const { partition, offset } = message
  // Of a partition that is gone, the stream still gives what it had fetched: were it counted as there, what comes of it
  // when the partition is back would be passed over.
  if (!kept.has(partition)) return
  if (offset < (next.get(partition) ?? 0n)) return
  next.set(partition, offset + 1n)
  const queue = queues.get(partition) ?? []
  queues.set(partition, queue)
  queue.push(message)
  waiting++
  if (!running.has(partition)) running.set(partition, workOff(partition, queue))
}

function take(queue: Message[], records: number): Message[] {
  const taken = queue.splice(0, records)
  waiting -= taken.length
  room.resolve()
  room = Promise.withResolvers()
  return taken
}

/** Partitions side by side, the records of each chunk by chunk. */
async function workOff(partition: number, queue: Message[]): Promise<void> {
  await setImmediate() // what has come together is worked on together
  while (queue.length > 0 && !stopping) {
    const chunk = take(queue, chunkRecords)
    await work.run(chunk)
    const last = chunk.at(-1)
    if (last !== undefined && kept.has(partition)) finished.set(partition, last.offset + 1n)
    if (Date.now() - committedAt >= commitEveryMs) await commit()
  }
  running.delete(partition)
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

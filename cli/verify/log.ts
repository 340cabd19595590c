import { setTimeout as pause } from 'node:timers/promises'
import { Consumer, ListOffsetTimestamps } from '@platformatic/kafka'
import { type Clock, systemClock } from '../../core/clock.ts'
import { messageOf, TenantryError } from '../../core/errors.ts'
import { noAnswer, silentMs } from '../../core/kafka/any-broker.ts'
import { unavailable } from '../../core/kafka/cluster.ts'
import { clientOptions, type KafkaConnection } from '../../core/kafka/options.ts'

/** A record that a read-committed consumer sees. */
export type LogRecord = {
  readonly offset: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: readonly (readonly [name: Buffer | null, value: Buffer | null])[]
}

export type LoggedTopic = {
  readonly id: string
  /** By partition: the first offset that is kept, and the one after the last that may be read. */
  readonly starts: readonly number[]
  readonly ends: readonly number[]
}

const readCommitted = 1
const fetchBytes = 2 * 1024 * 1024
const tries = 20

/** Kafka's logs, read from the outside: no group is joined and nothing is written. */
export class Log {
  readonly #consumer: Consumer
  readonly #clock: Clock

  constructor(kafka: KafkaConnection, group: string, clock: Clock = systemClock) {
    this.#clock = clock
    this.#consumer = new Consumer({ ...clientOptions(kafka), groupId: group })
  }

  /** The topic as it is now; undefined where there is none of this name. */
  describe(topic: string): Promise<LoggedTopic | undefined> {
    return this.#asked(`describe topic ${topic}`, this.#describe(topic))
  }

  /** The group's committed offset by partition, -1 where it has none. */
  committed(topic: string): Promise<readonly number[]> {
    return this.#asked(`read the group's offsets of topic ${topic}`, this.#committed(topic))
  }

  async #describe(topic: string): Promise<LoggedTopic | undefined> {
    const found = await this.#topology(topic)
    if (found === undefined) return undefined
    const offsets = async (timestamp: bigint) => {
      const listed = await this.#consumer.listOffsets({ topics: [topic], timestamp, isolationLevel: readCommitted })
      return (listed.get(topic) ?? []).map(Number)
    }
    return {
      id: found.id,
      starts: await offsets(ListOffsetTimestamps.EARLIEST),
      ends: await offsets(ListOffsetTimestamps.LATEST),
    }
  }

  /** The visible records from `from` to before `to`, in order, some at a time. */
  async *read(topic: string, partition: number, from: number, to: number): AsyncGenerator<readonly LogRecord[]> {
    let next = from < to ? this.#fetch(topic, partition, from) : undefined
    let [reached, idle] = [from, 0]
    while (next !== undefined) {
      const { records, position } = await next
      idle = position > reached ? 0 : idle + 1
      if (idle === tries) throw unreadable(topic, partition, position, `nothing comes, although it ends at ${to}`)
      reached = position
      next = position < to ? this.#fetch(topic, partition, position) : undefined
      next?.catch(() => {}) // awaited by the next round, unless the reader has had enough
      const last = records.at(-1)
      yield last === undefined || last.offset < to ? records : records.filter(({ offset }) => offset < to)
    }
  }

  async close(): Promise<void> {
    await this.#consumer.close(true)
  }

  async #asked<T>(what: string, answer: Promise<T>): Promise<T> {
    const silent = Promise.withResolvers<never>()
    const timer = this.#clock.after(silentMs, () => silent.reject(noAnswer()))
    try {
      return await Promise.race([answer, silent.promise])
    } catch (error) {
      throw unavailable(what, error)
    } finally {
      timer.cancel()
    }
  }

  async #committed(topic: string): Promise<readonly number[]> {
    const partitions = (await this.#topology(topic))?.leaders.map((_, index) => index) ?? []
    const listed = await this.#consumer.listCommittedOffsets({ topics: [{ topic, partitions }] })
    return (listed.get(topic) ?? []).map(Number)
  }

  async #topology(topic: string): Promise<{ readonly id: string; readonly leaders: readonly number[] } | undefined> {
    try {
      const { topics } = await this.#consumer.metadata({ topics: [topic], forceUpdate: true })
      const found = topics.get(topic)
      return found && { id: found.id, leaders: found.partitions.map(({ leader }) => leader) }
    } catch (error) {
      if (causes(error).some((cause) => 'apiId' in cause && cause.apiId === 'UNKNOWN_TOPIC_OR_PARTITION'))
        return undefined
      throw error
    }
  }

  async #fetch(topic: string, partition: number, from: number): Promise<{ records: LogRecord[]; position: number }> {
    for (let attempt = 1; ; attempt++) {
      try {
        const found = await this.#topologyOnce(topic, attempt > 1)
        const { responses } = await this.#consumer.fetch({
          node: found.leaders[partition] ?? -1,
          minBytes: 1,
          maxBytes: fetchBytes,
          maxWaitTime: 200,
          isolationLevel: readCommitted,
          topics: [
            {
              topicId: found.id,
              partitions: [
                {
                  partition,
                  currentLeaderEpoch: -1,
                  fetchOffset: BigInt(from),
                  lastFetchedEpoch: -1,
                  partitionMaxBytes: fetchBytes,
                },
              ],
            },
          ],
        })
        const answer = responses[0]?.partitions[0]
        if (answer !== undefined && answer.errorCode === 0)
          return visible(answer.records ?? [], answer.abortedTransactions ?? [], from)
        if (attempt === tries)
          throw unreadable(topic, partition, from, `Kafka's error ${answer?.errorCode ?? 'unknown'}`)
      } catch (error) {
        if (attempt === tries) throw unreadable(topic, partition, from, messageOf(error), error)
      }
      await pause(100 * attempt)
    }
  }

  readonly #known = new Map<string, { readonly id: string; readonly leaders: readonly number[] }>()

  async #topologyOnce(topic: string, anew: boolean) {
    const known = this.#known.get(topic)
    if (known !== undefined && !anew) return known
    const found = await this.#topology(topic)
    if (found === undefined) throw new Error('the topic does not exist')
    this.#known.set(topic, found)
    return found
  }
}

type Batch = {
  readonly firstOffset: bigint
  readonly lastOffsetDelta: number
  readonly attributes: number
  readonly producerId: bigint
  readonly records: readonly {
    readonly offsetDelta: number
    readonly key: Buffer | null
    readonly value: Buffer | null
    readonly headers: readonly (readonly [Buffer | null, Buffer | null])[]
  }[]
}

const transactional = 0x10
const control = 0x20

/**
 * Leaves out control records and the records of aborted transactions. The broker names each aborted one with its first
 * offset; it lasts until the marker of its producer, and the same producer may have aborted another one after it.
 */
export function visible(
  batches: readonly Batch[],
  aborted: readonly { readonly producerId: bigint; readonly firstOffset: bigint }[],
  from: number,
): { records: LogRecord[]; position: number } {
  const waiting = [...aborted].sort((one, other) => Number(one.firstOffset - other.firstOffset))
  const open = new Set<bigint>()
  const records: LogRecord[] = []
  let position = from
  for (const { firstOffset, lastOffsetDelta, attributes, producerId, records: inside } of batches) {
    const base = Number(firstOffset)
    const end = base + lastOffsetDelta
    for (let first = waiting[0]; first !== undefined && Number(first.firstOffset) <= end; first = waiting[0]) {
      open.add(first.producerId)
      waiting.shift()
    }
    position = Math.max(position, end + 1)
    if ((attributes & control) !== 0) open.delete(producerId)
    else if ((attributes & transactional) === 0 || !open.has(producerId)) {
      for (const { offsetDelta, key, value, headers } of inside) {
        if (base + offsetDelta >= from) records.push({ offset: base + offsetDelta, key, value, headers })
      }
    }
  }
  return { records, position }
}

function unreadable(topic: string, partition: number, offset: number, reason: string, cause?: unknown): TenantryError {
  return new TenantryError(
    'TENANTRY_VERIFY_UNREADABLE',
    `${topic}, partition ${partition} cannot be read from offset ${offset}: ${reason}. Check that the brokers are up and run it again.`,
    { topic, partition, offset },
    { cause },
  )
}

function causes(error: unknown): object[] {
  if (typeof error !== 'object' || error === null) return []
  const inner = 'errors' in error && Array.isArray(error.errors) ? error.errors : []
  return [error, ...inner.flatMap(causes), ...('cause' in error ? causes(error.cause) : [])]
}

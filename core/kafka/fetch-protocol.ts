import { type Connection, type Reader, Writer } from '@platformatic/kafka'

/** Kafka's Fetch, versions 13 to 17: topics by id, no fetch sessions, whole batches left undecoded. */

const fetchKey = 1
export const fetchVersions = { min: 13, max: 17 } as const
const readCommitted = 1
/** Of a batch: its first offset and the length of the rest. */
const offsetAndLengthBytes = 12
/** No session: every request names all its partitions, so a paused one is just left out. */
const noSession = { id: 0, epoch: -1 } as const

export type FetchPartition = {
  readonly topicId: string
  readonly partition: number
  readonly position: number
  readonly maxBytes: number
}

export type FetchRequest = {
  readonly maxWaitMs: number
  readonly maxBytes: number
  readonly partitions: readonly FetchPartition[]
}

export type AbortedTransaction = { readonly producerId: bigint; readonly firstOffset: number }

export type FetchedPartition = {
  readonly topicId: string
  readonly partition: number
  /** Kafka's error code, 0 for none. */
  readonly error: number
  /** The last stable offset: what may be read. */
  readonly end: number
  readonly start: number
  readonly aborted: readonly AbortedTransaction[]
  /** Whole record batches, in order, each in memory of its own size or of one read of the socket: no record pins more. */
  readonly batches: readonly Buffer[]
}

export type FetchResponse = {
  readonly error: number
  readonly throttleMs: number
  readonly partitions: readonly FetchedPartition[]
}

export function fetch(connection: Connection, version: number, request: FetchRequest): Promise<FetchResponse> {
  return new Promise((resolve, reject) => {
    connection.send<FetchResponse>(
      fetchKey,
      version,
      () => write(version, request),
      (_correlationId, _apiKey, _apiVersion, reader) => read(reader),
      true,
      true,
      (error, response) => {
        if (error || !response) reject(error ?? new Error('the broker answered nothing'))
        else resolve(response)
      },
    )
  })
}

function write(version: number, { maxWaitMs, maxBytes, partitions }: FetchRequest): Writer {
  const topics = Map.groupBy(partitions, ({ topicId }) => topicId)
  const writer = Writer.create()
  // Until version 15 a follower said here who it was; a consumer says -1.
  if (version < 15) writer.appendInt32(-1)
  return writer
    .appendInt32(maxWaitMs)
    .appendInt32(1)
    .appendInt32(maxBytes)
    .appendInt8(readCommitted)
    .appendInt32(noSession.id)
    .appendInt32(noSession.epoch)
    .appendArray([...topics], (w, [topicId, of]) => {
      w.appendUUID(topicId).appendArray(of, (w2, partition) => {
        w2.appendInt32(partition.partition)
          .appendInt32(-1)
          .appendInt64(BigInt(partition.position))
          .appendInt32(-1)
          .appendInt64(-1n)
          .appendInt32(partition.maxBytes)
      })
    })
    .appendArray([], () => {})
    .appendString('')
    .appendTaggedFields()
}

function read(reader: Reader): FetchResponse {
  const throttleMs = reader.readInt32()
  const error = reader.readInt16()
  reader.readInt32()
  const topics = reader.readArray((r) => {
    const topicId = r.readUUID()
    return r.readArray((r2) => readPartition(r2, topicId))
  })
  return { error, throttleMs, partitions: topics.flat() }
}

function readPartition(reader: Reader, topicId: string): FetchedPartition {
  const partition = reader.readInt32()
  const error = reader.readInt16()
  const highWatermark = Number(reader.readInt64())
  const lastStableOffset = Number(reader.readInt64())
  const start = Number(reader.readInt64())
  const aborted =
    reader.readNullableArray((r) => ({ producerId: r.readInt64(), firstOffset: Number(r.readInt64()) })) ?? []
  reader.readInt32()
  const size = Math.max(0, reader.readUnsignedVarInt() - 1)
  const batches: Buffer[] = []
  const end = reader.position + size
  while (end - reader.position >= offsetAndLengthBytes) {
    const next = reader.position + offsetAndLengthBytes + reader.peekInt32(reader.position + 8)
    // The broker cuts the last batch where the limit falls.
    if (next > end) break
    batches.push(reader.buffer.slice(reader.position, next))
    reader.position = next
  }
  reader.position = end
  return {
    topicId,
    partition,
    error,
    end: lastStableOffset >= 0 ? lastStableOffset : highWatermark,
    start,
    aborted,
    batches,
  }
}

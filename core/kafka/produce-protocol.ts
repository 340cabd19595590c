import { type Connection, type Reader, Writer } from '@platformatic/kafka'

/** Kafka's Produce, versions 9 to 11: topics by name, acks of all replicas in sync. */

const produceKey = 0
export const produceVersions = { min: 9, max: 11 } as const
const allReplicas = -1

export type ProducePartition = { readonly topic: string; readonly partition: number; readonly batch: Buffer }

export type Produced = {
  readonly topic: string
  readonly partition: number
  /** Kafka's error code, 0 for none. */
  readonly error: number
  readonly message: string
  readonly baseOffset: number
}

export function produce(
  connection: Connection,
  version: number,
  timeoutMs: number,
  partitions: readonly ProducePartition[],
): Promise<readonly Produced[]> {
  return new Promise((resolve, reject) => {
    connection.send<readonly Produced[]>(
      produceKey,
      version,
      () => write(timeoutMs, partitions),
      (_correlationId, _apiKey, _apiVersion, reader) => read(reader),
      true,
      true,
      (error, answer) => {
        if (error || !answer) reject(error ?? new Error('the broker answered nothing'))
        else resolve(answer)
      },
    )
  })
}

function write(timeoutMs: number, partitions: readonly ProducePartition[]): Writer {
  const topics = Map.groupBy(partitions, ({ topic }) => topic)
  return Writer.create()
    .appendString(null)
    .appendInt16(allReplicas)
    .appendInt32(timeoutMs)
    .appendArray([...topics], (w, [topic, of]) => {
      w.appendString(topic).appendArray(of, (w2, { partition, batch }) => {
        w2.appendInt32(partition)
          .appendUnsignedVarInt(batch.length + 1)
          .append(batch)
      })
    })
    .appendTaggedFields()
}

function read(reader: Reader): readonly Produced[] {
  const topics = reader.readArray((r) => {
    const topic = r.readString()
    return r.readArray((r2) => {
      const partition = r2.readInt32()
      const error = r2.readInt16()
      const baseOffset = Number(r2.readInt64())
      r2.readInt64()
      r2.readInt64()
      const first = r2.readArray((r3) => [r3.readInt32(), r3.readNullableString()] as const)[0]
      const message = r2.readNullableString() ?? first?.[1] ?? ''
      return { topic, partition, error, message, baseOffset }
    })
  })
  return topics.flat()
}

/** Progress of a partition, as far as Kafka's offset is concerned. */
export type WrittenOffset = {
  /** The offset last written to Kafka, -1 where none was. */
  readonly kafkaOffset: number
  readonly watermark: number
}

/** Whether neither the partition's owner nor one before it can have written this offset to Kafka: somebody else has set it. */
export function isForeign(committed: number, { kafkaOffset, watermark }: WrittenOffset): boolean {
  return kafkaOffset >= 0 && (committed < kafkaOffset || committed > watermark)
}

import { systemClock } from '../core/clock.ts'
import { connectionOf } from '../core/config/kafka-connection.ts'
import { loadConfig } from '../core/config/load.ts'
import { TenantryError } from '../core/errors.ts'
import { KafkaPublisher, type OutgoingMessage } from '../core/kafka/producer.ts'
import { silentLog } from '../core/log.ts'

/** Sends messages to the Kafka of KAFKA_BROKERS, and resolves when it has taken all of them. */
export async function deliver(messages: readonly OutgoingMessage[]): Promise<void> {
  const { config } = loadConfig({ env: process.env, needs: ['kafka'] })
  const { deliveryTimeoutMs } = config.producer
  const publisher = new KafkaPublisher({
    ...connectionOf(config),
    clock: systemClock,
    log: silentLog,
    deliveryTimeoutMs,
  })
  // While it waits for Kafka, the event loop has nothing else to wait for, and the process would end without a word.
  const keepAlive = setInterval(() => {}, 60_000)
  try {
    for (const result of await publisher.send(messages))
      if (result.kind !== 'delivered')
        throw new TenantryError(
          'TENANTRY_NOT_DELIVERED',
          `Kafka has not taken a message: ${result.reason}. Check KAFKA_BROKERS and that the topic is there.`,
        )
  } finally {
    await publisher.stop()
    clearInterval(keepAlive)
  }
}

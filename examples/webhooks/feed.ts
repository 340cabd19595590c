import { data, tellError } from '../../cli/output.ts'
import { systemClock } from '../../core/clock.ts'
import { TenantryError } from '../../core/errors.ts'
import { KafkaPublisher } from '../../core/kafka/producer.ts'
import { silentLog } from '../../core/log.ts'
import { deliveries, messageOf } from './recorded.ts'

// node examples/webhooks/feed.ts HOST:PORT,…: sends every recorded webhook, and then every one again, as GitHub does when
// a delivery was not answered.

try {
  const [brokers = ''] = process.argv.slice(2)
  if (brokers === '') throw new TenantryError('TENANTRY_USAGE', "feed.ts wants Kafka's addresses: HOST:PORT,…")
  const publisher = new KafkaPublisher({
    bootstrap: brokers.split(','),
    clientId: 'webhooks-feed',
    clock: systemClock,
    log: silentLog,
  })
  const messages = deliveries().map(messageOf)
  for (const result of await publisher.send([...messages, ...messages]))
    if (result.kind !== 'delivered') throw new TenantryError('TENANTRY_FEED', 'Kafka has not taken a webhook.')
  await publisher.stop()
  data(`${messages.length} webhooks, each sent twice.`)
} catch (error) {
  tellError(error, false)
  process.exitCode = 1
}

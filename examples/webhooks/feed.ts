import { exitCodeOf } from '../../cli/exit.ts'
import { data, tellError } from '../../cli/output.ts'
import { deliver } from '../deliver.ts'
import { deliveries, messageOf } from './recorded.ts'

// node tools/up.mjs examples/webhooks/feed.ts: sends every recorded webhook to the Kafka of KAFKA_BROKERS, and then every
// one again, as GitHub does when a delivery was not answered.

try {
  const messages = deliveries().map(messageOf)
  await deliver([...messages, ...messages])
  data(`${messages.length} webhooks, each sent twice.`)
} catch (error) {
  tellError(error, false)
  process.exitCode = exitCodeOf(error)
}

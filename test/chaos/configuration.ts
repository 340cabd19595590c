import { Admin, ConfigResourceTypes, IncrementalAlterConfigOperationTypes } from '@platformatic/kafka'

/** A member that is silent for so long has lost its partitions. */
export const sessionMs = 3_000

/** Of a daemon whose outbox is soon full: messages that it may hold unpublished. */
export const tinyOutboxRows = 50

/** Deadlines short enough that a fault and its mending fit into a test. */
export function configuration(group: string): string {
  return `groups:
  ${group}: { start: earliest }
http: { port: 0 }
deadLetters: { topic: off }
log: { repeatLimit: 10000 }
workers: { count: 1, drainDeadline: 10s }
retry: { delays: [100ms, 300ms] }
consumer: { offsetInterval: 200ms, releaseTimeout: 4s, sessionTimeout: 6s }
producer: { deliveryTimeout: 3s }
commit: { answerDeadline: 2s, backoffMax: 500ms }
postgres: { lockTimeout: 1s, transactionTimeout: 5s, connectTimeout: 3s }
`
}

/** Of a group with the protocol whose sessions the brokers decide. */
export async function shortenSession(kafka: string, group: string): Promise<void> {
  const admin = new Admin({ clientId: 'chaos', bootstrapBrokers: kafka.split(',') })
  const set = (name: string, value: number) => ({
    name,
    value: String(value),
    configOperation: IncrementalAlterConfigOperationTypes.SET,
  })
  try {
    await admin.incrementalAlterConfigs({
      resources: [
        {
          resourceType: ConfigResourceTypes.GROUP,
          resourceName: group,
          configs: [set('consumer.session.timeout.ms', sessionMs), set('consumer.heartbeat.interval.ms', 300)],
        },
      ],
    })
  } finally {
    await admin.close()
  }
}

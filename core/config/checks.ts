import postgresClient from 'postgres'
import type { Config } from './schema.ts'

/** What a command cannot do without: kafka.brokers, postgres.url. */
export type Need = 'kafka' | 'postgres'

export type Checked = {
  readonly problems: readonly { readonly path: readonly string[]; readonly what: string }[]
  readonly warnings: readonly string[]
}

/** What no single key can say: keys that another one asks for, and those that only make sense together. */
export function checkConfig(config: Config, needs: readonly Need[], file: string | undefined): Checked {
  const problems: { path: readonly string[]; what: string }[] = []
  const warnings: string[] = []
  const { kafka, postgres, redis, commit, backpressure } = config
  const place = file ?? 'tenantry.yml'

  if (needs.includes('kafka') && kafka.brokers.length === 0) {
    problems.push({ path: ['kafka', 'brokers'], what: `is required: set it in ${place}, or KAFKA_BROKERS=host:port` })
  }
  if (needs.includes('postgres') && postgres.url === '') {
    problems.push({
      path: ['postgres', 'url'],
      what: `is required: set it in ${place}, or DATABASE_URL=postgres://user@host/database`,
    })
  }
  for (const key of ['url', 'migrateUrl'] as const) {
    const url = postgres[key]
    if (url !== undefined && url !== '' && !isDatabaseAddress(url))
      problems.push({
        path: ['postgres', key],
        what: 'is no address: expected postgres://user@host:port/database, in a password %2F for /, %3F for ?, %23 for #, %40 for @ and %25 for %',
      })
  }
  if (redis.url !== undefined && !/^rediss?:\/\/./.test(redis.url))
    problems.push({ path: ['redis', 'url'], what: 'expected redis://host:port or rediss://host:port' })

  const { tls, sasl } = kafka
  if ((tls.cert === undefined) !== (tls.key === undefined)) {
    problems.push({
      path: ['kafka', 'tls', tls.cert === undefined ? 'cert' : 'key'],
      what: 'is required: a certificate and its key go together',
    })
  }
  if (!tls.enabled && (tls.ca !== undefined || tls.cert !== undefined)) {
    problems.push({
      path: ['kafka', 'tls', 'enabled'],
      what: 'is false, though certificates are given: set it to true, or remove them',
    })
  }
  if (sasl?.mechanism === 'PLAIN' && !tls.enabled)
    warnings.push('kafka.sasl: PLAIN without kafka.tls sends the password as readable text')
  if (tls.enabled && !tls.verify)
    warnings.push('kafka.tls.verify is false: anybody on the way can read and change what is sent')

  const confluentKeys = [
    kafka.confluent,
    config.consumer.confluent,
    ...Object.values(config.groups).map((group) => group.confluent),
  ]
  if (kafka.driver === 'platformatic' && confluentKeys.some((keys) => Object.keys(keys).length > 0)) {
    warnings.push('keys of librdkafka (confluent) are given, but kafka.driver is platformatic, which has none')
  }

  if (commit.backoffMinMs > commit.backoffMaxMs)
    problems.push({ path: ['commit', 'backoffMin'], what: 'is more than commit.backoffMax' })
  if (commit.maxBytes > backpressure.budgetBytes)
    problems.push({
      path: ['commit', 'maxBytes'],
      what: 'is more than backpressure.budgetBytes: a commit could never be so large',
    })
  if (backpressure.budgetRecords > 1 && backpressure.mailboxRecords > backpressure.budgetRecords / 2)
    problems.push({
      path: ['backpressure', 'mailboxRecords'],
      what: 'is more than half of backpressure.budgetRecords: one tenant that is stuck would stop every partition, not only its own',
    })

  for (const group of Object.values(config.groups)) warnings.push(...keyRetentionWarnings(config, group.topics ?? []))
  return { problems, warnings: [...new Set(warnings)] }
}

/**
 * Whether the driver can read it, which opens nothing. It takes several hosts, whose ports it does not look at, and
 * tears an IPv6 address at its colons. What it throws quotes the address with its password.
 */
function isDatabaseAddress(url: string): boolean {
  if (!/^postgres(ql)?:\/\/./.test(url)) return false
  try {
    const { host, port } = postgresClient(url, { max: 1 }).options
    return host.every((name) => !name.startsWith('[')) && port.every((number) => number > 0 && number < 65_536)
  } catch {
    return false
  }
}

/**
 * Keys forgotten before Kafka forgets the record: a copy that is delivered after a reset of the group, or sent later,
 * would be processed again. To be said at start, for the topics that are consumed.
 */
export function keyRetentionWarnings(config: Config, topics: readonly string[]): readonly string[] {
  const { keysMs } = config.retention
  return topics.flatMap((name) => {
    const topic = config.topics[name]
    if (topic === undefined || (topic.retentionMs !== -1 && topic.retentionMs <= keysMs)) return []
    return [
      `retention.keys is shorter than ${name} keeps its records: a message sent again after that is processed again`,
    ]
  })
}

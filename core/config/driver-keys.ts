/**
 * The keys of librdkafka that a guarantee rests on. The configuration hands its keys through, except these:
 * each is refused with the reason and, where there is one, the key of ours that does what was meant.
 */

type Value = string | number | boolean
type Rule = { readonly reason: string; readonly allowed?: (value: Value) => boolean }

const isTrue = (value: Value) => value === true || value === 'true'
const isFalse = (value: Value) => value === false || value === 'false'
const oneOf =
  (...values: readonly string[]) =>
  (value: Value) =>
    values.includes(String(value))

const progressDecides = 'positions come from PostgreSQL, never from what the driver stored'
const seeks = 'tenantry seeks to the position of its last commit; where a new group starts is groups.<name>.start'
const ours = (key: string) => `set ${key} instead, so that both drivers and the command line agree`
const noAssignor = 'assignment follows groups.<name>.protocol, and taking partitions over relies on it'

const confluentRules: Readonly<Record<string, Rule>> = {
  'enable.auto.commit': { reason: progressDecides, allowed: isFalse },
  'auto.commit.enable': { reason: progressDecides, allowed: isFalse },
  'auto.commit.interval.ms': { reason: progressDecides },
  'enable.auto.offset.store': { reason: progressDecides, allowed: isFalse },
  'offset.store.method': { reason: progressDecides },
  'offset.store.path': { reason: progressDecides },
  'auto.offset.reset': { reason: seeks, allowed: oneOf('error') },
  'isolation.level': {
    reason: 'aborted transactions would be processed as if they had happened',
    allowed: oneOf('read_committed'),
  },
  'partition.assignment.strategy': { reason: noAssignor },
  'group.protocol': { reason: ours('groups.<name>.protocol') },
  'group.remote.assignor': { reason: noAssignor },
  'group.id': { reason: 'the group is the name under groups' },
  'group.instance.id': { reason: ours('groups.<name>.instanceId') },
  'session.timeout.ms': { reason: ours('consumer.sessionTimeout') },
  'heartbeat.interval.ms': { reason: ours('consumer.sessionTimeout') },
  'statistics.interval.ms': { reason: 'the source reads positions from the statistics' },
  'allow.auto.create.topics': {
    reason: 'a misspelt topic would be made with the wrong partitions; use tenantry topics apply',
    allowed: isFalse,
  },
  'enable.partition.eof': { reason: 'the source reads ends of partitions in its own way' },
  'enable.idempotence': { reason: 'the outbox would publish out of order and twice', allowed: isTrue },
  'enable.gapless.guarantee': { reason: 'a fatal error of the producer would stop the outbox for good' },
  acks: { reason: 'a message could be lost with one broker', allowed: oneOf('all', '-1') },
  'request.required.acks': { reason: 'a message could be lost with one broker', allowed: oneOf('all', '-1') },
  'max.in.flight': { reason: 'the outbox would publish out of order' },
  'max.in.flight.requests.per.connection': { reason: 'the outbox would publish out of order' },
  'transactional.id': { reason: 'the outbox publishes after the commit in PostgreSQL, not in a Kafka transaction' },
  partitioner: { reason: 'keys are placed as Java places them (murmur2), so that a tenant stays in one partition' },
  'bootstrap.servers': { reason: ours('kafka.brokers') },
  'metadata.broker.list': { reason: ours('kafka.brokers') },
  'client.id': { reason: ours('kafka.clientId') },
  'security.protocol': { reason: ours('kafka.tls and kafka.sasl') },
  'sasl.username': { reason: ours('kafka.sasl.username') },
  'sasl.password': { reason: ours('kafka.sasl.password') },
  'sasl.mechanism': { reason: ours('kafka.sasl.mechanism') },
  'sasl.mechanisms': { reason: ours('kafka.sasl.mechanism') },
  'ssl.ca.pem': { reason: ours('kafka.tls.ca') },
  'ssl.certificate.pem': { reason: ours('kafka.tls.cert') },
  'ssl.key.pem': { reason: ours('kafka.tls.key') },
  'ssl.key.password': { reason: ours('kafka.tls.keyPassword') },
  'plugin.library.paths': { reason: 'it would load foreign code into the process' },
}

/** Why this key of librdkafka cannot be set to this value; undefined when it can. */
export function refusedByConfluent(key: string, value: Value): string | undefined {
  // librdkafka takes topic properties with this prefix, too.
  const name = key.startsWith('topic.') ? key.slice('topic.'.length) : key
  if (name.endsWith('_cb')) return 'callbacks belong to the driver'
  const rule = Object.hasOwn(confluentRules, name) ? confluentRules[name] : undefined
  return rule === undefined || rule.allowed?.(value) ? undefined : rule.reason
}

/** For docs/configuration.md: every refused key with its reason. */
export const refusedKeys: readonly { readonly key: string; readonly reason: string }[] = Object.entries(
  confluentRules,
).map(([key, { reason }]) => ({ key, reason }))

/**
 * The keys of the Kafka drivers that a guarantee rests on. The configuration hands driver keys through, except these:
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

/** Keys of librdkafka (kafka.confluent, consumer.confluent, producer.confluent). */
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
  partitioner_cb: { reason: 'keys are placed as Java places them (murmur2), so that a tenant stays in one partition' },
  rebalance_cb: { reason: 'tenantry follows rebalances itself' },
  offset_commit_cb: { reason: 'tenantry commits offsets itself' },
  dr_cb: { reason: 'the outbox waits for its own delivery reports' },
  dr_msg_cb: { reason: 'the outbox waits for its own delivery reports' },
  'bootstrap.servers': { reason: ours('kafka.brokers') },
  'metadata.broker.list': { reason: ours('kafka.brokers') },
  'client.id': { reason: ours('kafka.clientId') },
  'security.protocol': { reason: ours('kafka.tls and kafka.sasl') },
  'sasl.username': { reason: ours('kafka.sasl.username') },
  'sasl.password': { reason: ours('kafka.sasl.password') },
  'ssl.key.pem': { reason: ours('kafka.tls.key') },
  'ssl.key.password': { reason: ours('kafka.tls.keyPassword') },
  'plugin.library.paths': { reason: 'it would load foreign code into the process' },
}

/** Options of @platformatic/kafka's clients. */
const platformaticRules: Readonly<Record<string, Rule>> = {
  autocommit: { reason: progressDecides, allowed: isFalse },
  mode: { reason: seeks },
  fallbackMode: { reason: seeks, allowed: oneOf('fail') },
  offsets: { reason: seeks },
  isolationLevel: {
    reason: 'aborted transactions would be processed as if they had happened',
    allowed: oneOf('READ_COMMITTED', '1'),
  },
  groupProtocol: { reason: ours('groups.<name>.protocol') },
  groupRemoteAssignor: { reason: noAssignor },
  protocols: { reason: noAssignor },
  partitionAssigner: { reason: noAssignor },
  groupId: { reason: 'the group is the name under groups' },
  groupInstanceId: { reason: ours('groups.<name>.instanceId') },
  sessionTimeout: { reason: ours('consumer.sessionTimeout') },
  autocreateTopics: {
    reason: 'a misspelt topic would be made with the wrong partitions; use tenantry topics apply',
    allowed: isFalse,
  },
  idempotent: { reason: 'the outbox would publish out of order and twice', allowed: isTrue },
  acks: { reason: 'a message could be lost with one broker', allowed: oneOf('all', '-1') },
  transactionalId: { reason: 'the outbox publishes after the commit in PostgreSQL, not in a Kafka transaction' },
  partitioner: { reason: 'keys are placed as Java places them (murmur2), so that a tenant stays in one partition' },
  deserializers: { reason: 'records are taken as bytes' },
  serializers: { reason: 'records are sent as bytes' },
  bootstrapBrokers: { reason: ours('kafka.brokers') },
  clientId: { reason: ours('kafka.clientId') },
  tls: { reason: ours('kafka.tls') },
  ssl: { reason: ours('kafka.tls') },
  sasl: { reason: ours('kafka.sasl') },
}

/** Why this key of librdkafka cannot be set to this value; undefined when it can. */
export function refusedByConfluent(key: string, value: Value): string | undefined {
  return refused(confluentRules, key, value)
}

/** Why this option of @platformatic/kafka cannot be set to this value; undefined when it can. */
export function refusedByPlatformatic(key: string, value: Value): string | undefined {
  return refused(platformaticRules, key, value)
}

function refused(rules: Readonly<Record<string, Rule>>, key: string, value: Value): string | undefined {
  // librdkafka takes topic properties with this prefix, too.
  const name = key.startsWith('topic.') ? key.slice('topic.'.length) : key
  const rule = Object.hasOwn(rules, name) ? rules[name] : undefined
  if (rule === undefined || rule.allowed?.(value)) return undefined
  return rule.reason
}

/** For docs/configuration.md: every refused key with its reason. */
export const refusedKeys: readonly { readonly driver: string; readonly key: string; readonly reason: string }[] = [
  ...Object.entries(confluentRules).map(([key, { reason }]) => ({ driver: 'confluent', key, reason })),
  ...Object.entries(platformaticRules).map(([key, { reason }]) => ({ driver: 'platformatic', key, reason })),
]

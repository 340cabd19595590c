import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { parse } from 'yaml'
import { z } from 'zod'
import { brokerSettings, replicationSettings } from '../../cli/dev/kafka.ts'
import { databaseName, initdbSettings, postgresSettings } from '../../cli/dev/postgres.ts'
import { redisSettings } from '../../cli/dev/redis.ts'
import { loadConfig } from '../../core/config/load.ts'
import { test } from '../harness.ts'

const folder = join(import.meta.dirname, '../../compose')
const time = z.string().regex(/^\d+(ms|s|m)$/)
/** The part of the Compose specification that is used here; anything else is a mistake, or has to be added. */
const service = z.strictObject({
  image: z.string().optional(),
  hostname: z.string().optional(),
  restart: z.enum(['no', 'unless-stopped']).optional(),
  stop_grace_period: time.optional(),
  stop_signal: z.string().optional(),
  shm_size: z.string().optional(),
  environment: z.record(z.string(), z.union([z.string(), z.number()]).transform(String)).optional(),
  command: z.array(z.string()).optional(),
  ports: z.array(z.string()).optional(),
  volumes: z.array(z.string()).optional(),
  depends_on: z
    .record(z.string(), z.strictObject({ condition: z.enum(['service_healthy', 'service_completed_successfully']) }))
    .optional(),
  healthcheck: z
    .strictObject({
      test: z.tuple([z.enum(['CMD', 'CMD-SHELL'])], z.string()),
      interval: time,
      timeout: time,
      retries: z.number(),
      start_period: time.optional(),
      start_interval: time.optional(),
    })
    .optional(),
})
const file = z.object({
  name: z.string().optional(),
  services: z.record(z.string(), service),
  volumes: z.record(z.string(), z.strictObject({})).default({}),
})
const readFile = (name: string) => file.parse(parse(readFileSync(join(folder, name), 'utf8'), { merge: true }))

const { services: base, volumes } = readFile('compose.yml')
const { services: development } = readFile('compose.dev.yml')
const brokers = ['kafka-1', 'kafka-2', 'kafka-3']
/** How the image spells a broker setting in its environment. */
const variable = (setting: string) => `KAFKA_${setting.replaceAll('.', '_').toUpperCase()}`

test('brokers in compose have the settings of the local ones, and three of them as with --brokers 3', () => {
  for (const [setting, value] of Object.entries({ ...brokerSettings, ...replicationSettings(3) })) {
    for (const name of brokers) assert.is(base[name]?.environment?.[variable(setting)], value, `${name}: ${setting}`)
  }
})

test('the development override changes no setting that the local brokers have', () => {
  for (const setting of Object.keys({ ...brokerSettings, ...replicationSettings(3) })) {
    for (const name of brokers)
      assert.is(development[name]?.environment?.[variable(setting)], undefined, `${name}: ${setting}`)
  }
})

test('PostgreSQL in compose has the settings of the local one', () => {
  const flags = base['postgres']?.command?.slice(1).map((flag) => flag.replace(/^-c/, '').split('='))
  assert.equal(Object.fromEntries(flags ?? []), postgresSettings)
  assert.is(base['postgres']?.image, 'postgres:18')
})

test('Redis in compose has the settings of the local one', () => {
  const [, ...flags] = base['redis']?.command ?? []
  const pairs = flags.flatMap((flag, index) => (flag.startsWith('--') ? [[flag.slice(2), flags[index + 1] ?? '']] : []))
  assert.equal(Object.fromEntries(pairs), redisSettings)
})

test('PostgreSQL in compose is made as the local one is, and is healthy only when clients can reach it', () => {
  assert.equal(base['postgres']?.environment?.['POSTGRES_INITDB_ARGS']?.split(' '), initdbSettings)
  assert.is(base['postgres']?.environment?.['POSTGRES_DB'], databaseName)
  // While the image makes the database, a server of its own answers on the socket, and not on the port.
  assert.match(base['postgres']?.healthcheck?.test.join(' ') ?? '', /pg_isready -h 127\.0\.0\.1 /)
})

test('brokers run the Kafka of the local ones, know each other, and are reached where they say', () => {
  const pom = readFileSync(join(folder, '../tools/kafka-pom.xml'), 'utf8')
  const version = /<artifactId>kafka_[\d.]+<\/artifactId>\s*<version>(.*?)</.exec(pom)?.[1]
  const listenersOf = (text = '') => text.split(',').map((listener) => /^(\w+):\/\/(.*):(.*)$/.exec(listener)?.slice(1))
  for (const [index, name] of brokers.entries()) {
    const settings = { ...base[name]?.environment, ...development[name]?.environment }
    assert.is(base[name]?.image, `apache/kafka:${version}`)
    assert.is(base[name]?.hostname, name)
    assert.is(settings['KAFKA_NODE_ID'], String(index + 1))
    assert.match(settings['KAFKA_CONTROLLER_QUORUM_VOTERS'] ?? '', new RegExp(`(^|,)${index + 1}@${name}:9093(,|$)`))
    const protocols = new Set(
      settings['KAFKA_LISTENER_SECURITY_PROTOCOL_MAP']?.split(',').map((pair) => pair.split(':')[0]),
    )
    for (const one of [base, development]) {
      const { KAFKA_LISTENERS: inside, KAFKA_ADVERTISED_LISTENERS: outside } = {
        ...settings,
        ...one[name]?.environment,
      }
      const listening = new Map(listenersOf(inside).map((listener) => [listener?.[0], listener?.[2]]))
      for (const listener of listening.keys()) assert.ok(protocols.has(listener ?? ''), `${name}: ${listener}`)
      assert.is(listening.get('CONTROLLER'), '9093')
      assert.match(outside ?? '', new RegExp(`^INTERNAL://${name}:${listening.get('INTERNAL')}(,|$)`))
    }
    const [port = '', container] =
      /^127\.0\.0\.1:(\S+):(\d+)$/.exec(development[name]?.ports?.[0] ?? '')?.slice(1) ?? []
    assert.ok(settings['KAFKA_LISTENERS']?.includes(`HOST://:${container}`), name)
    assert.ok(settings['KAFKA_ADVERTISED_LISTENERS']?.endsWith(`,HOST://127.0.0.1:${port}`), name)
    assert.ok(base[name]?.volumes?.includes(`${name}:${settings['KAFKA_LOG_DIRS']}`), name)
  }
})

test('what a service waits for can come true, and `up --wait` takes no service that has ended for a failed one', () => {
  const wanted = Object.entries(base).flatMap(([name, { depends_on: needs = {} }]) =>
    Object.entries(needs).map(([needed, { condition }]) => ({ name, needed, condition })),
  )
  for (const { name, needed, condition } of wanted) {
    const other = base[needed]
    const possible = condition === 'service_healthy' ? other?.healthcheck !== undefined : other?.restart === 'no'
    assert.ok(possible, `${name} waits for ${needed}: ${condition}`)
  }
  const ending = Object.keys(base).filter((name) => base[name]?.restart === 'no')
  assert.equal(ending, ['topics'])
  for (const name of ending)
    assert.ok(
      wanted.some(({ needed, condition }) => needed === name && condition === 'service_completed_successfully'),
      `nobody waits for ${name} to end`,
    )
})

test('the development override adds ports of the loopback to services that there are, each its own', () => {
  const ports = Object.entries(development).flatMap(([name, { ports: published = [] }]) => {
    assert.ok(base[name], name)
    return published
  })
  for (const port of ports) assert.match(port, /^127\.0\.0\.1:\$\{[A-Z0-9_]+:-\d+\}:\d+$/)
  assert.is(new Set(ports.map((port) => /:-(\d+)/.exec(port)?.[1])).size, ports.length)
  assert.equal(
    Object.values(base).flatMap(({ ports: published = [] }) => published),
    [],
  )
})

test('each volume is declared, and used', () => {
  const used = Object.values(base).flatMap(({ volumes: mounted = [] }) => mounted.map((volume) => volume.split(':')[0]))
  assert.equal(new Set(used), new Set(Object.keys(volumes)))
})

test('compose creates the topics of the default configuration', () => {
  const { config } = loadConfig({ env: {}, needs: [], cwd: folder })
  const wanted = Object.entries(config.topics).map(
    ([name, topic]) => `${name}:${topic.partitions}:${topic.retentionMs}`,
  )
  assert.equal(base['topics']?.environment?.['TOPICS']?.split(/\s+/).sort(), wanted.sort())
})

test('every variable that compose reads is in .env.example, with the default that it has there', () => {
  const text = ['compose.yml', 'compose.dev.yml'].map((name) => readFileSync(join(folder, name), 'utf8')).join('\n')
  const given = readFileSync(join(folder, '.env.example'), 'utf8')
  for (const [, name = '', instead] of text.matchAll(/(?<!\$)\$\{([A-Z0-9_]+)(?::-([^}]*))?/g)) {
    const value = new RegExp(`^(# )?${name}=(.*)$`, 'm').exec(given)?.[2]
    assert.ok(value, name)
    if (instead !== undefined && name !== 'KAFKA_HEAP_OPTS') assert.is(value, instead, name)
  }
  const clusterId = /^KAFKA_CLUSTER_ID=(.*)$/m.exec(given)?.[1] ?? ''
  assert.is(Buffer.from(clusterId, 'base64url').length, 16)
  assert.not(clusterId.startsWith('-'), 'Kafka would take it for an option')
})

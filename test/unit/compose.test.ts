import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { parse } from 'yaml'
import { z } from 'zod'
import { brokerSettings, replicationSettings } from '../../cli/dev/kafka.ts'
import { postgresSettings } from '../../cli/dev/postgres.ts'
import { redisSettings } from '../../cli/dev/redis.ts'
import { loadConfig } from '../../core/config/load.ts'
import { test } from '../harness.ts'

const folder = join(import.meta.dirname, '../../compose')
const service = z.object({
  environment: z.record(z.string(), z.coerce.string()).optional(),
  command: z.array(z.string()).optional(),
  image: z.string().optional(),
})
const read = (name: string) =>
  z
    .object({ services: z.record(z.string(), service) })
    .parse(parse(readFileSync(join(folder, name), 'utf8'), { merge: true })).services

const base = read('compose.yml')
const development = read('compose.dev.yml')
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

test('compose creates the topics of the default configuration', () => {
  const { config } = loadConfig({ env: {}, needs: [], cwd: folder })
  const wanted = Object.entries(config.topics).map(
    ([name, topic]) => `${name}:${topic.partitions}:${topic.retentionMs}`,
  )
  assert.equal(base['topics']?.environment?.['TOPICS']?.split(/\s+/).sort(), wanted.sort())
})

test('every variable that compose reads without a default is in .env.example', () => {
  const text = ['compose.yml', 'compose.dev.yml'].map((name) => readFileSync(join(folder, name), 'utf8')).join('\n')
  const given = readFileSync(join(folder, '.env.example'), 'utf8')
  for (const [, name] of text.matchAll(/(?<!\$)\$\{([A-Z0-9_]+)/g))
    assert.match(given, new RegExp(`^#? ?${name}=`, 'm'), name)
})

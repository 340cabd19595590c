import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { keyRetentionWarnings } from '../../core/config/checks.ts'
import { usableCores } from '../../core/config/cores.ts'
import { explain, printed } from '../../core/config/explain.ts'
import { type Loaded, loadConfig, type LoadOptions } from '../../core/config/load.ts'
import { ConfigError } from '../../core/config/problems.ts'
import { shapeAt, valueKeys } from '../../core/config/shape.ts'
import { after, before, test } from '../harness.ts'

let folder = ''

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'tenantry-config-'))
})

after(() => rmSync(folder, { recursive: true, force: true }))

const required = 'kafka: { brokers: ["k:9092"] }\npostgres: { url: "postgres://u@h/d" }\n'

/** Loads a file with this text. */
function load(text: string, options: Partial<LoadOptions> = {}): Loaded {
  writeFileSync(join(folder, 'tenantry.yml'), text)
  return loadConfig({ env: {}, cwd: folder, ...options })
}

/** The problems of a file with this text, a line each. */
function problems(text: string, options: Partial<LoadOptions> = {}): readonly string[] {
  writeFileSync(join(folder, 'tenantry.yml'), text)
  return problemsOf({ cwd: folder, ...options })
}

/** The problems of the configuration as it is, a line each. */
function problemsOf(options: Partial<LoadOptions>): readonly string[] {
  try {
    loadConfig({ env: {}, needs: [], ...options })
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split('\n')
    throw error
  }
  return []
}

test('without a file there are the defaults, and the four standard topics', () => {
  const { config, file } = loadConfig({ env: {}, cwd: join(folder, 'nowhere'), needs: [] })
  assert.is(file, undefined)
  assert.equal(Object.keys(config.topics), ['core.commands.v1', 'core.events.v1', 'sys.deadletter.v1', 'sys.audit.v1'])
  const day = 86_400_000
  const facts = Object.values(config.topics).map((topic) => [
    topic.partitions,
    topic.retentionMs / day,
    topic.replicationFactor,
    topic.minInSyncReplicas,
  ])
  assert.equal(facts, [
    [12, 7, 3, 2],
    [12, 30, 3, 2],
    [6, 30, 3, 2],
    [12, 90, 3, 2],
  ])
  assert.is(config.backpressure.budgetBytes, 128 * 1024 * 1024)
  assert.is(config.http.host, '127.0.0.1')
  assert.ok(config.workers.count >= 1)
  const { budgetRecords, mailboxRecords } = config.backpressure
  assert.is(budgetRecords, 2.5 * config.commit.lanes * config.commit.maxRecords, 'auto follows the commits')
  assert.is(mailboxRecords, budgetRecords / 8)
})

test('durations and sizes of the file are numbers whose names say the unit', () => {
  const { config } = load(
    `${required}workers: { drainDeadline: 90s, creditBytes: 1MiB }\nbackpressure: { budgetBytes: 268435456 }`,
  )
  assert.is(config.workers.drainDeadlineMs, 90_000)
  assert.is(config.workers.creditBytes, 1_048_576)
  assert.is(config.backpressure.budgetBytes, 268_435_456)
})

test('flags win over the environment, the environment over the file, the file over defaults', () => {
  const env = { TENANTRY_HTTP__PORT: '2', TENANTRY_HTTP__HOST: '::1', LOG_LEVEL: 'debug' }
  const { config, tree } = load(`${required}http: { port: 1, host: 0.0.0.0, allowedHosts: a.example }`, {
    env,
    flags: [{ key: 'http.port', value: '3', flag: '--port' }],
  })
  assert.equal(config.http, { enabled: true, host: '::1', port: 3, allowedHosts: ['a.example'] })
  assert.is(config.log.level, 'debug')
  const from = (key: string) => tree.origin(['http', key])
  assert.equal(from('port'), { kind: 'flag', where: '--port' })
  assert.equal(from('host'), { kind: 'environment', where: 'TENANTRY_HTTP__HOST' })
  assert.equal(from('allowedHosts'), { kind: 'file', where: 'tenantry.yml:3:33' })
  assert.equal(from('enabled'), { kind: 'default', where: 'default' })
})

test('well-known variables give way to ours, and an empty variable is not set', () => {
  const env = {
    DATABASE_URL: 'postgres://a@b/c',
    TENANTRY_POSTGRES__URL: 'postgres://x@y/z',
    KAFKA_BROKERS: 'a:1, b:2',
    LOG_LEVEL: '',
    TENANTRY_LOG__LEVEL: '',
  }
  const { config } = load('', { env })
  assert.is(config.postgres.url, 'postgres://x@y/z')
  assert.equal(config.kafka.brokers, ['a:1', 'b:2'])
  assert.is(config.log.level, 'info')
})

test('a variable with _FILE names a file that holds the value', () => {
  const secret = join(folder, 'password')
  writeFileSync(secret, 'from-a-file\n')
  const env = {
    TENANTRY_KAFKA__SASL__PASSWORD_FILE: secret,
    TENANTRY_KAFKA__SASL__MECHANISM: 'SCRAM-SHA-512',
    TENANTRY_KAFKA__SASL__USERNAME: 'me',
  }
  assert.is(load(required, { env }).config.kafka.sasl?.password, 'from-a-file')
  assert.match(
    problems('', { env: { DATABASE_URL_FILE: join(folder, 'not-there') } })[0] ?? '',
    /^DATABASE_URL_FILE: postgres\.url: the file it names cannot be read/,
  )
  assert.match(
    problems('', { env: { DATABASE_URL_FILE: secret, DATABASE_URL: 'postgres://a/b' } })[0] ?? '',
    /DATABASE_URL is set, too/,
  )
})

test('the environment reaches topics and groups by their names, and driver keys', () => {
  const env = {
    TENANTRY_TOPICS__CORE_COMMANDS_V1__PARTITIONS: '3',
    TENANTRY_GROUPS__ACTUATOR__START: 'latest',
    TENANTRY_KAFKA__CONFLUENT__SOCKET_KEEPALIVE_ENABLE: 'true',
  }
  const { config } = load(required, { env })
  assert.is(config.topics['core.commands.v1']?.partitions, 3)
  assert.is(config.groups['actuator']?.start, 'latest')
  assert.equal(config.kafka.confluent, { 'socket.keepalive.enable': true })
})

test('variables that only look like ours are left alone, with a word about those that were probably meant', () => {
  const { warnings } = load(required, {
    env: { TENANTRY_SERVICE_HOST: '10.0.0.1', TENANTRY_PORT: 'tcp://10.0.0.1:9464', TENANTRY_LOG_LEVEL: 'debug' },
  })
  assert.equal(warnings, ['TENANTRY_LOG_LEVEL is not read; did you mean TENANTRY_LOG__LEVEL?'])
})

test('an unknown key is an error with file, line and the nearest known name', () => {
  assert.equal(problems('http:\n  prot: 1'), ['tenantry.yml:2:3: http.prot: unknown key: did you mean http.port?'])
  assert.equal(problems('\nkafak: {}'), ['tenantry.yml:2:1: kafak: unknown key: did you mean kafka?'])
  assert.equal(problems('http: { brokers: a }'), [
    'tenantry.yml:1:9: http.brokers: unknown key here: did you mean kafka.brokers?',
  ])
  assert.match(problems('http: { xyzzyx: 1 }')[0] ?? '', /unknown key: http has enabled, host, port, allowedHosts$/)
  assert.equal(problems('', { env: { TENANTRY_HTTP__PROT: '1' } }), [
    'TENANTRY_HTTP__PROT: unknown: did you mean TENANTRY_HTTP__PORT?',
  ])
  assert.equal(problems('', { flags: [{ key: 'http.prot', value: '1', flag: '--set' }] }), [
    '--set: unknown key http.prot: did you mean http.port?',
  ])
})

test('every problem of a file is told at once', () => {
  const found = problems('http: { port: x }\nlog: { level: loud }\nworkers: { drainDeadline: 10, count: 0 }')
  assert.equal(found.toSorted(), [
    'tenantry.yml:1:9: http.port: expected a whole number from 0 to 65535, got "x"',
    'tenantry.yml:2:8: log.level: expected one of debug, info, warn, error, silent, got "loud"',
    'tenantry.yml:3:12: workers.drainDeadline: expected a duration such as "250ms", "30s", "5m", "7d" (a number needs its unit), got 10',
    'tenantry.yml:3:31: workers.count: expected auto, or a whole number from 1 to 1024, got 0',
  ])
})

test('what is wrong in a list is told of its place there', () => {
  const [delay = '', ...others] = problems(`${required}retry: { delays: [1s, 2] }\n`)
  assert.match(delay, /: retry\.delays\.1: expected a duration such as .* \(a number needs its unit\)$/)
  assert.equal(others, [])
})

test('what is wrong in two ways is told once', () => {
  assert.equal(problems('http: { port: 99999999999999999999 }'), [
    'tenantry.yml:1:9: http.port: expected a whole number from 0 to 65535, got 100000000000000000000',
  ])
})

test("YAML's traps are errors with a position", () => {
  const traps: Readonly<Record<string, RegExp>> = {
    'http:\n\tport: 1': /^tenantry\.yml:2:\d+: a tab indents this line/,
    'http: { port: 1 }\nhttp: { port: 2 }': /^tenantry\.yml:2:1: this key stands twice/,
    'http:\n  port: 1\n  port: 2': /^tenantry\.yml:3:3: this key stands twice/,
    'http: { enabled: no }': /^tenantry\.yml:1:9: http\.enabled: expected true or false, got "no"$/,
    'http: { port: 012 }': /^tenantry\.yml:1:15: http\.port: starts with a zero: write 12/,
    'http: { port: }': /^tenantry\.yml:1:\d+: http\.port: has no value/,
    'http: 5': /^tenantry\.yml:1:7: http: expected keys/,
    'http: [1]': /^tenantry\.yml:1:7: http: expected keys/,
    'http: { host: { a: 1 } }': /^tenantry\.yml:1:15: http\.host: expected a value, not keys/,
    'kafka: { brokers: [[a]] }': /kafka\.brokers: expected a list of plain values/,
    'a: 1\n---\nb: 2': /several documents/,
    'http: { port: *nowhere }': /^tenantry\.yml:1:15/,
    '? [a]\n: 1': /./,
    '__proto__: { polluted: 1 }': /unknown key/,
    'groups: { __proto__: { start: latest } }': /unknown key/,
    '"unclosed': /^tenantry\.yml:1:/,
    'just text': /^tenantry\.yml:1:1: expected keys/,
    'http: !!js/function x': /./,
  }
  for (const [text, expected] of Object.entries(traps)) assert.match(problems(text)[0] ?? 'no problem', expected, text)
})

test('a section without content is as if it were not there', () => {
  assert.is(load(`${required}http:\nlog: {}\ngroups:\n  audit:\n`).config.groups['audit']?.start, 'error')
  assert.equal(problems(''), [])
  assert.equal(problems('# nothing\n'), [])
})

test('a file may have a byte order mark and any line ends; what is no file of text is refused in a sentence', () => {
  const path = join(folder, 'tenantry.yml')
  const said = (content: string | Uint8Array) => {
    writeFileSync(path, content)
    return problemsOf({ cwd: folder })
  }
  for (const text of [
    '\uFEFFhttp: { port: 1 }\r\nlog: {}\r\n',
    '\uFEFF',
    '\r\n\r\n',
    '%YAML 1.2\n---\nhttp: {}\n...\n',
  ])
    assert.equal(said(text), [], JSON.stringify(text))
  assert.equal(said('\uFEFFhttp:\r\n  prot: 1\r\n'), [
    'tenantry.yml:2:3: http.prot: unknown key: did you mean http.port?',
  ])
  const notText = 'tenantry.yml: is no UTF-8 text: save it as UTF-8'
  assert.equal(said(Buffer.from('redis: { url: "redis://:m\u00fcll@h" }', 'latin1')), [notText])
  assert.equal(said(Buffer.from('\uFEFFhttp: {}', 'utf16le')), [notText])
  assert.equal(said('http: { host: "a\0b" }'), ['tenantry.yml: is no text: there is a NUL character in it'])
  rmSync(path)

  const named = (file: string) => problemsOf({ cwd: folder, file })
  assert.equal(named('.'), ['.: is a folder: name a file in it'])
  assert.equal(named('/dev/zero'), ['/dev/zero: is larger than 1MiB'])
  assert.equal(named('not/there.yml'), ['--config: there is no file not/there.yml'])
  assert.match(named('a\0b')[0] ?? '', /there is no file/)
  assert.equal(named('/dev/null'), [])
  mkdirSync(path)
  assert.equal(problemsOf({ cwd: folder }), ['tenantry.yml: is a folder: name a file in it'])
  rmSync(path, { recursive: true })
})

test('a file with a secret must be text, too', () => {
  const secret = join(folder, 'secret')
  const said = (content: string | Uint8Array) => {
    writeFileSync(secret, content)
    return problems('', { env: { DATABASE_URL_FILE: secret } })
  }
  assert.equal(said('\uFEFFpostgres://u:p%2Fq@h/d\r\n'), [])
  assert.equal(said(Buffer.from('postgres://u:m\u00fcll@h/d', 'latin1')), [
    'DATABASE_URL_FILE: postgres.url: the file it names is no UTF-8 text: save it as UTF-8',
  ])
  assert.equal(problems('', { env: { DATABASE_URL_FILE: '/dev/zero' } }), [
    'DATABASE_URL_FILE: postgres.url: the file it names is larger than 256KiB',
  ])
})

test('aliases work, and a bomb of them is refused before it grows', () => {
  const { config } = load(`${required}groups:\n  a: &g { start: latest }\n  b: *g\n`)
  assert.is(config.groups['b']?.start, 'latest')
  const bomb = ['a: &a ["x","x","x","x","x","x","x","x","x","x"]']
  for (let level = 1; level < 12; level++) {
    const last = String.fromCharCode(96 + level)
    const next = String.fromCharCode(97 + level)
    bomb.push(`${next}: &${next} [${Array.from({ length: 10 }, () => `*${last}`).join(',')}]`)
  }
  const started = performance.now()
  assert.ok(problems(bomb.join('\n')).length > 0)
  assert.ok(
    problems(
      `groups:\n  a: &g { start: latest }\n${Array.from({ length: 200 }, (_, i) => `  g${i}: *g`).join('\n')}`,
    ).some((line) => line.includes('more than 100 aliases')),
  )
  assert.ok(performance.now() - started < 5_000)
  assert.match(problems(`a: "${'x'.repeat(1024 * 1024)}"`)[0] ?? '', /larger than 1MiB/)
})

test('the file takes values from the environment, and a missing variable is named with its line', () => {
  const text = `${required}http: { port: "\${PORT}", host: "\${HOST:-127.0.0.9}", allowedHosts: ["\${NAME}", "a$$b"] }`
  const { config } = load(text, { env: { PORT: '81', NAME: 'n' } })
  assert.equal(config.http, { enabled: true, host: '127.0.0.9', port: 81, allowedHosts: ['n', 'a$b'] })
  assert.equal(problems('postgres:\n  url: ${NOT_SET}'), [
    'tenantry.yml:2:8: postgres.url: the environment variable NOT_SET is not set: set it, or write ${NOT_SET:-value}',
  ])
  assert.equal(problems('kafka:\n  brokers: ${NOT_SET}'), [
    'tenantry.yml:2:12: kafka.brokers: the environment variable NOT_SET is not set: set it, or write ${NOT_SET:-value}',
  ])
})

test('what a command needs is asked for, and nothing else', () => {
  assert.equal(problems('', { needs: ['postgres'] }), [
    'postgres.url: is required: set it in tenantry.yml, or DATABASE_URL=postgres://user@host/database',
  ])
  assert.equal(problems('', { needs: ['kafka'] }), [
    'kafka.brokers: is required: set it in tenantry.yml, or KAFKA_BROKERS=host:port',
  ])
})

test("an address that PostgreSQL's driver cannot read is refused, and not quoted", () => {
  const wrong = [
    'mysql://u:SECRET-1@h/d',
    'postgres://u:SECRET-1@h:99999/d',
    'postgres://u:SECRET-1@h:port/d',
    'postgres://u:SECRET-1/2@h/d',
    'postgres://u:SECRET-1%@h/d',
    'postgres://u:SECRET-1@h,i:99999/d',
    'postgres://u:SECRET-1@[::1]:5432/d',
  ]
  for (const key of ['url', 'migrateUrl'])
    for (const address of wrong) {
      const [first = '', ...more] = problems(`postgres:\n  ${key}: "${address}"`)
      assert.is(
        first.indexOf(`tenantry.yml:2:3: postgres.${key}: is no address: expected postgres://user@host`),
        0,
        first,
      )
      assert.not(first.includes('SECRET'))
      assert.equal(more, [])
    }
  for (const right of ['postgres://h', 'postgresql://u:p%2Fq@h/d?sslmode=require', 'postgres://u@h,i:5433/d'])
    assert.equal(problems(`postgres:\n  url: "${right}"`), [], right)
})

test('driver keys pass through, and those that break a guarantee are refused with the reason', () => {
  const { config } = load(`${required}consumer: { confluent: { fetch.min.bytes: 1000, enable.auto.commit: false } }`)
  assert.equal(config.consumer.confluent, { 'fetch.min.bytes': 1_000, 'enable.auto.commit': false })
  const refused = [
    'enable.auto.commit: true',
    'enable.auto.commit: "true"',
    'enable.auto.offset.store: true',
    'auto.offset.reset: earliest',
    'topic.auto.offset.reset: earliest',
    'isolation.level: read_uncommitted',
    'partition.assignment.strategy: range',
    'group.protocol: classic',
    'acks: 1',
    'enable.idempotence: false',
    'max.in.flight: 5',
    'transactional.id: x',
  ]
  for (const key of refused) {
    const [problem = 'no problem', more] = problems(`kafka:\n  confluent:\n    ${key}\n`)
    assert.match(problem, /^tenantry\.yml:3:5: kafka\.[a-z]+\.[A-Za-z.]+: cannot be set: ./, key)
    assert.is(more, undefined)
  }
  assert.ok(problems('groups: { g: { confluent: { group.id: x } } }')[0]?.includes('cannot be set'))
})

test('secrets are shown nowhere: print, explain, errors', () => {
  const marks = ['SECRET-1', 'SECRET-2', 'SECRET-3', 'SECRET-4', 'SECRET-5']
  const text = [
    'kafka:',
    '  brokers: ["k:9092"]',
    '  tls: { enabled: true, keyPassword: SECRET-1 }',
    '  sasl: { mechanism: PLAIN, username: me, password: SECRET-2 }',
    '  confluent: { ssl.keystore.password: SECRET-3 }',
    'postgres: { url: "postgres://u:SECRET-4@h/d" }',
    'redis: { url: "redis://:SECRET-5@h" }',
  ].join('\n')
  const loaded = load(text)
  const everything =
    printed(loaded) +
    JSON.stringify(
      [...new Set([...valueKeys()].map(({ path }) => path[0] ?? ''))].map((section) => explain(loaded, section)),
    )
  for (const mark of marks) {
    assert.not(everything.includes(mark), mark)
    assert.not(loaded.redact(`before ${mark} after`).includes(mark), mark)
  }
  const wrong = [
    'kafka: { sasl: { mechanism: PLAIN, username: me, password: [SECRET-1] } }',
    'kafka: { confluent: { sasl.password: SECRET-2 } }',
    'postgres: { url: "SECRET-3" }',
    'postgres: { url: { a: SECRET-4 } }',
    'redis: { url: "http://x:SECRET-5@h" }',
    'kafka: { tls: { key: SECRET-1 } }\nkafka: 1',
    'kafka: { sasl: { password: SECRET-1',
    'http: { host: "postgres://u:SECRET-1@h", port: "postgres://u:SECRET-2@h" }',
  ]
  for (const file of wrong) {
    const found = problems(file)
    assert.ok(found.length > 0, file)
    for (const mark of marks) assert.not(found.join('\n').includes(mark), `${mark} in: ${found.join('\n')}`)
  }
})

test('actors get the environment without what configures tenantry, and without its secrets by other names', () => {
  const env = {
    DATABASE_URL: 'postgres://me:s3cret-word@db/x',
    KAFKA_BROKERS_FILE: '',
    TENANTRY_LOG__LEVEL: 'warn',
    TENANTRY_PORT: 'tcp://10.0.0.1',
    PGPASSWORD: 's3cret-word',
    ADS_API_KEY: 'another',
    PATH: '/bin',
  }
  assert.equal(load(required, { env }).actorsEnvironment, {
    TENANTRY_PORT: 'tcp://10.0.0.1',
    ADS_API_KEY: 'another',
    PATH: '/bin',
  })
})

test('secrets do not belong in flags', () => {
  const flags = (key: string, value: string) => problems('', { flags: [{ key, value, flag: '--set' }] })
  assert.match(flags('kafka.sasl.password', 'x')[0] ?? '', /a secret on the command line/)
  assert.match(flags('postgres.url', 'postgres://u:p@h/d')[0] ?? '', /a secret on the command line/)
  assert.equal(flags('postgres.url', 'postgres://u@h/d'), [])
})

test('PEM may be given as a path, relative to the file, or as it is', () => {
  mkdirSync(join(folder, 'pki'), { recursive: true })
  const pem = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'
  writeFileSync(join(folder, 'pki', 'ca.pem'), pem)
  writeFileSync(join(folder, 'pki', 'not.pem'), 'hello')
  assert.is(load(`${required.replace('}', ', tls: { enabled: true, ca: pki/ca.pem } }')}`).config.kafka.tls.ca, pem)
  assert.match(
    problems('kafka: { tls: { enabled: true, ca: pki/not.pem } }')[0] ?? '',
    /^tenantry\.yml:1:32: kafka\.tls\.ca: the file is not PEM/,
  )
  assert.match(
    problems('kafka: { tls: { enabled: true, ca: pki/none.pem } }')[0] ?? '',
    /is not PEM itself, and the file of that name cannot be read/,
  )
  assert.match(problems('kafka: { tls: { enabled: true, cert: pki/ca.pem } }')[0] ?? '', /kafka\.tls\.key: is required/)
})

test('values that contradict each other are errors', () => {
  assert.match(
    problems('topics: { t: { replicationFactor: 1 } }')[0] ?? '',
    /minInSyncReplicas: 2 is more than replicationFactor 1/,
  )
  assert.equal(problems('topics:\n  t:\n    configs: { min.insync.replicas: 1, retention.ms: 5 }'), [
    'tenantry.yml:3:40: topics.t.configs.retention.ms: is retention here: set that instead',
    'tenantry.yml:3:16: topics.t.configs.min.insync.replicas: is minInSyncReplicas here: set that instead',
  ])
  assert.match(
    problems('commit: { maxBytes: 64MiB }\nbackpressure: { budgetBytes: 8MiB }')[0] ?? '',
    /commit\.maxBytes: is more than/,
  )
  assert.match(problems('commit: { backoffMin: 10s }')[0] ?? '', /backoffMin: is more than/)
  assert.match(
    problems('backpressure: { budgetRecords: 1000, mailboxRecords: 501 }')[0] ?? '',
    /mailboxRecords: is more than half/,
  )
})

test('a group may start at a time, which becomes milliseconds', () => {
  assert.is(
    load(`${required}groups: { g: { start: "2026-11-01T00:00:00Z" } }`).config.groups['g']?.start,
    Date.parse('2026-11-01T00:00:00Z'),
  )
  assert.match(problems('groups: { g: { start: 2026-11-01 } }')[0] ?? '', /expected earliest, latest, error, or a time/)
})

test('keys kept for less time than their topic are told about', () => {
  const { config, warnings } = load(`${required}retention: { keys: 8d }\ngroups: { g: { topics: [core.events.v1] } }`)
  assert.ok(
    warnings.some((warning) => warning.startsWith('retention.keys is shorter than core.events.v1 keeps its records')),
  )
  assert.equal(keyRetentionWarnings(config, ['core.commands.v1', 'unknown']), [])
})

test('explain says value, origin, type and default, of a key with dots in it, too', () => {
  const loaded = load(`${required}topics:\n  core.commands.v1:\n    partitions: 24\n`)
  assert.equal(explain(loaded, 'topics.core.commands.v1.partitions'), [
    {
      key: 'topics.core.commands.v1.partitions',
      value: 24,
      origin: { kind: 'file', where: 'tenantry.yml:5:5' },
      default: 12,
      type: 'whole number from 1 to 10000',
      doc: 'How many partitions. Apply may add some, never remove one.',
    },
  ])
  const [workers] = explain(loaded, 'workers.count')
  assert.is(workers?.value, 'auto')
  assert.is(workers?.effective, loaded.config.workers.count)
  assert.is(explain(loaded, 'kafka.sasl').length, 3)
  assert.throws(() => explain(loaded, 'kafka.brokrs'), /did you mean kafka\.brokers\?/)
})

test('what is printed is a file that gives the same configuration', () => {
  const first = load(
    `${required}groups: { g: { start: latest, instanceId: "no" } }\nhttp: { allowedHosts: ["*"] }\nlog: { level: warn }`,
  )
  const second = load(printed(first))
  assert.equal(second.config, first.config)
})

test('every key has a line of documentation', () => {
  for (const { path, shape } of valueKeys())
    if (!path.includes('<key>') && path.at(-1) !== '<key>')
      assert.ok(shape.doc.length > 5 || path.includes('configs'), path.join('.'))
  assert.is(shapeAt(['http', 'nothing']), undefined)
})

test('the cores are those of the affinity and of every control group above the process', () => {
  const files = (content: Readonly<Record<string, string>>) => (path: string) => content[path]
  assert.is(usableCores(8, files({})), 8)
  assert.is(
    usableCores(
      8,
      files({
        '/proc/self/cgroup': '0::/a/b\n',
        '/sys/fs/cgroup/a/b/cpu.max': 'max 100000\n',
        '/sys/fs/cgroup/a/cpu.max': '250000 100000\n',
      }),
    ),
    2,
  )
  assert.is(usableCores(8, files({ '/proc/self/cgroup': '0::/\n', '/sys/fs/cgroup/cpu.max': '50000 100000\n' })), 1)
  const v1 = {
    '/proc/self/cgroup': '4:cpu,cpuacct:/x\n',
    '/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us': '300000',
    '/sys/fs/cgroup/cpu/x/cpu.cfs_period_us': '100000',
  }
  assert.is(usableCores(8, files(v1)), 3)
  assert.is(usableCores(8, files({ ...v1, '/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us': '-1' })), 8)
})

test('dead letters go to their topic, to another, or with `off` to none', () => {
  const topic = (text: string) => load(`${required}${text}`).config.deadLetters.topic
  assert.is(topic(''), 'sys.deadletter.v1')
  assert.is(topic('deadLetters: { topic: given.up }'), 'given.up')
  assert.is(topic('deadLetters: { topic: off }'), null)
  assert.is(load(required, { env: { TENANTRY_DEAD_LETTERS__TOPIC: 'off' } }).config.deadLetters.topic, null)
  assert.match(
    problems(`${required}deadLetters: { topic: 'a b' }`)[0] ?? '',
    /deadLetters\.topic: expected a topic's name/,
  )
})

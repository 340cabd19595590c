import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { CommanderError } from 'commander'
import * as assert from 'uvu/assert'
import { parse } from 'yaml'
import { z } from 'zod'
import { exitCode, exitCodeOf, exitCodes } from '../../cli/exit.ts'
import { printable } from '../../cli/output.ts'
import { ConfigError } from '../../core/config/problems.ts'
import { TenantryError } from '../../core/errors.ts'
import { after, before, test } from '../harness.ts'
import { eventually } from '../services.ts'
import { type CliResult, runCli, startCli } from '../spawn-cli.ts'

const actors = fileURLToPath(new URL('../fixtures/actors/worker-pool', import.meta.url))
const servers = { KAFKA_BROKERS: '127.0.0.1:1', DATABASE_URL: 'postgres://nobody:SECRET-1@127.0.0.1:1/none' }
let folder = ''

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'tenantry-cli-'))
})

after(() => rmSync(folder, { recursive: true, force: true }))

function run(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<CliResult> {
  return runCli(args, { cwd: folder, env })
}

/** The one JSON error on standard error. */
function errorOf({ stderr }: CliResult) {
  return z
    .object({ error: z.looseObject({ code: z.string(), message: z.string(), exit: z.number() }) })
    .parse(JSON.parse(stderr)).error
}

test('help is data, names the exit codes, and ends with 0', async () => {
  const { code, stdout, stderr } = await run(['--help'])
  assert.is(code, 0)
  assert.is(stderr, '')
  for (const { code: number, meaning } of exitCodes) assert.ok(stdout.includes(`${number}  ${meaning}`), meaning)
})

test('a wrong command line ends with 2, says what was probably meant, and writes no data', async () => {
  const cases: readonly (readonly [args: readonly string[], said: RegExp])[] = [
    [['confg'], /Did you mean config\?/],
    [['config', 'prnt'], /Did you mean print\?/],
    [['config', 'print', '--jsn'], /Did you mean --json\?/],
    [['config', 'explain'], /missing required argument 'key'/],
    [['config', 'explain', 'http.prot'], /did you mean http\.port\?.*TENANTRY_CONFIG_UNKNOWN_KEY/],
    [['config', 'print', '--set', 'http.port'], /KEY=VALUE.*TENANTRY_USAGE/],
    [['start', '--json'], /"code":"TENANTRY_USAGE","message":"--json goes with --check/],
    [['dev', 'logs', 'postgres', '-n', 'abc'], /'abc' is invalid.*whole number/],
    [['dev', 'logs', 'postgres', '-n', '0'], /'0' is invalid.*whole number/],
    [['dlq', 'show'], /missing required argument 'id'/],
    [['dlq', 'show', '0'], /'0' is invalid.*number of a dead letter/],
    [['dlq', 'list', '--state', 'opn'], /Allowed choices are open, discarded, replayed, all/],
    [['dlq', 'list', '--limit', '0'], /whole number from 1 to 9999/],
    [['dlq', 'list', '--error', ''], /'' is invalid.*A text is wanted/],
    [['dlq', 'list', '--since', '0000-01-01'], /A time is wanted/],
    [['stuck', '--url', 'http://me:SECRET@127.0.0.1'], /takes no user and no password.*TENANTRY_USAGE/],
    [['config'], /Usage: tenantry config/],
    [[], /Usage: tenantry/],
  ]
  for (const [args, said] of cases) {
    const { code, stdout, stderr } = await run(args)
    assert.is(code, 2, args.join(' '))
    assert.match(stderr, said)
    assert.not.match(stderr, 'SECRET')
    assert.is(stdout, '', args.join(' '))
  }
})

test('with --json a wrong command line is one JSON object, too', async () => {
  const cases: readonly (readonly [args: readonly string[], said: RegExp])[] = [
    [['stuck', '--bogus'], /^unknown option '--bogus'/],
    [['dlq', 'lst'], /^unknown command 'lst'/],
    [['dlq', 'show', '0'], /'0' is invalid.*number of a dead letter/],
    [['dlq'], /^unknown option '--json'/],
  ]
  for (const [args, said] of cases) {
    const result = await run([...args, '--json'])
    assert.equal([result.code, result.stdout], [2, ''], args.join(' '))
    const { code, message, exit } = errorOf(result)
    assert.equal([code, exit], ['TENANTRY_USAGE', 2])
    assert.match(message, said)
  }
})

test('config print gives YAML with origins and no secrets; warnings are not among the data', async () => {
  writeFileSync(
    join(folder, 'printed.yml'),
    'kafka:\n  sasl: { mechanism: PLAIN, username: me, password: "SECRET-2" }\n',
  )
  const { code, stdout, stderr } = await run(['config', 'print', '-c', 'printed.yml', '--set', 'http.port=0'], servers)
  assert.is(code, 0)
  assert.match(stdout, /^ {2}port: 0 # --set http\.port$/m)
  assert.match(stdout, /^ {4}mechanism: PLAIN # printed\.yml:2:11$/m)
  assert.match(stdout, /postgres:\/\/nobody:\*+@127\.0\.0\.1:1\/none" # DATABASE_URL/)
  assert.not(/SECRET/.test(stdout + stderr))
  assert.match(stderr, /^Warning: kafka\.sasl: PLAIN without kafka\.tls/)
  assert.is(z.looseObject({ http: z.looseObject({ port: z.number() }) }).parse(parse(stdout)).http.port, 0)
})

test('config print --json gives configuration and origins', async () => {
  const { code, stdout } = await run(['config', 'print', '--json'], servers)
  assert.is(code, 0)
  const printed = z
    .object({
      config: z.looseObject({}),
      origins: z.record(z.string(), z.looseObject({ where: z.string() })),
      file: z.null(),
    })
    .parse(JSON.parse(stdout))
  assert.is(printed.origins['kafka.brokers']?.where, 'KAFKA_BROKERS')
  assert.is(printed.origins['topics.core.commands.v1.partitions']?.where, 'default')
})

test('JSON is one line, the last and the only one', async () => {
  for (const args of [
    ['config', 'print'],
    ['config', 'validate'],
    ['config', 'explain', 'http'],
    ['dev', 'status'],
  ])
    assert.match((await run([...args, '--json'], { ...servers, TENANTRY_DEV_ROOT: folder })).stdout, /^[{[].*[}\]]\n$/)
})

test('a wrong configuration ends with 3 and names every place', async () => {
  writeFileSync(join(folder, 'wrong.yml'), 'http:\n  prot: 1\nlog: { level: loud }\n')
  const text = await run(['config', 'validate', '-c', 'wrong.yml'], servers)
  assert.is(text.code, 3)
  assert.is(text.stdout, '')
  assert.match(text.stderr, /wrong\.yml:2:3: http\.prot: unknown key: did you mean http\.port\?/)
  assert.match(text.stderr, /wrong\.yml:3:8: log\.level: expected one of/)
  const asJson = await run(['config', 'validate', '--json', '-c', 'wrong.yml'], servers)
  assert.is(asJson.code, 3)
  assert.equal(
    z
      .object({
        valid: z.literal(false),
        file: z.literal(join(folder, 'wrong.yml')),
        problems: z.array(z.object({ where: z.string(), key: z.string(), what: z.string() })),
      })
      .parse(JSON.parse(asJson.stdout)).problems.length,
    2,
  )
  const other = await run(['topics', 'plan', '--json', '-c', 'wrong.yml'], servers)
  assert.is(other.code, 3)
  assert.is(other.stdout, '')
  assert.is(errorOf(other).code, 'TENANTRY_CONFIG_INVALID')
  assert.is((await run(['config', 'print', '-c', 'not-there.yml'])).code, 3)
})

test('a right configuration ends with 0 and is said so on standard error', async () => {
  const { code, stdout, stderr } = await run(['config', 'validate'], servers)
  assert.is(code, 0)
  assert.is(stdout, '')
  assert.match(stderr, /The configuration is valid/)
})

test('config schema is a JSON Schema', async () => {
  const { code, stdout } = await run(['config', 'schema'])
  assert.is(code, 0)
  assert.is(
    z.looseObject({ $schema: z.string(), additionalProperties: z.literal(false) }).parse(JSON.parse(stdout))
      .additionalProperties,
    false,
  )
})

test('config explain says value and origin', async () => {
  const { code, stdout } = await run(['config', 'explain', 'log.level'], { LOG_LEVEL: 'debug' })
  assert.is(code, 0)
  assert.match(stdout, /^log\.level = debug\n {2}from +LOG_LEVEL\n/)
})

test('a server that cannot be reached ends with 4, and no secret is said', async () => {
  const result = await run(['topics', 'plan', '--json'], servers)
  assert.is(result.code, 4)
  assert.is(result.stdout, '')
  const error = errorOf(result)
  assert.is(error.code, 'TENANTRY_KAFKA_UNAVAILABLE')
  assert.is(error.exit, 4)
  assert.not(result.stderr.includes('SECRET'))
})

test('where no server was started, dev says so on standard error', async () => {
  const env = { TENANTRY_DEV_ROOT: folder }
  const status = await run(['dev', 'status'], env)
  assert.equal([status.code, status.stdout], [1, ''])
  assert.match(status.stderr, /Nothing was started here yet/)
  assert.equal(JSON.parse((await run(['dev', 'status', '--json'], env)).stdout), [])
  const addresses = await run(['dev', 'env'], env)
  assert.equal([addresses.code, addresses.stdout], [1, ''])
  assert.match(addresses.stderr, /TENANTRY_DEV_NOT_RUNNING/)
})

test('where the servers’ data cannot be kept, dev up names the folder', async () => {
  const { code, stdout, stderr } = await run(['dev', 'up'], { TENANTRY_DEV_ROOT: '/dev/null' })
  assert.equal([code, stdout], [1, ''])
  assert.match(stderr, /^\/dev\/null\/\.tenantry\/dev cannot be made or written to, .*\(TENANTRY_DEV_FOLDER\)\n$/)
})

test('verify without its database ends with 4, and says that it is the database', async () => {
  const { code, stdout, stderr } = await run(['verify'], servers)
  assert.is(code, 4)
  assert.is(stdout, '')
  assert.match(stderr, /^PostgreSQL cannot be reached: .*ECONNREFUSED.*\(TENANTRY_POSTGRES_UNAVAILABLE\)$/m)
  assert.not(/SECRET|TENANTRY_BUG/.test(stderr))
})

test('a reader that has seen enough is no error', async () => {
  const { child, ended } = startCli(['config', 'schema'], { cwd: folder })
  child.stdout?.destroy()
  const { code, stderr } = await ended
  assert.is(stderr, '')
  assert.is(code, 0)
})

test('start --check prints the topology and consumes nothing', async () => {
  const groups = ['--set', 'groups.chaos.start=latest', '--set', 'groups.counter.start=earliest']
  const { code, stdout, stderr } = await run(['start', '--check', '--actors', actors, ...groups])
  assert.is(code, 0, stderr)
  assert.match(stdout, /^GROUP +TOPIC +ACTOR +START/)
  assert.match(stdout, /^counter +counter\.v1 +counter\.v1 +earliest +state, pipelined, message-id +add/m)
  assert.match(stderr, /^2 actors in 2 groups; \d+ workers?, 1 lane\.$/m)
  const missing = await run(['start', '--check', '--actors', actors])
  assert.is(missing.code, 3)
  assert.match(missing.stderr, /add groups\.chaos.*TENANTRY_GROUP_UNKNOWN/)
  assert.is((await run(['start', '--check', '--actors', 'not-there'])).code, 1)
})

test('an actor that prints, or ends the process, as it is loaded spoils neither data nor exit code', async () => {
  const file = join(folder, 'actor.js')
  const load = (text: string) => {
    writeFileSync(file, text)
    return run(['start', '--check', '--json', '--actors', file, '--set', 'groups.g.start=latest'])
  }
  const schema = `{ '~standard': { version: 1, vendor: 'own', validate: (value) => ({ value }) } }`
  const actor = `{ group: 'g', topic: 't', messages: { a: ${schema} }, receive() {} }`
  const define = JSON.stringify(new URL('../../actors/define-actor.ts', import.meta.url))
  const prints = await load(
    `import { defineActor } from ${define}\nconsole.log('printed')\nexport default defineActor(${actor})`,
  )
  assert.is(prints.code, 0, prints.stderr)
  z.looseObject({ groups: z.array(z.unknown()) }).parse(JSON.parse(prints.stdout))
  assert.is(prints.stderr, 'printed\n')
  // Bun waits where Node sees that nothing is left to wait for.
  const waits = process.versions['bun'] === undefined ? ['await new Promise(() => {})'] : []
  for (const text of [
    'process.exit(0)',
    ...waits,
    'setTimeout(() => { throw new Error() }); await new Promise(() => {})',
  ]) {
    const { code, stdout, stderr } = await load(text)
    assert.is(code, 1, text)
    assert.is(stdout, '')
    assert.match(stderr, /"code":"TENANTRY_ACTOR_UNLOADABLE","message":".*actor\.js cannot be loaded/)
  }
})

test(
  'start without its servers waits, says what for, and ends with 0 at SIGTERM',
  async () => {
    const groups = ['--set', 'groups.chaos.start=latest', '--set', 'groups.counter.start=earliest']
    const daemon = startCli(['start', '--actors', actors, '--port', '0', ...groups], { cwd: folder, env: servers })
    const url = await eventually(() => /"url":"([^"]+)"/.exec(daemon.stdout())?.[1] ?? false, {
      deadlineMs: 30_000,
      what: 'the HTTP server',
    })
    await eventually(
      async () => (await fetch(`${url}/health/ready`)).status === 503 && daemon.stdout().includes('start.waiting'),
      { deadlineMs: 30_000 },
    )
    assert.is((await fetch(`${url}/health/live`)).status, 200)
    const state = z
      .object({ ready: z.literal(false), reasons: z.array(z.string()) })
      .parse(await (await fetch(`${url}/health/ready`)).json())
    assert.ok(
      state.reasons.some((reason) => reason.startsWith('postgres')),
      state.reasons.join(', '),
    )
    daemon.child.kill('SIGTERM')
    const { code, stdout, stderr } = await daemon.ended
    assert.is(code, 0, stdout + stderr)
    for (const line of stdout.trimEnd().split('\n'))
      assert.ok(
        z
          .looseObject({ level: z.string(), event: z.string(), time: z.string(), msg: z.string() })
          .parse(JSON.parse(line)),
        line,
      )
    assert.not(/SECRET/.test(stdout + stderr))
  },
  { timeoutMs: 90_000 },
)

test(
  'start at a port that is taken ends with 7',
  async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    const address = server.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const { code, stdout } = await run(['start', '--actors', actors, '--port', String(port)], servers)
    server.close()
    assert.is(code, 7)
    assert.match(stdout, /TENANTRY_HTTP_PORT_TAKEN/)
  },
  { timeoutMs: 90_000 },
)

test('every error has its exit code', () => {
  const coded = (code: string) => Object.assign(new Error('x'), { code })
  const wrapped = (cause: Error) => new TenantryError('TENANTRY_KAFKA_UNAVAILABLE', 'x', {}, { cause })
  const refused = Object.assign(new Error('x'), { apiId: 'TOPIC_AUTHORIZATION_FAILED' })
  const cases: readonly (readonly [unknown, number])[] = [
    [new CommanderError(0, 'commander.help', 'x'), 0],
    [new CommanderError(1, 'commander.unknownOption', 'x'), 2],
    [new ConfigError([]), 3],
    [new TenantryError('TENANTRY_KAFKA_UNAVAILABLE', 'x'), 4],
    [wrapped(coded('ECONNREFUSED')), 4],
    [coded('CONNECT_TIMEOUT'), 4],
    [coded('57P03'), 4],
    [coded('28P01'), 5],
    [coded('42501'), 5],
    [wrapped(refused), 5],
    [wrapped(new AggregateError([new Error('y', { cause: refused })], 'x')), 5],
    [new TenantryError('TENANTRY_SCHEMA_OLD', 'x'), 7],
    [new TenantryError('TENANTRY_DATABASE_MISSING', 'x'), 7],
    [new TenantryError('TENANTRY_SOMETHING_ELSE', 'x'), 1],
    [new TypeError('x is not a function'), 70],
    ['a text', 70],
    [null, 70],
  ]
  for (const [error, code] of cases) assert.is(exitCodeOf(error), code, String(error))
  assert.is(exitCode('partial'), 6)
  assert.is(new Set(exitCodes.map(({ code }) => code)).size, exitCodes.length)
})

test('what a terminal would obey is taken out of errors', () => {
  assert.is(printable('a\u001b[31mred\u0007\r\n\tb\u009b'), 'a[31mred\n\tb')
})

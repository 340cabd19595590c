import { createServer, type Server, type Socket } from 'node:net'
import * as assert from 'uvu/assert'
import { Log } from '../../cli/verify/log.ts'
import { messageOf, TenantryError } from '../../core/errors.ts'
import { Cluster } from '../../core/kafka/cluster.ts'
import { PlatformaticSource } from '../../core/kafka/platformatic.ts'
import { TopicWatch } from '../../core/kafka/topic-watch.ts'
import { after, before, test } from '../harness.ts'
import { ManualClock } from '../manual-clock.ts'

// Brokers that are all frozen at once: each takes connections, and never answers.

const servers: Server[] = []
const sockets = new Set<Socket>()
let bootstrap: readonly string[] = []

before(async () => {
  bootstrap = await Promise.all([silentBroker(), silentBroker(), silentBroker()])
})

after(() => {
  for (const socket of sockets) socket.destroy()
  for (const server of servers) server.close()
})

function silentBroker(): Promise<string> {
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.resume()
  })
  servers.push(server)
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      resolve(`127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`)
    })
  })
}

function cluster(clock: ManualClock): Cluster {
  return new Cluster({ bootstrap, clientId: 'silent' }, clock)
}

test('whoever asks brokers that are all silent is told so after 8 s', async () => {
  const clock = new ManualClock()
  const asked = cluster(clock)
  let answer = ''
  const done = asked.describe('some.v1').catch((error: unknown) => {
    assert.instance(error, TenantryError)
    answer = messageOf(error)
  })
  for (let second = 1; second <= 8; second++) {
    assert.is(answer, '', `after ${second - 1} s`)
    await clock.pass(1_000)
  }
  assert.match(answer, /^Kafka did not let us describe topic some\.v1: no broker answers\. /)
  await done
})

test('the checker, too, is told after 8 s', async () => {
  const clock = new ManualClock()
  const log = new Log({ bootstrap, clientId: 'silent' }, 'silent', clock)
  let answer = ''
  const done = log.describe('some.v1').catch((error: unknown) => (answer = messageOf(error)))
  await clock.pass(7_000)
  assert.is(answer, '')
  await clock.pass(1_000)
  assert.match(answer, /^Kafka did not let us describe topic some\.v1: no broker answers\. /)
  await done
  await log.close()
})

test('a watch says after 3 s that nobody answers, and for the same reason when it has given up', async () => {
  const clock = new ManualClock()
  const heard: string[] = []
  const watch = new TopicWatch({
    cluster: cluster(clock),
    topics: ['some.v1'],
    clock,
    changed: () => heard.push('changed'),
    failed: (error) => heard.push(error.message),
    answered: () => heard.push('answered'),
  })
  watch.start()
  await clock.pass(2_000)
  assert.equal(heard, [])
  await clock.pass(1_000)
  assert.match(heard.join('\n'), /^Kafka did not let us describe topic some\.v1: no broker answers\. .*$/)
  for (let second = 4; second <= 8; second++) await clock.pass(1_000)
  assert.equal([heard.length, new Set(heard).size], [2, 1])
  watch.stop()
})

test('a source leaves it to its owner to log that nobody answers: one cause, one line', async () => {
  const clock = new ManualClock()
  const [heard, logged]: [string[], string[]] = [[], []]
  const write = (event: string) => logged.push(event)
  const source = new PlatformaticSource({
    bootstrap,
    clientId: 'silent',
    group: 'silent',
    topics: ['some.v1'],
    protocol: 'consumer',
    sessionTimeoutMs: 10_000,
    releaseTimeoutMs: 1_000,
    maxFetchBytes: 1_000_000,
    clock,
    log: { debug: write, info: write, warn: write, error: write },
  })
  const unexpected = () => heard.push('something else')
  void source.start({
    assigned: unexpected,
    revoked: unexpected,
    lost: unexpected,
    records: unexpected,
    outOfRange: unexpected,
    topicChanged: unexpected,
    troubled: ({ message }) => heard.push(message),
    recovered: unexpected,
  })
  for (let second = 1; second <= 3; second++) await clock.pass(1_000)
  assert.match(heard.join('\n'), /^Kafka did not let us describe topic some\.v1: no broker answers\. .*$/)
  assert.equal(logged, [])
  const stopped = source.stop()
  for (let second = 1; second <= 20; second++) await clock.pass(1_000)
  await stopped
})

import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Admin } from '@platformatic/kafka'
import { messageOf, TenantryError } from '../../core/errors.ts'
import { kafkaProgram } from './programs.ts'
import { createService, type Service } from './service.ts'

/** What every broker here is set to, whatever their number. compose/compose.yml has the same; a test compares them. */
export const brokerSettings: Readonly<Record<string, string>> = {
  'auto.create.topics.enable': 'false',
  'unclean.leader.election.enable': 'false',
  'num.partitions': '12',
  'offsets.topic.num.partitions': '12',
  'transaction.state.log.num.partitions': '12',
  'share.coordinator.state.topic.num.partitions': '3',
  'group.coordinator.rebalance.protocols': 'classic,consumer',
  'group.initial.rebalance.delay.ms': '0',
  // A broker that died is replaced as leader within seconds, and one that was killed may come back as soon.
  'broker.session.timeout.ms': '6000',
  'broker.heartbeat.interval.ms': '1000',
  // Shorter than the defaults, so that a member that died or froze is missed within seconds. Both protocols.
  'group.min.session.timeout.ms': '1000',
  'group.consumer.min.session.timeout.ms': '2000',
  'group.consumer.session.timeout.ms': '15000',
  'group.consumer.min.heartbeat.interval.ms': '200',
  'group.consumer.heartbeat.interval.ms': '1000',
  'group.consumer.assignment.interval.ms': '0',
}

/** What depends on the number of brokers: with three, as in production. */
export function replicationSettings(brokers: 1 | 3): Readonly<Record<string, string>> {
  const replicas = String(brokers)
  const inSync = brokers === 3 ? '2' : '1'
  return {
    'default.replication.factor': replicas,
    'min.insync.replicas': inSync,
    'offsets.topic.replication.factor': replicas,
    'transaction.state.log.replication.factor': replicas,
    'transaction.state.log.min.isr': inSync,
    'share.coordinator.state.topic.replication.factor': replicas,
    'share.coordinator.state.topic.min.isr': inSync,
  }
}

/** The two ports of a broker: for clients and brokers, and for the controllers' quorum. */
interface BrokerPorts {
  readonly broker: number
  readonly controller: number
}

/** A further listener of a broker, whose clients are told another port: a proxy's, which leads to it. */
export interface ProxiedListener {
  readonly port: number
  readonly advertisedPort: number
}

export interface KafkaOptions {
  readonly dir: string
  readonly ports: readonly BrokerPorts[]
  /** Of each broker, those in one place being of one name: who comes by one of them finds the others of its name. */
  readonly proxied: readonly (readonly ProxiedListener[])[]
  readonly keep: boolean
  /** Whether the broker's Java compiles quickly rather than well: half the CPU of a start, and less throughput. */
  readonly quickStart: boolean
  /** Settings of this cluster beyond, or instead of, ours. */
  readonly settings: Readonly<Record<string, string>>
}

/** The brokers of a KRaft cluster in combined mode, one service each. */
export function kafkaServices(options: KafkaOptions): Service[] {
  const brokers = options.ports.length === 3 ? 3 : 1
  const bootstrap = options.ports.map((ports) => `127.0.0.1:${ports.broker}`)
  const formatted = once(() => formatAll(options))
  return options.ports.map((ports, index) => {
    const node = index + 1
    const properties = propertiesOf(node, options)
    return createService({
      name: `kafka-${node}`,
      dir: options.dir,
      ports: [ports.broker, ports.controller],
      settings: properties,
      async prepare() {
        await formatted()
        writeFileSync(join(options.dir, brokerFolder(node), 'server.properties'), properties)
      },
      program() {
        const java = kafkaProgram()
        const heap = brokers === 3 ? '768m' : '1g'
        const flags = [
          `-Xmx${heap}`,
          '-Xms256m',
          '-XX:+UseG1GC',
          '-XX:MaxGCPauseMillis=20',
          '-XX:+ExplicitGCInvokesConcurrent',
          '-Djava.awt.headless=true',
          ...(options.quickStart ? ['-XX:TieredStopAtLevel=1'] : []),
        ]
        const logging = [
          '-Dorg.slf4j.simpleLogger.showDateTime=true',
          '-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS',
          '-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config=warn',
        ]
        return {
          ...java,
          args: [...flags, ...logging, ...java.args, 'kafka.Kafka', join(brokerFolder(node), 'server.properties')],
        }
      },
      probe: () => seesItself(bootstrap, index),
      stopSignal: 'SIGTERM',
      startTimeoutMs: 90_000,
      keep: options.keep,
    })
  })
}

/**
 * A broker's folder within the cluster's, which is where Java runs: in the settings no path of this machine is needed,
 * whose commas would separate folders, and whose letters Java would read as Latin ones.
 */
function brokerFolder(node: number): string {
  return `kafka-${node}`
}

function propertiesOf(node: number, options: KafkaOptions): string {
  const own = options.ports[node - 1]
  if (own === undefined) throw new RangeError(`no ports for broker ${node}`)
  const brokers = options.ports.length === 3 ? 3 : 1
  const proxied = options.proxied[node - 1] ?? []
  const listeners = (port: (listener: ProxiedListener) => number) =>
    proxied.map((listener, place) => `,PROXIED${place}://127.0.0.1:${port(listener)}`).join('')
  const settings = {
    'process.roles': 'broker,controller',
    'node.id': String(node),
    'controller.quorum.voters': options.ports.map((ports, at) => `${at + 1}@127.0.0.1:${ports.controller}`).join(','),
    listeners: `PLAINTEXT://127.0.0.1:${own.broker},CONTROLLER://127.0.0.1:${own.controller}${listeners(({ port }) => port)}`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${own.broker}${listeners(({ advertisedPort }) => advertisedPort)}`,
    'inter.broker.listener.name': 'PLAINTEXT',
    'controller.listener.names': 'CONTROLLER',
    'listener.security.protocol.map': `PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT${proxied.map((_, place) => `,PROXIED${place}:PLAINTEXT`).join('')}`,
    'log.dirs': join(brokerFolder(node), 'data'),
    ...brokerSettings,
    ...replicationSettings(brokers),
    ...options.settings,
  }
  return `${Object.entries(settings)
    .map(([key, value]) => `${key}=${value}`)
    .join('\n')}\n`
}

/** Formats the data folders that are not: the first by Kafka's own tool, the others as its copies with their own ids. */
async function formatAll(options: KafkaOptions): Promise<void> {
  const { dir } = options
  const nodes = options.ports.map((_, index) => index + 1)
  const first = nodes[0]
  const formattedOnes = nodes.filter((node) => existsSync(join(dir, brokerFolder(node), 'data/meta.properties')))
  if (first === undefined || formattedOnes.length === nodes.length) return
  if (formattedOnes.some((node) => existsSync(join(dir, brokerFolder(node), 'data/__cluster_metadata-0')))) {
    throw new TenantryError(
      'TENANTRY_DEV_KAFKA_DATA',
      `Of ${nodes.length} brokers only some have data in ${dir}: stop them and wipe it ("dev down --wipe"), then start again.`,
    )
  }
  // None has ever run: what is there is what somebody left who was killed while formatting.
  for (const node of nodes) rmSync(join(dir, brokerFolder(node)), { recursive: true, force: true })
  const formatted = join(brokerFolder(first), `data.tmp${process.pid}`)
  for (const node of nodes) mkdirSync(join(dir, brokerFolder(node)), { recursive: true })
  const configuration = join(brokerFolder(first), 'format.properties')
  writeFileSync(join(dir, configuration), `${propertiesOf(first, options)}log.dirs=${formatted}\n`)
  const java = kafkaProgram()
  const id = newId()
  const format = ['kafka.tools.StorageTool', 'format', '-t', id, '-c', configuration]
  const args = ['-Xmx256m', '-XX:TieredStopAtLevel=1', ...java.args, ...format]
  try {
    await promisify(execFile)(java.command, args, { cwd: dir, env: { ...process.env, ...java.env } })
  } catch (error) {
    throw new TenantryError(
      'TENANTRY_DEV_KAFKA_FORMAT',
      `Kafka's data folder could not be made: ${messageOf(error)}`,
      {},
      { cause: error },
    )
  }
  rmSync(join(dir, configuration))
  for (const node of nodes.slice(1)) {
    const copy = join(dir, brokerFolder(node), `data.tmp${process.pid}`)
    cpSync(join(dir, formatted), copy, { recursive: true })
    const meta = readFileSync(join(copy, 'meta.properties'), 'utf8')
    const own = meta
      .replace(/^node\.id=.*$/m, `node.id=${node}`)
      .replace(/^directory\.id=.*$/m, `directory.id=${newId()}`)
    writeFileSync(join(copy, 'meta.properties'), own)
    renameSync(copy, join(dir, brokerFolder(node), 'data'))
  }
  renameSync(join(dir, formatted), join(dir, brokerFolder(first), 'data'))
}

/** Resolves when the broker at `index` itself answers, and names itself among the living. */
async function seesItself(bootstrap: readonly string[], index: number): Promise<void> {
  const seen = await brokersSeenBy(bootstrap[index] ?? '')
  if (!seen.includes(index + 1)) throw new Error('the broker is not a member of its cluster yet')
}

/** Resolves when every broker answers and sees all of them. */
export async function allBrokersSeeAll(bootstrap: readonly string[]): Promise<void> {
  for (const own of bootstrap) {
    const seen = await brokersSeenBy(own)
    if (seen.length !== bootstrap.length) throw new Error(`${own} sees ${seen.length} of ${bootstrap.length} brokers`)
  }
}

async function brokersSeenBy(address: string): Promise<number[]> {
  const admin = new Admin({
    clientId: 'tenantry-dev',
    bootstrapBrokers: [address],
    retries: 0,
    connectTimeout: 1_000,
    timeout: 5_000,
  })
  try {
    const { brokers } = await admin.metadata({ topics: [], forceUpdate: true })
    return [...brokers.keys()]
  } finally {
    await admin.close()
  }
}

/** A Kafka id: 16 bytes in base64url. A leading dash would be read as an option. */
function newId(): string {
  const id = randomBytes(16).toString('base64url')
  return id.startsWith('-') ? newId() : id
}

function once(work: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined
  return () => {
    running ??= work()
    return running
  }
}

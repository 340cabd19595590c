import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Admin, Producer } from '@platformatic/kafka'
import * as assert from 'uvu/assert'
import { type Services, startServices } from '../../cli/dev/services.ts'
import { systemClock } from '../../core/clock.ts'
import { KafkaPublisher, type OutgoingMessage } from '../../core/kafka/producer.ts'
import { silentLog } from '../../core/log.ts'
import { after, before } from '../harness.ts'
import { eventually, freshTopic } from '../services.ts'
import { type MakeSource, Member, type MemberOptions } from './member.ts'

export const sessionMs = 4_000

/** Settings under which what takes minutes in production takes seconds. */
const quick: Readonly<Record<string, string>> = {
  'group.consumer.session.timeout.ms': String(sessionMs),
  'group.consumer.heartbeat.interval.ms': '300',
  'log.cleaner.backoff.ms': '200',
  'log.segment.delete.delay.ms': '100',
}

type Options = Partial<MemberOptions> & { readonly topics: readonly string[] }

/** A broker of its own for the tests of one source, members of groups on it, and what fills its topics. */
export class Stage {
  readonly #make: MakeSource
  readonly #name: string
  readonly #members: Member[] = []
  #groups = 0
  #cluster: Services | undefined
  #admin: Admin | undefined
  #publisher: KafkaPublisher | undefined

  /** Sets itself up before the first test of the file, and ends after the last. */
  constructor(name: string, make: MakeSource) {
    this.#name = name
    this.#make = make
    before(() => this.#start())
    after(() => this.#stop())
  }

  get cluster(): Services {
    if (!this.#cluster) throw new Error('the stage has not been set up')
    return this.#cluster
  }

  get bootstrap(): readonly string[] {
    return this.cluster.kafkaAddress.split(',')
  }

  get admin(): Admin {
    this.#admin ??= new Admin({ clientId: 'contract', bootstrapBrokers: [...this.bootstrap] })
    return this.#admin
  }

  /** The group of the member that joined last. */
  get group(): string {
    return `contract-${this.#name}-${this.#groups}`
  }

  topic(partitions: number, config: Readonly<Record<string, string>> = {}): Promise<string> {
    return freshTopic({ partitions, config, kafka: this.cluster.kafkaAddress, name: 'contract' })
  }

  /** A started member: of a new group, unless `options` name one. */
  async join(options: Options): Promise<Member> {
    if (options.group === undefined) this.#groups += 1
    const member = await Member.create(this.#make, { bootstrap: this.bootstrap, group: this.group, ...options })
    this.#members.push(member)
    await member.start()
    return member
  }

  /** A started member that owns `partitions` partitions. */
  async owner(partitions: number, options: Options): Promise<Member> {
    const member = await this.join(options)
    await eventually(() => member.assignedNow.size === partitions, { what: 'all partitions are assigned' })
    return member
  }

  async send(messages: readonly OutgoingMessage[]): Promise<void> {
    this.#publisher ??= new KafkaPublisher({
      bootstrap: this.bootstrap,
      clientId: 'contract',
      clock: systemClock,
      log: silentLog,
    })
    const deliveries = await this.#publisher.send(messages)
    assert.ok(deliveries.every(({ kind }) => kind === 'delivered'))
  }

  /** Writes the numbers from `from` on, `count` of them, as text of at least `bytes` characters. */
  fill(topic: string, partition: number, from: number, count: number, bytes = 1): Promise<void> {
    const values = numbers(from, count).map((value) => Buffer.from(value.padStart(bytes, '0')))
    return this.send(values.map((value) => ({ topic, partition, key: null, value, headers: [] })))
  }

  transactional(): Producer {
    return new Producer({
      clientId: 'contract',
      bootstrapBrokers: [...this.bootstrap],
      idempotent: true,
      transactionalId: `contract-${this.#name}-${performance.now()}`,
    })
  }

  /** One transaction with `values` in partition 0, in batches of `chunk`. */
  async transaction(
    producer: Producer,
    topic: string,
    values: readonly string[],
    end: 'commit' | 'abort',
    chunk = values.length,
  ): Promise<void> {
    const running = await producer.beginTransaction()
    for (let i = 0; i < values.length; i += chunk) {
      const messages = values.slice(i, i + chunk).map((value) => ({ topic, partition: 0, value: Buffer.from(value) }))
      await running.send({ messages })
    }
    await (end === 'commit' ? running.commit() : running.abort())
  }

  async #start(): Promise<void> {
    this.#cluster = await startServices({
      dir: mkdtempSync(join(tmpdir(), 'contract-')),
      brokers: 1,
      kafka: true,
      postgres: false,
      redis: false,
      kafkaSettings: quick,
    })
  }

  async #stop(): Promise<void> {
    await Promise.all(this.#members.map((member) => member.stop()))
    await this.#publisher?.stop()
    await this.#admin?.close()
    await this.#cluster?.wipe()
  }
}

export function numbers(from: number, count: number): string[] {
  return Array.from({ length: count }, (_, i) => String(from + i))
}

import { isForeign } from '../../core/foreign-offset.ts'
import type { TopicPartition } from '../../core/kafka/source.ts'
import { suspectLimit } from '../../core/postgres/ownership.ts'
import type { PartitionRef } from '../../core/postgres/transactions.ts'
import { Chaos, type Marks } from './chaos.ts'
import { Checker } from './checker.ts'
import { Dependency } from './dependency.ts'
import { EventLoop, type Process } from './event-loop.ts'
import { KafkaCluster } from './kafka-cluster.ts'
import { KafkaGroup, keyOf } from './kafka-group.ts'
import { operate } from './operator.ts'
import { PostgresServer } from './postgres-server.ts'
import { type Applied, refKey } from './postgres-tables.ts'
import { LongPauses } from './long-pauses.ts'
import { QuietPartitions } from './quiet-partitions.ts'
import type { Schedule, Strike, StrikeKind } from './schedule.ts'
import { SeededRandom } from './seeded-random.ts'
import { actorsOf, SimulatedDaemon } from './simulated-daemon.ts'
import { Strikes } from './strikes.ts'
import { Settled } from './settled.ts'
import type { Violation } from './violation.ts'
import { Workload } from './workload.ts'

const sessionMs = 3_000
/** Strikes by which an owner may be lost. */
const losing: ReadonlySet<StrikeKind> = new Set<StrikeKind>([
  'kill',
  'freeze',
  'cut kafka',
  'kafka away',
  'expire session',
  'shuffle assignment',
  'reset offsets',
])
/** Faults over, everything must have drained within this much virtual time. */
const settleMs = 240_000
/** While a record ends its process: an owner's time from its start to its end, in which some run alone, and end. */
const ownerMs = 5_000
const lookMs = 400

export type WorldOptions = {
  readonly schedule: Schedule
  readonly marks: Marks
  /** Gets what happens, for people to read. */
  readonly trace: ((at: number, who: string, what: string) => void) | null
}

/** Kafka, PostgreSQL and daemons in one virtual time, made from a schedule. */
export class World {
  readonly schedule: Schedule
  readonly marks: Marks
  readonly loop: EventLoop
  readonly chaos: Chaos
  readonly cluster: KafkaCluster
  readonly server: PostgresServer
  readonly dependency: Dependency
  readonly groups: readonly KafkaGroup[]
  readonly checker: Checker
  readonly workload: Workload
  readonly violations: Violation[] = []
  daemons: SimulatedDaemon[] = []
  /** What an operator or an outage did that explains a partition that stops, or an offset that is passed over. */
  readonly excuses = { reset: false, failover: false, recreated: false }
  readonly #random: SeededRandom
  readonly #trace: WorldOptions['trace']
  readonly #skipped = new Map<string, number>()
  readonly #killed = new Map<string, number>()
  /** Messages that were poison, until a new version of the actor was released. */
  readonly mended = new Set<string>()
  #incarnation = 0

  constructor({ schedule, marks, trace }: WorldOptions) {
    const { seed, options, hazards } = schedule
    this.schedule = schedule
    this.marks = marks
    this.#trace = trace
    const random = new SeededRandom(`world ${seed}`)
    this.#random = random
    this.loop = new EventLoop((error, owner) => this.failed(error, owner))
    this.cluster = new KafkaCluster(this.loop, random.fork('kafka'))
    this.dependency = new Dependency(this.loop, options.outages)
    const strikes = new Strikes(this, random.fork('strikes'))
    this.chaos = new Chaos({
      loop: this.loop,
      marks,
      seed,
      hazards,
      strikes: schedule.strikes,
      strike: (strike, at) => this.#strike(strikes, strike, at),
    })
    this.server = new PostgresServer({
      loop: this.loop,
      random: random.fork('postgres'),
      chaos: this.chaos,
      applied: (applied) => {
        this.#trace?.(this.loop.now, applied.by, describe(applied))
        this.checker.applied(applied)
      },
    })
    const { topics, groups } = actorsOf(options)
    for (const topic of topics) this.cluster.create(topic, options.partitions)
    this.groups = groups.map(({ name }) => {
      const hooks = {
        committed: (at: TopicPartition, topicId: string, offset: number) =>
          this.#kafkaOffset(name, at, topicId, offset),
      }
      return new KafkaGroup({
        name,
        topics,
        loop: this.loop,
        cluster: this.cluster,
        random: random.fork(name),
        protocol: options.protocol,
        sessionMs,
        hooks,
      })
    })
    const flaky = hazards['handler fails'] !== undefined
    this.checker = new Checker({
      cluster: this.cluster,
      violate: (rule, detail) => this.violate(rule, detail),
      offsetMode: options.offsetMode,
      flaky,
      mended: this.mended,
      unlucky: schedule.strikes.filter(({ kind }) => losing.has(kind)).length >= suspectLimit,
      impatient: options.settings.breaker.maxWaitMs < 1e6,
      excused: (ref, offset) => this.#excused(ref, offset),
    })
    this.workload = new Workload({ options, cluster: this.cluster, loop: this.loop, random: random.fork('workload') })
  }

  /** Runs the schedule to its end; the violations say how it went. */
  async run(): Promise<readonly Violation[]> {
    const { options } = this.schedule
    this.workload.start()
    this.#look([new QuietPartitions(this), new LongPauses(this)])
    for (let i = 0; i < options.daemons; i++)
      this.loop.after(this.#random.delay(300), 'start', () => this.startDaemon())
    await this.loop.run(options.activeMs, () => this.violations.length > 0)
    if (this.violations.length > 0) return this.violations
    this.heal()
    this.#decide(new SeededRandom(`operator ${this.schedule.seed}`))
    const settled = new Settled(this)
    let calm = false
    const look = () => {
      calm = settled.wanting() === null
      if (!calm) this.loop.after(lookMs, 'look', look)
    }
    look()
    const { endsAll, messages, settings } = this.schedule.options
    const owners = endsAll < 0 ? 0 : Math.ceil(messages / settings.trustAfterRecords)
    const patienceMs = settleMs + owners * ownerMs
    await this.loop.run(this.loop.now + patienceMs, () => calm || this.violations.length > 0)
    if (this.violations.length === 0) {
      const wanting = settled.wanting()
      if (wanting) this.violate(wanting.rule, wanting.detail)
    }
    return this.violations
  }

  /** From here on nothing fails any more, and there are as many daemons as were wanted. */
  heal(): void {
    this.note('world', 'faults stop')
    this.chaos.stop()
    this.cluster.comeBack()
    this.server.comeBack()
    this.dependency.heal()
    for (const daemon of this.daemons) {
      daemon.network.cutUntil = 0
      daemon.client.cutUntil = 0
      this.loop.thaw(daemon.process)
    }
    this.loop.after(1, 'restart', () => {
      while (this.#staying().length < this.schedule.options.daemons) this.startDaemon()
    })
  }

  running(): SimulatedDaemon[] {
    return this.daemons.filter(({ process }) => process.state !== 'dead')
  }

  /** Who ends by itself counts for nothing. */
  #staying(): SimulatedDaemon[] {
    return this.running().filter(({ draining }) => !draining)
  }

  startDaemon(): SimulatedDaemon {
    const name = `daemon${++this.#incarnation}`
    const daemon = new SimulatedDaemon({
      name,
      loop: this.loop,
      random: this.#random.fork(name),
      chaos: this.chaos,
      cluster: this.cluster,
      groups: this.groups,
      server: this.server,
      serves: (tenant) => this.dependency.serves(tenant),
      options: this.schedule.options,
      violate: (rule, detail) => this.violate(rule, detail),
      trace: (who, what) => this.note(who, what),
      delivered: (row) => this.checker.delivered(row),
      killed: this.#killed,
      mended: this.mended,
      died: () =>
        this.loop.after(this.#random.delay(1_000), 'restart', () => {
          if (this.#staying().length < this.schedule.options.daemons) this.startDaemon()
        }),
      outOfRange: (group, at, range) => {
        const { onOutOfRange } = this.schedule.options
        const topicId = this.cluster.topic(at.topic)?.id ?? ''
        if (onOutOfRange !== 'stop')
          this.#skip(
            { group, topic: at.topic, topicId, partition: at.partition },
            onOutOfRange === 'earliest' ? range.start : range.end,
          )
      },
    })
    this.daemons = [...this.running(), daemon]
    this.note(name, 'starts')
    daemon.start()
    return daemon
  }

  violate(rule: string, detail: string): void {
    this.violations.push({ rule, detail, at: this.loop.now })
    this.note('VIOLATION', `${rule}: ${detail}`)
  }

  failed(error: unknown, owner: Process | null): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
    this.violate(owner ? 'the engine threw' : 'the model threw', `${owner?.name ?? 'world'}: ${text}`)
  }

  note(who: string, what: string): void {
    this.#trace?.(this.loop.now, who, what)
  }

  #strike(strikes: Strikes, strike: Strike, at: Process | null): void {
    this.note(
      'strike',
      `${strike.kind}${typeof strike.at === 'number' ? '' : ` at ${strike.at.point} of ${at?.name ?? 'nobody'}`}`,
    )
    strikes.hit(strike, at)
  }

  /** What has stopped is an operator's to decide, who does so when all else works again. */
  #decide(random: SeededRandom): void {
    this.loop.after(2_000, 'operator', () => {
      for (const { sources, engine } of this.running()) {
        for (const { group: name, topic, partition, phase } of engine.status().partitions) {
          const group = this.groups.find((one) => one.name === name)
          const topicId = this.cluster.topic(topic)?.id
          if (phase !== 'stopped' || group === undefined || topicId === undefined) continue
          const ref: PartitionRef = { group: name, topic, topicId, partition }
          const log = this.cluster.log(ref)
          const last = this.server.tables.last(ref)
          if (!sources.get(name)?.holds(ref) || log === undefined || last === undefined) continue
          const committed = group.offsetOf(ref) ?? -1
          const elsewhere = committed >= log.start && committed <= log.end && isForeign(committed, last)
          this.chaos.mark('an operator decides')
          if (last.watermark < log.start)
            operate(this.server, ref, { what: 'reset', position: log.start, dropParked: false })
          else if (elsewhere && random.chance(0.5))
            operate(this.server, ref, { what: 'reset', position: committed, dropParked: random.chance(0.5) })
          else operate(this.server, ref, { what: 'ignore' })
        }
      }
      this.#decide(random)
    })
  }

  /** Samples what daemons say of themselves. */
  #look(rules: readonly { look(): void }[]): void {
    this.loop.after(53, 'sample', () => {
      for (const daemon of this.running()) if (daemon.process.state === 'running') daemon.check()
      for (const rule of rules) rule.look()
      this.#look(rules)
    })
  }

  #kafkaOffset(group: string, at: TopicPartition, topicId: string, offset: number): void {
    this.note(group, `Kafka's offset of ${at.topic}-${at.partition} is ${offset}`)
    const { failover, reset, recreated } = this.excuses
    if (!failover && !reset && !recreated) this.checker.kafkaOffset({ group, topicId, ...at }, offset)
  }

  #skip(ref: PartitionRef, to: number): void {
    this.#skipped.set(refKey(ref), Math.max(to, this.#skipped.get(refKey(ref)) ?? 0))
  }

  #excused(ref: PartitionRef, offset: number): boolean {
    return offset < (this.#skipped.get(refKey(ref)) ?? 0)
  }
}

/** One line for people. */
function describe({ changes }: Applied): string {
  const lines = changes.map((change) => {
    switch (change.kind) {
      case 'progress':
        return `${change.reason} ${keyOf(change.ref)} ${change.row.epoch}/${change.row.seq} watermark ${change.row.watermark} ahead ${change.row.ahead.map(([from, to]) => `${from}-${to}`).join()} kafka ${change.row.kafkaOffset}`
      case 'reset':
        return `reset ${keyOf(change.ref)} ${change.row.epoch}/${change.row.seq} to ${change.row.watermark}${change.rerun ? ` and again to ${change.rerun.to}` : ''}${change.dropParked ? ' without what is parked' : ''}`
      case 'outcome':
        return `${change.row.kind}${change.row.reason ? ` (${change.row.reason})` : ''} ${keyOf(change.row.ref)}@${change.row.offset} ${change.row.tenant} ${change.row.messageId.slice(0, 4)}`
      case 'state':
        return `state ${change.tenant} ${change.json}`
      case 'outbox':
        return `outbox ${change.row.position.seq}.${change.row.position.index} ${change.row.messageId}`
      case 'unoutbox':
        return `unoutbox ${keyOf(change.ref)} to ${change.upTo.seq}.${change.upTo.index}`
      case 'park':
        return `park ${keyOf(change.ref)}@${change.row.record.offset} ${change.row.tenant} after ${change.row.attempts}`
      case 'unpark':
        return `unpark ${keyOf(change.ref)}@${change.at.offset} of ${change.tenant}`
      case 'adopt':
        return `adopt ${keyOf(change.ref)}`
      case 'retry':
        return `retry ${keyOf(change.ref)}@${change.row.offset} after ${change.row.attempts}`
      case 'breaker':
        return `breaker ${keyOf(change.ref)} ${change.change.tenant} ${change.change.dependency} ${change.change.state}`
      case 'replay':
        return `replay ${keyOf(change.origin)}@${change.row.record.offset} ${change.row.tenant} as ${change.row.at.replays}`
      case 'unretry':
        return `no more retries of ${keyOf(change.ref)}@${change.offset}`
      case 'owner':
        return `owner ${change.row.process} of ${keyOf(change.ref)} after ${change.row.count} lost`
      case 'refused':
        return `refused ${change.position.seq}.${change.position.index}`
      case 'topic':
        return `topic ${change.topic} ${change.topicId.slice(0, 4)} with ${change.partitions}`
    }
  })
  return `COMMITS ${lines.join('; ')}`
}

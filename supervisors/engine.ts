import { type Clock, sleep, type Timer } from '../core/clock.ts'
import { TenantryError } from '../core/errors.ts'
import { instanceFencedCode, type SourceListener } from '../core/kafka/source.ts'
import type { Publisher } from '../core/kafka/publisher.ts'
import type { Log } from '../core/log.ts'
import type { EngineMetrics } from '../core/metrics.ts'
import type { Ledger } from '../core/postgres/ownership.ts'
import type { Lane } from '../core/postgres/transactions.ts'
import type { Random } from '../core/random.ts'
import type { StuckQuery, StuckReport } from '../core/stuck-report.ts'
import type { Workers, WorkersListener } from '../core/workers.ts'
import { Assignments, type AssignmentsSettings } from './assignments.ts'
import { Committer, type CommitterSettings } from './committer.ts'
import { Completer, type CompleterSettings } from './completer.ts'
import { Dispatcher, type DispatcherSettings } from './dispatcher.ts'
import { FeedBack } from './feed-back.ts'
import { loadsOf, type WorkerLoad } from './executing.ts'
import type { GroupOptions } from './group.ts'
import { Intake, type IntakeSettings } from './intake.ts'
import type { Decided } from './item.ts'
import type { TableWatch } from './judgement.ts'
import { LoneRuns, type LoneRunsSettings } from './lone-runs.ts'
import { Losses } from './losses.ts'
import { Mailboxes } from './mailboxes.ts'
import { OffsetWriter } from './offset-writer.ts'
import { OutboxPublisher, type OutboxSettings } from './outbox-publisher.ts'
import { Outcomes, type OutcomesSettings } from './outcomes.ts'
import { Parking, type ParkingSettings } from './parking.ts'
import type { Partition } from './partition.ts'
import { Quarantine } from './quarantine.ts'
import { Readiness } from './readiness.ts'
import { Replays } from './replays.ts'
import { mailboxKey } from './route.ts'
import { Router, type RouterSettings } from './router.ts'
import { States } from './states.ts'
import { statusOf, type EngineStatus } from './status.ts'
import { stuckOf } from './stuck.ts'

export type EngineSettings = AssignmentsSettings &
  CommitterSettings &
  CompleterSettings &
  DispatcherSettings &
  IntakeSettings &
  OutboxSettings &
  OutcomesSettings &
  ParkingSettings &
  LoneRunsSettings &
  RouterSettings & {
    /** How often Kafka's offsets follow the watermark. */
    readonly offsetIntervalMs: number
    /** Empty mailboxes whose instances stay warm. */
    readonly idleMailboxes: number
    /** Bytes of these instances' states, about. */
    readonly idleStateBytes: number
  }

export type EngineOptions = {
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly metrics: EngineMetrics
  readonly groups: readonly GroupOptions[]
  readonly workers: Workers
  readonly lanes: readonly Lane[]
  readonly ledger: Ledger
  readonly publisher: Publisher
  readonly settings: EngineSettings
  readonly tables: TableWatch
  /** PostgreSQL's, as it goes on without steps: for what is kept there and compared by whoever owns it later. */
  readonly serverTime: () => number
  /** The engine cannot go on. Called once at most. */
  readonly failed: (error: TenantryError) => void
}

/**
 * A partition without work commits its progress this often: only so does its owner learn that a failover of PostgreSQL
 * has lost the last commits, and run them again.
 */
const quietCommitMs = 15_000

/** After a drain that took all its time, Kafka's offsets still get this long. */
const lastOffsetsMs = 500

/**
 * The whole path of a record, from a source's batch to the commit of its effects, as state machines without I/O: it
 * calls its ports and is told what happened. The daemon and the simulation run this very class.
 */
export class Engine {
  readonly #options: EngineOptions
  readonly #mailboxes: Mailboxes
  readonly #dispatcher: Dispatcher
  readonly #committers: readonly Committer[]
  readonly #states: States
  readonly #assignments: Assignments
  readonly #outbox: OutboxPublisher
  readonly #intake: Intake
  readonly #feedBack: FeedBack
  readonly #parking: Parking
  readonly #replays: Replays
  readonly #outcomes: Outcomes
  readonly #completer: Completer
  readonly #lone: LoneRuns
  readonly #losses: Losses
  readonly #offsets: OffsetWriter
  readonly #router: Router
  readonly #readiness: Readiness
  #ticker: Timer | null = null
  #drained: (() => void) | null = null
  #draining = false
  #stopped = false

  constructor(options: EngineOptions) {
    this.#options = options
    this.#readiness = new Readiness(options.log, options.failed)
    const { clock, random, log, metrics, settings, ledger, workers, publisher } = options
    const push = (decided: Decided) => this.#committers[decided.mailbox.partition.lane]?.push(decided)
    const touch = (partition: Partition) => this.#committers[partition.lane]?.touch(partition)
    const trouble = (what: string) => (reason: string | null) => this.#readiness.trouble(what, reason)
    const settled = () => this.#settled()
    const quarantine = new Quarantine()
    this.#intake = new Intake(settings)
    this.#mailboxes = new Mailboxes(settings.idleMailboxes, settings.idleStateBytes, (mailbox) => {
      this.#dispatcher.withdraw(mailbox)
      this.#outcomes.dependencies.left(mailbox)
    })
    // Each part takes what it needs of what is there before it.
    const ports = { clock, random, log, metrics, settings, ledger, workers, settled }
    const first = { ...ports, quarantine, intake: this.#intake, mailboxes: this.#mailboxes }
    this.#lone = new LoneRuns({
      ...first,
      giveUp: (...givenUp) => this.#outcomes.giveUp(...givenUp),
      moveOn: (mailbox) => this.#outcomes.moveOn(mailbox),
      touch,
      trouble: trouble('postgres.lone'),
    })
    this.#dispatcher = new Dispatcher(workers, this.#lone, settings, quarantine, clock, settled)
    this.#states = new States(ledger, clock, {
      loaded: (mailbox, state) => this.#outcomes.stateLoaded(mailbox, state),
      settled,
      trouble: trouble('postgres.states'),
    })
    this.#outbox = new OutboxPublisher(publisher, ledger, clock, settings, {
      refused: ({ group, topic, partition }, { topic: to, deadLetterOf }, reason) =>
        log.error(
          'outbox.refused',
          { group, topic, partition, to, reason },
          deadLetterOf === null
            ? 'Kafka refuses a message for good; it becomes a dead letter.'
            : 'Kafka refuses the message of a dead letter; it is a row alone, which says so.',
        ),
      delivered: (count) => metrics.published(count),
      published: (partition, position) => {
        if (!partition.commits) return
        partition.published = position
        this.#settled()
      },
      disinherited: (partition) => this.#event(() => this.#assignments.fenced(partition)),
      trouble: (key, reason) => this.#readiness.trouble(key, reason),
    })
    const running = { ...first, lone: this.#lone, dispatcher: this.#dispatcher, states: this.#states }
    this.#feedBack = new FeedBack({
      ...running,
      joined: (mailbox) => this.#parking.eased(mailbox),
      trouble: trouble('postgres.parked'),
    })
    this.#parking = new Parking({ ...running, feedBack: this.#feedBack, push })
    this.#replays = new Replays({
      ...ports,
      found: (partition, tenant, at) => {
        const mailbox = this.#router.mailbox(partition, mailboxKey(tenant), tenant)
        const { pending } = mailbox
        this.#feedBack.noticed(mailbox, at)
        if (!pending) this.#outcomes.dependencies.broughtBack(mailbox)
      },
      trouble: trouble('postgres.replays'),
    })
    const waiting = { ...running, outbox: this.#outbox, feedBack: this.#feedBack, parking: this.#parking }
    this.#outcomes = new Outcomes({
      ...waiting,
      groups: options.groups.flatMap(({ name, actors }) =>
        actors.some(({ dependencies }) => dependencies.length > 0) ? [name] : [],
      ),
      touch,
      push,
      tables: options.tables,
      serverTime: options.serverTime,
      trouble: (key, reason) => this.#readiness.trouble(key, reason),
    })
    const deciding = { ...waiting, outcomes: this.#outcomes }
    this.#completer = new Completer(deciding)
    this.#losses = new Losses(deciding)
    this.#committers = options.lanes.map(
      (lane, index) =>
        new Committer(
          lane,
          clock,
          random,
          {
            committed: (plan, elapsedMs) => this.#completer.committed(plan, elapsedMs),
            missed: (plan, reason) => metrics.commitFailed(plan.partitions[0]?.partition.group.name ?? '', reason),
            fenced: (partition) => this.#assignments.fenced(partition),
            takeBackAfter: (decided) => this.#outcomes.takeBackAfter(decided),
            takeBackFrom: (decided) => this.#outcomes.takeBackFrom(decided),
            suspect: (decided) => this.#outcomes.judgement.suspect(decided),
            judge: (suspects) => this.#outcomes.judgement.judge(suspects),
            trouble: trouble(`postgres.lane${index}`),
            owned: () =>
              [...this.#assignments.values()].find((partition) => partition.lane === index && partition.commits),
            fatal: (error) => this.#readiness.fatal(error),
            settled,
          },
          settings,
        ),
    )
    // The coordinator says that this member is out: the partition may have another owner already.
    this.#offsets = new OffsetWriter(clock, log, ledger, (partition) => (partition.suspect = true))
    this.#assignments = new Assignments({ ...deciding, lanes: options.lanes.length, offsets: this.#offsets })
    this.#router = new Router({ ...deciding, assignments: this.#assignments })
  }

  /** The listener for one group's source. */
  listener(groupName: string): SourceListener {
    const group = this.#options.groups.find(({ name }) => name === groupName)
    if (group === undefined) throw new RangeError(`no group ${groupName}`)
    return {
      assigned: (partitions) => this.#event(() => this.#assignments.assigned(group, partitions)),
      revoked: (partitions) => this.#event(() => partitions.forEach((at) => this.#assignments.revoked(group, at))),
      lost: (partitions) => this.#event(() => partitions.forEach((at) => this.#assignments.lost(group, at))),
      records: (batches) => this.#event(() => batches.forEach((batch) => this.#router.records(group, batch))),
      outOfRange: (at, position, range) => this.#event(() => this.#assignments.outOfRange(group, at, position, range)),
      topicChanged: (topic) => this.#event(() => this.#assignments.topicChanged(group, topic)),
      troubled: (reason) => {
        this.#readiness.trouble(`kafka.${group.name}`, reason.message)
        // Not as if nothing had happened: an operator has given two daemons one name, and this one will never work again.
        if (reason instanceof TenantryError && reason.code === instanceFencedCode) this.#readiness.fatal(reason)
      },
      recovered: () => this.#readiness.trouble(`kafka.${group.name}`, null),
    }
  }

  readonly workersListener: WorkersListener = {
    decided: (worker, decisions) => {
      if (this.#stopped) return
      const by = worker === this.#options.workers.count ? this.#losses : this.#outcomes
      const now = this.#options.clock.monotonic()
      for (const decision of decisions) by.decided(decision, now)
      this.#settled()
    },
    lost: (worker, error, executing) => {
      if (this.#stopped) return
      this.#options.metrics.workerRestarted()
      this.#losses.lost(worker, error, executing)
      this.#settled()
    },
    ready: (worker) => {
      this.#dispatcher.workerReady(worker)
      this.#settled()
    },
  }

  start(): void {
    // Before anything is owned: a trip in force keeps the first record, too.
    this.#outcomes.dependencies.look()
    this.#tick()
  }

  /** No more commands from here on; what is in the air is not heard. */
  stop(): void {
    this.#stopped = true
    this.#ticker?.cancel()
    this.#outbox.stop()
    this.#dispatcher.hold()
    this.#lone.stop()
    this.#outcomes.dependencies.stop()
    for (const committer of this.#committers) committer.stop()
    this.#assignments.stop()
  }

  /**
   * Takes no more records, lets what runs be decided and committed until `deadlineMs` has passed (what waits needs no
   * time: it comes again), and writes Kafka's offsets. Returns how many records in flight were abandoned.
   */
  async drain(deadlineMs: number): Promise<{ abandoned: number }> {
    this.#draining = true
    this.#assignments.hold()
    this.#intake.hold('drain', true)
    this.#outcomes.dependencies.stop()
    this.#dispatcher.hold()
    this.#feedBack.hold()
    for (const mailbox of this.#mailboxes.values()) this.#outcomes.dropQueued(mailbox)
    const drained = new Promise<void>((resolve) => {
      this.#drained = resolve
    })
    const { clock } = this.#options
    const deadline = clock.monotonic() + deadlineMs
    const timer = clock.after(deadlineMs, () => this.#drained?.())
    this.#settled()
    await drained
    timer.cancel()
    const abandoned = this.#undone()
    // Progress is in PostgreSQL: a Kafka that is away must not keep the process.
    const patience = sleep(clock, Math.max(lastOffsetsMs, deadline - clock.monotonic()))
    const all = [...this.#assignments.values()]
    await Promise.race([Promise.all([this.#offsets.write(all, true), this.#assignments.giveBack(all)]), patience])
    return { abandoned }
  }

  /** What is owned, what waits and for what. */
  status(): EngineStatus {
    return statusOf({
      partitions: this.#assignments.values(),
      mailboxes: this.#mailboxes,
      reasons: this.reasons,
      bytes: this.#intake.bytes,
      bytesToWrite: this.#intake.bytesToWrite,
      paused: this.#intake.reasons,
      inFlight: this.#dispatcher.inFlight,
      outboxPending: this.#outbox.pending,
      breakers: this.#outcomes.dependencies.open(),
      parkedRecords: this.#parking.rows,
      parkedReads: this.#feedBack.queries,
    })
  }

  /** Who does not go on, and what each waits for. */
  stuck(query: StuckQuery): StuckReport {
    const { clock } = this.#options
    return stuckOf(
      {
        partitions: this.#assignments.values(),
        mailboxes: this.#mailboxes.values(),
        troubles: this.#readiness.troubles,
        reasons: this.reasons,
        paused: this.#intake.reasons,
        full: new Map([...this.#outbox.full].map((group) => [group, this.#outbox.waitsFor(group)])),
        extraWorker: this.#options.workers.count,
      },
      query,
      { now: clock.now(), monotonic: clock.monotonic() },
    )
  }

  /** What each worker has, and has been at for longest. */
  loads(): ReadonlyMap<number, WorkerLoad> {
    return loadsOf(this.#mailboxes.values(), this.#options.clock.monotonic())
  }

  /** What keeps the daemon from being ready; empty when nothing does. */
  get reasons(): readonly string[] {
    return this.#readiness.reasons(this.#assignments.values())
  }

  #event(handle: () => void): void {
    if (this.#stopped) return
    handle()
    this.#settled()
  }

  /** The end of every event: what has become possible is commanded. */
  #settled(): void {
    if (this.#stopped) return
    this.#parking.flush()
    this.#feedBack.flush()
    for (const committer of this.#committers) committer.pump()
    this.#assignments.flush()
    this.#intake.update(this.#assignments.values(), this.#outbox.full)
    this.#states.flush()
    this.#dispatcher.flush(!this.#intake.crowded)
    if (this.#drained && this.#undone() === 0 && this.#outbox.pending === 0) this.#drained()
  }

  #undone(): number {
    let undone = this.#dispatcher.inFlight
    for (const partition of this.#assignments.values()) undone += partition.uncommitted
    return undone
  }

  /** Once a second or so: progress that no record carries, Kafka's offsets, and batches that old records keep. */
  #tick(): void {
    this.#ticker = this.#options.clock.after(this.#options.settings.offsetIntervalMs, () => {
      if (this.#stopped) return
      const now = this.#options.clock.monotonic()
      for (const partition of this.#assignments.values()) {
        if (!partition.commits) continue
        const quiet = partition.uncommitted === 0 && now - partition.committedAt > quietCommitMs
        if (quiet || partition.gaps.length > 0 || partition.published !== null)
          this.#committers[partition.lane]?.touch(partition)
      }
      for (const mailbox of this.#mailboxes.values()) if (mailbox.items.length > 0) mailbox.detachOld()
      this.#parking.look()
      this.#losses.tick()
      if (!this.#draining) this.#replays.look(this.#assignments.values())
      this.#settled()
      this.#outcomes.dependencies.look()
      this.#offsets.follow(this.#assignments.values())
      this.#assignments.look()
      this.#tick()
    })
  }
}

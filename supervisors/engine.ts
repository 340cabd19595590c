import { type Clock, sleep, type Timer } from '../core/clock.ts'
import { messageOf, TenantryError } from '../core/errors.ts'
import {
  instanceFencedCode,
  type LogRange,
  type RecordBatch,
  type SourceListener,
  type TopicDescription,
  type TopicPartition,
} from '../core/kafka/source.ts'
import type { Publisher } from '../core/kafka/publisher.ts'
import type { Log } from '../core/log.ts'
import type { EngineMetrics } from '../core/metrics.ts'
import type { Lane, Ledger, Ownership as Owned } from '../core/postgres/transactions.ts'
import type { Random } from '../core/random.ts'
import type { StuckQuery, StuckReport } from '../core/stuck-report.ts'
import type { Workers, WorkersListener } from '../core/workers.ts'
import { Committer, type CommitterSettings } from './committer.ts'
import { Dispatcher, type DispatcherSettings } from './dispatcher.ts'
import { loadsOf, type WorkerLoad } from './executing.ts'
import type { GroupOptions } from './group.ts'
import { Intake, type IntakeSettings } from './intake.ts'
import { LoneRuns, type LoneRunsSettings } from './lone-runs.ts'
import { Losses } from './losses.ts'
import { Mailboxes } from './mailboxes.ts'
import { OffsetWriter } from './offset-writer.ts'
import { OutboxPublisher, type OutboxSettings } from './outbox-publisher.ts'
import { Outcomes, type OutcomesSettings } from './outcomes.ts'
import { offsetsCommand, Ownership, type OwnershipSettings } from './ownership.ts'
import { Parking, type ParkingSettings } from './parking.ts'
import { Partition } from './partition.ts'
import { Quarantine } from './quarantine.ts'
import { Readiness } from './readiness.ts'
import { Replays } from './replays.ts'
import { nobody, route, sizeOf } from './router.ts'
import { type Decided, Item, type Mailbox } from './mailbox.ts'
import { States } from './states.ts'
import { statusOf, type EngineStatus } from './status.ts'
import { StoppedPartitions } from './stopped-partitions.ts'
import { stuckOf } from './stuck.ts'

export type EngineSettings = CommitterSettings &
  DispatcherSettings &
  IntakeSettings &
  OwnershipSettings &
  OutboxSettings &
  OutcomesSettings &
  ParkingSettings &
  LoneRunsSettings & {
    readonly maxIdLength: number
    /** How often Kafka's offsets follow the watermark. */
    readonly offsetIntervalMs: number
    /** A revoked partition is released after this time, whatever of it is still undone. */
    readonly releaseMs: number
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
  readonly #partitions = new Map<string, Partition>()
  readonly #mailboxes: Mailboxes
  readonly #dispatcher: Dispatcher
  readonly #committers: readonly Committer[]
  readonly #states: States
  readonly #ownership: Ownership
  readonly #outbox: OutboxPublisher
  readonly #intake: Intake
  readonly #parking: Parking
  readonly #replays: Replays
  readonly #outcomes: Outcomes
  readonly #quarantine = new Quarantine()
  readonly #lone: LoneRuns
  readonly #losses: Losses
  readonly #offsets: OffsetWriter
  readonly #stoppedPartitions: StoppedPartitions
  readonly #readiness: Readiness
  #token = 0
  #ticker: Timer | null = null
  #drained: (() => void) | null = null
  #draining = false
  #stopped = false

  constructor(options: EngineOptions) {
    this.#options = options
    this.#readiness = new Readiness(options.log, options.failed)
    const { clock, random, log, settings, ledger, workers, publisher } = options
    this.#mailboxes = new Mailboxes(settings.idleMailboxes, settings.idleStateBytes, (mailbox) => {
      this.#dispatcher.withdraw(mailbox)
      this.#outcomes.dependencies.left(mailbox)
    })
    this.#lone = new LoneRuns({
      clock,
      log,
      ledger,
      workers,
      mailboxes: this.#mailboxes,
      quarantine: this.#quarantine,
      settings,
      giveUp: (...givenUp) => this.#outcomes.giveUp(...givenUp),
      moveOn: (mailbox) => this.#outcomes.moveOn(mailbox),
      touch: (partition) => this.#committers[partition.lane]?.touch(partition),
      trouble: (reason) => this.#readiness.trouble('postgres.lone', reason),
      settled: () => this.#settled(),
    })
    this.#dispatcher = new Dispatcher(workers, this.#lone, settings, this.#quarantine, clock, () => this.#settled())
    this.#intake = new Intake(settings)
    this.#states = new States(ledger, clock, {
      loaded: (mailbox, state) => this.#outcomes.stateLoaded(mailbox, state),
      settled: () => this.#settled(),
      trouble: (reason) => this.#readiness.trouble('postgres.states', reason),
    })
    this.#ownership = new Ownership(ledger, clock, random, log, settings, {
      owned: (partition, owned) => this.#owned(partition, owned),
      inVain: (partition) => void this.#giveBack([partition]),
      stopped: (partition, error) => this.#stopPartition(partition, error),
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
      delivered: (count) => options.metrics.published(count),
      published: (partition, position) => {
        if (!partition.commits) return
        partition.published = position
        this.#settled()
      },
      disinherited: (partition) => this.#event(() => this.#fenced(partition)),
      trouble: (key, reason) => this.#readiness.trouble(key, reason),
    })
    const push = (decided: Decided) => this.#committers[decided.mailbox.partition.lane]?.push(decided)
    this.#parking = new Parking({
      clock,
      log,
      metrics: options.metrics,
      settings,
      ledger,
      dispatcher: this.#dispatcher,
      mailboxes: this.#mailboxes,
      intake: this.#intake,
      states: this.#states,
      push,
      trouble: (reason) => this.#readiness.trouble('postgres.parked', reason),
      settled: () => this.#settled(),
    })
    this.#replays = new Replays({
      clock,
      ledger,
      found: (partition, tenant, first) => {
        const mailbox = this.#mailbox(partition, Buffer.from(tenant).toString('latin1'), tenant)
        const { pending } = mailbox
        this.#parking.noticed(mailbox, first)
        if (!pending) this.#outcomes.dependencies.broughtBack(mailbox)
      },
      trouble: (reason) => this.#readiness.trouble('postgres.replays', reason),
      settled: () => this.#settled(),
    })
    this.#outcomes = new Outcomes({
      clock,
      random,
      log,
      metrics: options.metrics,
      settings,
      dispatcher: this.#dispatcher,
      mailboxes: this.#mailboxes,
      intake: this.#intake,
      states: this.#states,
      outbox: this.#outbox,
      parking: this.#parking,
      ledger,
      groups: options.groups.flatMap(({ name, actors }) =>
        actors.some(({ dependencies }) => dependencies.length > 0) ? [name] : [],
      ),
      touch: (partition) => this.#committers[partition.lane]?.touch(partition),
      push,
      trouble: (key, reason) => this.#readiness.trouble(key, reason),
      settled: () => this.#settled(),
    })
    this.#losses = new Losses({
      workers,
      log,
      dispatcher: this.#dispatcher,
      outcomes: this.#outcomes,
      mailboxes: this.#mailboxes,
      quarantine: this.#quarantine,
      lone: this.#lone,
    })
    this.#committers = options.lanes.map(
      (lane, index) =>
        new Committer(
          lane,
          clock,
          random,
          {
            committed: (plan, elapsedMs) => this.#outcomes.committed(plan, elapsedMs),
            missed: (plan, reason) =>
              options.metrics.commitFailed(plan.partitions[0]?.partition.group.name ?? '', reason),
            fenced: (partition) => this.#fenced(partition),
            takeBackAfter: (decided) => this.#outcomes.takeBackAfter(decided),
            takeBackFrom: (decided) => this.#outcomes.takeBackFrom(decided),
            suspect: (decided) => this.#outcomes.suspect(decided),
            judge: (suspects) => this.#outcomes.judge(suspects),
            trouble: (reason) => this.#readiness.trouble(`postgres.lane${index}`, reason),
            owned: () =>
              [...this.#partitions.values()].find((partition) => partition.lane === index && partition.commits),
            fatal: (error) => this.#readiness.fatal(error),
            settled: () => this.#settled(),
          },
          settings,
        ),
    )
    this.#offsets = new OffsetWriter(clock, log, ledger, (partition) => this.#memberDoubted(partition))
    this.#stoppedPartitions = new StoppedPartitions(clock, log, ledger, (partition) => this.#decidedUpon(partition))
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
    for (const partition of this.#partitions.values()) partition.phase = 'gone'
  }

  /**
   * Takes no more records, lets what runs be decided and committed until `deadlineMs` has passed (what waits needs no
   * time: it comes again), and writes Kafka's offsets. Returns how many records in flight were abandoned.
   */
  async drain(deadlineMs: number): Promise<{ abandoned: number }> {
    this.#draining = true
    for (const partition of [...this.#partitions.values()]) if (partition.phase === 'claiming') this.#drop(partition)
    this.#intake.hold('drain', true)
    this.#outcomes.dependencies.stop()
    this.#dispatcher.hold()
    this.#parking.hold()
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
    const all = [...this.#partitions.values()]
    await Promise.race([Promise.all([this.#offsets.write(all, true), this.#giveBack(all)]), patience])
    return { abandoned }
  }

  /** The listener for one group's source. */
  listener(groupName: string): SourceListener {
    const group = this.#options.groups.find(({ name }) => name === groupName)
    if (group === undefined) throw new RangeError(`no group ${groupName}`)
    return {
      assigned: (partitions) =>
        this.#event(() => {
          // What was known of a topic may be the one before it: that it was made anew may be why they are assigned.
          for (const { topic } of partitions) this.#ownership.forget(group.name, topic)
          for (const at of partitions) this.#assigned(group, at)
        }),
      revoked: (partitions) => this.#event(() => partitions.forEach((at) => this.#revoked(group, at))),
      lost: (partitions) => this.#event(() => partitions.forEach((at) => this.#drop(this.#find(group, at)))),
      records: (batches) => this.#event(() => batches.forEach((batch) => this.#records(group, batch))),
      outOfRange: (at, position, range) => this.#event(() => this.#outOfRange(group, at, position, range)),
      topicChanged: (topic) => this.#event(() => this.#topicChanged(group, topic)),
      troubled: (reason) => this.#kafkaTroubled(group, reason),
      recovered: () => this.#readiness.trouble(`kafka.${group.name}`, null),
    }
  }

  /** What is owned, what waits and for what. */
  status(): EngineStatus {
    return statusOf({
      partitions: this.#partitions.values(),
      mailboxes: this.#mailboxes,
      reasons: this.reasons,
      bytes: this.#intake.bytes,
      bytesToWrite: this.#intake.bytesToWrite,
      paused: this.#intake.reasons,
      inFlight: this.#dispatcher.inFlight,
      outboxPending: this.#outbox.pending,
      breakers: this.#outcomes.dependencies.open(),
      parkedRecords: this.#parking.rows,
    })
  }

  /** Who does not go on, and what each waits for. */
  stuck(query: StuckQuery): StuckReport {
    const { clock } = this.#options
    return stuckOf(
      {
        partitions: this.#partitions.values(),
        mailboxes: this.#mailboxes.values(),
        troubles: this.#readiness.troubles,
        reasons: this.reasons,
        paused: this.#intake.reasons,
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
    return this.#readiness.reasons(this.#partitions.values())
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
    for (const committer of this.#committers) committer.pump()
    this.#finishClosing()
    this.#intake.hold('outbox', this.#outbox.pending > this.#options.settings.outboxMaxPending)
    this.#intake.update(this.#partitions.values())
    this.#states.flush()
    this.#dispatcher.flush(!this.#intake.crowded)
    if (this.#drained && this.#undone() === 0 && this.#outbox.pending === 0) this.#drained()
  }

  #undone(): number {
    let undone = this.#dispatcher.inFlight
    for (const partition of this.#partitions.values()) undone += partition.uncommitted
    return undone
  }

  #kafkaTroubled(group: GroupOptions, reason: Error): void {
    this.#readiness.trouble(`kafka.${group.name}`, reason.message)
    // Not as if nothing had happened: an operator has given two daemons one name, and this one will never work again.
    if (reason instanceof TenantryError && reason.code === instanceFencedCode) this.#readiness.fatal(reason)
  }

  // Ownership

  #key(group: GroupOptions, at: TopicPartition): string {
    return `${group.name}\n${at.topic}\n${at.partition}`
  }

  #find(group: GroupOptions, at: TopicPartition): Partition | undefined {
    return this.#partitions.get(this.#key(group, at))
  }

  #assigned(group: GroupOptions, at: TopicPartition): void {
    this.#drop(this.#find(group, at))
    this.#claim(group, at, this.#options.clock.monotonic())
  }

  /** `again` is for a partition that we had: it must prove membership. */
  #claim(group: GroupOptions, at: TopicPartition, assignedAt: number, again?: { kafkaOffset: number }): void {
    const actor = group.actors.find(({ topic }) => topic === at.topic)
    if (actor === undefined || this.#draining) return
    const lane = at.partition % this.#options.lanes.length
    const partition = new Partition(group, actor, at, lane, assignedAt)
    if (again) {
      partition.suspect = true
      partition.writtenBefore = again.kafkaOffset
    }
    this.#partitions.set(this.#key(group, at), partition)
    void this.#ownership.claim(partition)
  }

  #owned(partition: Partition, owned: Owned): void {
    const { log, metrics } = this.#options
    partition.own(owned, this.#options.clock.monotonic())
    partition.token = ++this.#token
    metrics.tookOver(partition.group.name)
    log.info(
      'partition.owned',
      { ...partition.facts, epoch: owned.epoch, watermark: owned.watermark, ahead: owned.ahead.length },
      'Took a partition over.',
    )
    this.#lone.owned(partition, owned.lost)
    this.#outcomes.dependencies.owned(partition, owned.breakers)
    for (const parked of owned.parked) {
      const key = Buffer.from(parked.tenant).toString('latin1')
      const mailbox = this.#mailboxes.create(key, parked.tenant, partition, partition.actor)
      this.#parking.inherit(mailbox, parked)
      this.#outcomes.dependencies.keeps(mailbox)
    }
    this.#outbox.open(partition, owned.inherited)
    partition.group.source.seek(partition, owned.watermark, partition.token)
    this.#settled()
  }

  #stopPartition(partition: Partition, error: TenantryError): void {
    partition.phase = 'stopped'
    partition.reason = error.message
    this.#options.log.error('partition.stopped', { ...partition.facts, code: error.code }, error.message)
  }

  /** An operator has moved a stopped partition on. */
  #decidedUpon(partition: Partition): void {
    this.#event(() => {
      this.#options.log.info('partition.resumed', partition.facts, 'An operator has decided; taking it over again.')
      this.#drop(partition)
      this.#claim(partition.group, partition, partition.assignedAt, partition)
    })
  }

  /** Not ours any more: nothing of it is dispatched, committed or published from here on. */
  #drop(partition: Partition | undefined): void {
    if (partition === undefined || partition.phase === 'gone') return
    partition.phase = 'gone'
    void this.#giveBack([partition])
    for (const mailbox of [...partition.mailboxes.values()]) this.#outcomes.close(mailbox)
    this.#outcomes.dependencies.dropped(partition)
    this.#outbox.drop(partition)
    this.#quarantine.drop(partition)
    this.#lone.dropped(partition)
    const key = this.#key(partition.group, partition)
    if (this.#partitions.get(key) === partition) this.#partitions.delete(key)
  }

  #fenced(partition: Partition): void {
    // Stopped, it stays so, and is named.
    if (partition.phase === 'gone' || partition.phase === 'stopped') return
    const { log, metrics } = this.#options
    metrics.fenced(partition.group.name)
    log.warn(
      'partition.fenced',
      { ...partition.facts, epoch: partition.epoch, seq: partition.seq },
      'Another owner has moved this partition on; its decisions were dropped.',
    )
    const assigned = partition.phase === 'owned'
    this.#drop(partition)
    if (assigned) this.#claim(partition.group, partition, partition.assignedAt, partition)
    else partition.group.source.release([partition])
  }

  /** The coordinator says that this member is out: the partition may have another owner already. */
  #memberDoubted(partition: Partition): void {
    partition.suspect = true
  }

  #revoked(group: GroupOptions, at: TopicPartition): void {
    const partition = this.#find(group, at)
    if (partition?.phase !== 'owned') {
      this.#drop(partition)
      group.source.release([at])
      return
    }
    partition.phase = 'closing'
    for (const mailbox of [...partition.mailboxes.values()]) {
      this.#dispatcher.withdraw(mailbox)
      mailbox.raiseRun(mailbox.decidedCount)
      this.#outcomes.dropQueued(mailbox)
    }
    this.#options.clock.after(this.#options.settings.releaseMs, () => this.#release(partition))
  }

  #finishClosing(): void {
    for (const partition of this.#partitions.values()) {
      if (partition.phase === 'closing' && partition.uncommitted === 0 && !partition.releasing) {
        partition.releasing = true
        void Promise.all([this.#offsets.write([partition]), this.#giveBack([partition])]).then(() =>
          this.#release(partition),
        )
      }
    }
  }

  /** The next owner is to know that this one was not lost. Not heard, it will think so. */
  async #giveBack(partitions: readonly Partition[]): Promise<void> {
    const raised = partitions.filter(({ epoch, givenBack }) => epoch >= 0 && !givenBack)
    if (raised.length === 0) return
    for (const partition of raised) partition.givenBack = true
    const { ledger, log } = this.#options
    try {
      await ledger.release(raised.map(({ ref, epoch }) => ({ ref, epoch })))
    } catch (error) {
      log.debug('partition.release_not_written', { error: messageOf(error) }, 'The next owner counts this one as lost.')
    }
  }

  #release(partition: Partition): void {
    if (partition.phase !== 'closing' || this.#stopped) return
    this.#drop(partition)
    partition.group.source.release([partition])
    this.#settled()
  }

  #outOfRange(group: GroupOptions, at: TopicPartition, position: number, range: LogRange): void {
    const partition = this.#find(group, at)
    if (partition?.phase !== 'owned') return
    const { log } = this.#options
    const facts = { ...partition.facts, position, start: range.start, end: range.end }
    const next = group.onOutOfRange === 'earliest' ? range.start : range.end
    // Going back would meet offsets that progress says are done: after a truncation only an operator knows.
    if (group.onOutOfRange === 'stop' || next < partition.position) {
      partition.phase = 'stopped'
      const to = position < range.start ? 'earliest' : 'latest'
      partition.reason = `Position ${position} is outside the log (${range.start} to ${range.end}): records were deleted or the log was truncated. To go on: ${offsetsCommand('reset', partition)} --to ${to} --skip.`
      for (const mailbox of [...partition.mailboxes.values()]) this.#outcomes.close(mailbox)
      log.error('partition.out_of_range', facts, partition.reason)
      return
    }
    log.error(
      'partition.out_of_range',
      { ...facts, next },
      'The log no longer has our position; going on elsewhere, as configured.',
    )
    partition.pass(partition.position, next)
    if (partition.caughtUp) this.#parking.caughtUp(partition)
    partition.token = ++this.#token
    group.source.seek(partition, next, partition.token)
  }

  #topicChanged(group: GroupOptions, topic: TopicDescription): void {
    this.#ownership.forget(group.name, topic.topic)
    for (const partition of [...this.#partitions.values()]) {
      if (
        partition.group !== group ||
        partition.topic !== topic.topic ||
        partition.topicId === '' ||
        partition.topicId === topic.id
      )
        continue
      this.#options.log.warn(
        'topic.recreated',
        { ...partition.facts, topicId: topic.id },
        'The topic was recreated; taking the new one over from its start.',
      )
      const closing = partition.phase === 'closing'
      this.#drop(partition)
      if (closing) group.source.release([partition])
      else this.#claim(group, partition, partition.assignedAt, { kafkaOffset: -1 })
    }
  }

  // Records

  #records(group: GroupOptions, batch: RecordBatch): void {
    const partition = this.#find(group, batch)
    if (partition?.phase !== 'owned' || batch.token !== partition.token) return
    partition.end = batch.end
    const behind = !partition.caughtUp
    const cameAt = this.#options.clock.monotonic()
    const { settings, metrics } = this.#options
    const routing = { tenantHeader: group.tenantHeader, maxIdLength: settings.maxIdLength }
    for (const record of batch.records) {
      if (record.offset < partition.position) continue
      const from = partition.position
      if (record.offset < partition.aheadEnd && partition.progress.has(record.offset)) {
        partition.pass(from, record.offset + 1)
        continue
      }
      partition.position = record.offset + 1
      const item = new Item(record, from, sizeOf(record), cameAt)
      partition.countOn(item)
      this.#intake.took(item.bytes)
      const to = route(record, routing)
      if ('failure' in to) {
        this.#outcomes.refuse(this.#mailbox(partition, nobody, ''), item, to.failure)
      } else {
        const mailbox = this.#mailbox(partition, to.key, to.tenant)
        this.#parking.take(mailbox, item)
        if (mailbox.waiting === 'dependency') this.#outcomes.dependencies.arrived(mailbox)
      }
    }
    if (batch.position > partition.position) partition.pass(partition.position, batch.position)
    if (behind && partition.caughtUp) this.#parking.caughtUp(partition)
    const last = batch.records.at(-1)
    if (last !== undefined) partition.heard(last.timestamp, this.#options.clock.now())
    metrics.recordsConsumed(group.name, batch.topic, batch.partition, batch.records.length)
  }

  #mailbox(partition: Partition, key: string, tenant: string): Mailbox {
    const known = partition.mailboxes.get(key)
    if (known) {
      this.#mailboxes.wake(known)
      return known
    }
    const mailbox = this.#mailboxes.create(key, tenant, partition, partition.actor)
    this.#outcomes.opened(mailbox)
    return mailbox
  }

  /** Once a second or so: progress that no record carries, Kafka's offsets, and batches that old records keep. */
  #tick(): void {
    this.#ticker = this.#options.clock.after(this.#options.settings.offsetIntervalMs, () => {
      if (this.#stopped) return
      const now = this.#options.clock.monotonic()
      for (const partition of this.#partitions.values()) {
        if (!partition.commits) continue
        const quiet = partition.uncommitted === 0 && now - partition.committedAt > quietCommitMs
        if (quiet || partition.gaps.length > 0 || partition.published !== null)
          this.#committers[partition.lane]?.touch(partition)
      }
      for (const mailbox of this.#mailboxes.values()) if (mailbox.items.length > 0) mailbox.detachOld()
      this.#parking.look()
      this.#losses.tick()
      if (!this.#draining) this.#replays.look(this.#partitions.values())
      this.#settled()
      this.#outcomes.dependencies.look()
      this.#offsets.follow(this.#partitions.values())
      void this.#stoppedPartitions.look(this.#partitions.values())
      this.#tick()
    })
  }
}

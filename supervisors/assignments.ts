import type { Clock } from '../core/clock.ts'
import { messageOf, type TenantryError } from '../core/errors.ts'
import type { LogRange, TopicDescription, TopicPartition } from '../core/kafka/source.ts'
import type { Log } from '../core/log.ts'
import type { EngineMetrics } from '../core/metrics.ts'
import type { Ledger, Ownership as Owned } from '../core/postgres/ownership.ts'
import type { Random } from '../core/random.ts'
import type { Dispatcher } from './dispatcher.ts'
import type { FeedBack } from './feed-back.ts'
import type { GroupOptions } from './group.ts'
import type { LoneRuns } from './lone-runs.ts'
import type { Mailboxes } from './mailboxes.ts'
import type { OffsetWriter } from './offset-writer.ts'
import type { OutboxPublisher } from './outbox-publisher.ts'
import type { Outcomes } from './outcomes.ts'
import { offsetsCommand, Ownership, type OwnershipSettings } from './ownership.ts'
import { Partition } from './partition.ts'
import type { Quarantine } from './quarantine.ts'
import { mailboxKey } from './route.ts'
import { StoppedPartitions } from './stopped-partitions.ts'

export type AssignmentsSettings = OwnershipSettings & {
  /** A revoked partition is released after this time, whatever of it is still undone. */
  readonly releaseMs: number
}

export type AssignmentsOptions = {
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly metrics: EngineMetrics
  readonly settings: AssignmentsSettings
  /** How many there are. */
  readonly lanes: number
  readonly ledger: Ledger
  readonly offsets: OffsetWriter
  readonly dispatcher: Dispatcher
  readonly mailboxes: Mailboxes
  readonly outcomes: Outcomes
  readonly feedBack: FeedBack
  readonly outbox: OutboxPublisher
  readonly quarantine: Quarantine
  readonly lone: LoneRuns
  readonly settled: () => void
}

/**
 * The partitions that the groups have assigned to this daemon, from their assignment until they are given back or lost:
 * what begins when one is ours, what ends when it is not any more, and what stops it.
 */
export class Assignments {
  readonly #options: AssignmentsOptions
  readonly #ownership: Ownership
  readonly #stopped: StoppedPartitions
  readonly #partitions = new Map<string, Partition>()
  #token = 0
  #draining = false

  constructor(options: AssignmentsOptions) {
    this.#options = options
    const { clock, random, log, settings, ledger } = options
    this.#ownership = new Ownership(ledger, clock, random, log, settings, {
      owned: (partition, owned) => this.#owned(partition, owned),
      inVain: (partition) => void this.giveBack([partition]),
      stopped: (partition, error) => this.#stopPartition(partition, error),
    })
    this.#stopped = new StoppedPartitions(clock, log, ledger, (partition) => this.#decidedUpon(partition))
  }

  values(): Iterable<Partition> {
    return this.#partitions.values()
  }

  find(group: GroupOptions, at: TopicPartition): Partition | undefined {
    return this.#partitions.get(keyOf(group, at))
  }

  assigned(group: GroupOptions, partitions: readonly TopicPartition[]): void {
    // What was known of a topic may be the one before it: that it was made anew may be why they are assigned.
    for (const topic of new Set(partitions.map((at) => at.topic))) this.#ownership.forget(group.name, topic)
    for (const at of partitions) {
      this.lost(group, at)
      this.#claim(group, at, this.#options.clock.monotonic())
    }
  }

  /** The group wants it back. What is decided of it is committed first. */
  revoked(group: GroupOptions, at: TopicPartition): void {
    const partition = this.find(group, at)
    if (partition?.phase !== 'owned') {
      this.#drop(partition)
      group.source.release([at])
      return
    }
    partition.phase = 'closing'
    const { clock, dispatcher, outcomes, settings } = this.#options
    for (const mailbox of [...partition.mailboxes.values()]) {
      dispatcher.withdraw(mailbox)
      mailbox.raiseRun(mailbox.decidedCount)
      outcomes.dropQueued(mailbox)
    }
    clock.after(settings.releaseMs, () => this.#release(partition))
  }

  lost(group: GroupOptions, at: TopicPartition): void {
    this.#drop(this.find(group, at))
  }

  /** The log does not have the position that the source was sent to. */
  outOfRange(group: GroupOptions, at: TopicPartition, position: number, range: LogRange): void {
    const partition = this.find(group, at)
    if (partition?.phase !== 'owned') return
    const { log, outcomes, feedBack } = this.#options
    const facts = { ...partition.facts, position, start: range.start, end: range.end }
    const next = group.onOutOfRange === 'earliest' ? range.start : range.end
    // Going back would meet offsets that progress says are done: after a truncation only an operator knows.
    if (group.onOutOfRange === 'stop' || next < partition.position) {
      partition.phase = 'stopped'
      const to = position < range.start ? 'earliest' : 'latest'
      partition.reason = `Position ${position} is outside the log (${range.start} to ${range.end}): records were deleted or the log was truncated. To go on: ${offsetsCommand('reset', partition)} --to ${to} --skip.`
      for (const mailbox of [...partition.mailboxes.values()]) outcomes.close(mailbox)
      log.error('partition.out_of_range', facts, partition.reason)
      return
    }
    log.error(
      'partition.out_of_range',
      { ...facts, next },
      'The log no longer has our position; going on elsewhere, as configured.',
    )
    partition.pass(partition.position, next)
    if (partition.caughtUp) feedBack.caughtUp(partition)
    this.#seek(partition, next)
  }

  /** Its id or its partition count is another than before. */
  topicChanged(group: GroupOptions, topic: TopicDescription): void {
    this.#ownership.forget(group.name, topic.topic)
    for (const partition of [...this.#partitions.values()]) {
      const { topicId } = partition
      if (partition.group !== group || partition.topic !== topic.topic || topicId === '' || topicId === topic.id)
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

  /** Another owner has committed for the partition. While it is assigned to us it is claimed again. */
  fenced(partition: Partition): void {
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

  /** Hands over what the group wants back and is committed. Called at the end of every event. */
  flush(): void {
    for (const partition of this.#partitions.values()) {
      if (partition.phase === 'closing' && partition.uncommitted === 0 && !partition.releasing) {
        partition.releasing = true
        void Promise.all([this.#options.offsets.write([partition]), this.giveBack([partition])]).then(() =>
          this.#release(partition),
        )
      }
    }
  }

  /** Called about once a second. */
  look(): void {
    void this.#stopped.look(this.#partitions.values())
  }

  /** The next owner is to know that this one was not lost. Not heard, it will think so. */
  async giveBack(partitions: Iterable<Partition>): Promise<void> {
    const raised = [...partitions].filter(({ epoch, givenBack }) => epoch >= 0 && !givenBack)
    if (raised.length === 0) return
    for (const partition of raised) partition.givenBack = true
    const { ledger, log } = this.#options
    try {
      await ledger.release(raised.map(({ ref, epoch }) => ({ ref, epoch })))
    } catch (error) {
      log.debug('partition.release_not_written', { error: messageOf(error) }, 'The next owner counts this one as lost.')
    }
  }

  /** Claims nothing any more: the daemon drains. */
  hold(): void {
    this.#draining = true
    for (const partition of [...this.#partitions.values()]) if (partition.phase === 'claiming') this.#drop(partition)
  }

  stop(): void {
    for (const partition of this.#partitions.values()) partition.phase = 'gone'
  }

  /** `again` is for a partition that we had: it must prove membership. */
  #claim(group: GroupOptions, at: TopicPartition, assignedAt: number, again?: { kafkaOffset: number }): void {
    const actor = group.actors.find(({ topic }) => topic === at.topic)
    if (actor === undefined || this.#draining) return
    const lane = at.partition % this.#options.lanes
    const partition = new Partition(group, actor, at, lane, assignedAt)
    if (again) {
      partition.suspect = true
      partition.writtenBefore = again.kafkaOffset
    }
    this.#partitions.set(keyOf(group, at), partition)
    void this.#ownership.claim(partition)
  }

  #owned(partition: Partition, owned: Owned): void {
    const { clock, log, metrics, mailboxes, outcomes, feedBack, outbox, lone, settled } = this.#options
    partition.own(owned, clock.monotonic())
    metrics.tookOver(partition.group.name)
    log.info(
      'partition.owned',
      { ...partition.facts, epoch: owned.epoch, watermark: owned.watermark, ahead: owned.ahead.length },
      'Took a partition over.',
    )
    lone.owned(partition, owned.lost)
    outcomes.dependencies.owned(partition, owned.breakers)
    for (const parked of owned.parked) {
      const mailbox = mailboxes.create(mailboxKey(parked.tenant), parked.tenant, partition, partition.actor)
      feedBack.inherit(mailbox, parked)
      outcomes.dependencies.keeps(mailbox)
    }
    outbox.open(partition, owned.inherited)
    this.#seek(partition, owned.watermark)
    settled()
  }

  /**
   * What the source sends from now on has another token; what it sent before is not taken any more. A seek lifts a pause:
   * where there must be one still, it is set anew.
   */
  #seek(partition: Partition, position: number): void {
    partition.token = ++this.#token
    partition.paused = false
    partition.group.source.seek(partition, position, partition.token)
  }

  #stopPartition(partition: Partition, error: TenantryError): void {
    partition.phase = 'stopped'
    partition.reason = error.message
    this.#options.log.error('partition.stopped', { ...partition.facts, code: error.code }, error.message)
  }

  /** An operator has moved a stopped partition on. */
  #decidedUpon(partition: Partition): void {
    const { log, settled } = this.#options
    log.info('partition.resumed', partition.facts, 'An operator has decided; taking it over again.')
    this.#drop(partition)
    this.#claim(partition.group, partition, partition.assignedAt, partition)
    settled()
  }

  #release(partition: Partition): void {
    if (partition.phase !== 'closing') return
    this.#drop(partition)
    partition.group.source.release([partition])
    this.#options.settled()
  }

  /** Not ours any more: nothing of it is dispatched, committed or published from here on. */
  #drop(partition: Partition | undefined): void {
    if (partition === undefined || partition.phase === 'gone') return
    const { outcomes, outbox, quarantine, lone } = this.#options
    partition.phase = 'gone'
    void this.giveBack([partition])
    for (const mailbox of [...partition.mailboxes.values()]) outcomes.close(mailbox)
    outcomes.dependencies.dropped(partition)
    outbox.drop(partition)
    quarantine.drop(partition)
    lone.dropped(partition)
    const key = keyOf(partition.group, partition)
    if (this.#partitions.get(key) === partition) this.#partitions.delete(key)
  }
}

function keyOf(group: GroupOptions, at: TopicPartition): string {
  return `${group.name}\n${at.topic}\n${at.partition}`
}

import { backOffMs, type Clock, sleep } from '../core/clock.ts'
import { messageOf, TenantryError } from '../core/errors.ts'
import { isForeign } from '../core/foreign-offset.ts'
import type { LogRange, PartitionOffset, TopicDescription, TopicPartition } from '../core/kafka/source.ts'
import type { Log } from '../core/log.ts'
import {
  type Ledger,
  noProgressCode,
  type Ownership as Owned,
  type Start,
  suspectLimit,
} from '../core/postgres/ownership.ts'
import type { Random } from '../core/random.ts'
import type { GroupOptions } from './group.ts'
import type { Partition } from './partition.ts'

export type OwnershipSettings = {
  /** A raise this long after its assignment proves membership first. */
  readonly promptRaiseMs: number
  readonly backoffMinMs: number
  readonly backoffMaxMs: number
}

export type OwnershipEvents = {
  /** The partition is ours under `owned.epoch`; records may be sought from its watermark. */
  owned(partition: Partition, owned: Owned): void
  /** Its epoch was raised when it was not ours any more. */
  inVain(partition: Partition): void
  /** The partition stops until an operator decides; `error` names the choice. */
  stopped(partition: Partition, error: TenantryError): void
}

/**
 * Makes an assigned partition ours: finds or writes where its topic begins, raises its epoch, and checks Kafka's offset
 * against our progress. Goes on until it succeeds, is stopped by an error that only an operator can decide, or the
 * assignment has gone: no assigned partition stays unowned.
 */
export class Ownership {
  readonly #ledger: Ledger
  readonly #clock: Clock
  readonly #random: Random
  readonly #log: Log
  readonly #settings: OwnershipSettings
  readonly #events: OwnershipEvents
  /** What each group's topic was begun with, so that twelve partitions ask once. */
  readonly #begun = new Map<string, Promise<TopicDescription>>()

  constructor(
    ledger: Ledger,
    clock: Clock,
    random: Random,
    log: Log,
    settings: OwnershipSettings,
    events: OwnershipEvents,
  ) {
    this.#ledger = ledger
    this.#clock = clock
    this.#random = random
    this.#log = log
    this.#settings = settings
    this.#events = events
  }

  /** The topic's id or partition count changed: the next claim looks again. */
  forget(group: string, topic: string): void {
    this.#begun.delete(`${group}\n${topic}`)
  }

  /** Claims a partition in phase `claiming`. Resolves when it is owned, stopped or gone. */
  async claim(partition: Partition): Promise<void> {
    while (partition.phase === 'claiming') {
      let owned: Owned | null
      try {
        owned = await this.#attempt(partition)
      } catch (thrown) {
        if (partition.phase !== 'claiming') return
        if (thrown instanceof TenantryError && stoppingCodes.has(thrown.code)) {
          this.#events.stopped(partition, thrown)
          return
        }
        partition.reason = messageOf(thrown)
        this.#log.warn(
          'partition.claim_failed',
          { ...partition.facts, error: partition.reason },
          'Claiming a partition failed; trying again.',
        )
        this.forget(partition.group.name, partition.topic)
        await this.#backOff(partition)
        continue
      }
      // Not within the attempt: an error of what follows is a fault of ours, and must not look like one of the claim.
      if (partition.phase === 'claiming' && owned !== null) this.#events.owned(partition, owned)
      else if (partition.epoch >= 0) this.#events.inVain(partition)
      return
    }
  }

  #backOff(partition: Partition): Promise<void> {
    const { backoffMinMs, backoffMaxMs } = this.#settings
    const delay = backOffMs(++partition.claimAttempts, { first: backoffMinMs, most: backoffMaxMs })
    return sleep(this.#clock, delay * (0.5 + this.#random.next() / 2))
  }

  /** Resolves when the epoch is raised, or the assignment has gone; null: there is nothing to begin with. */
  async #attempt(partition: Partition): Promise<Owned | null> {
    const { group } = partition
    const insists = partition.claimAttempts >= patience
    let topic = await this.#known(group, partition.topic, insists)
    if (partition.partition >= topic.partitions) {
      this.forget(group.name, partition.topic)
      topic = await this.#known(group, partition.topic, insists)
    }
    // It has just been added, and the broker that was asked lags. Begun with this count, it would miss its first row.
    if (partition.partition >= topic.partitions) {
      throw new TenantryError(
        'TENANTRY_PARTITION_UNSEEN',
        `${partition.topic}-${partition.partition} was assigned, but the topic is said to have ${topic.partitions} partitions: waiting until Kafka's metadata has it.`,
        { ...partition.facts, partitions: topic.partitions },
      )
    }
    if (partition.phase !== 'claiming') return null
    partition.topicId = topic.id
    const committed = await this.#committed(partition)
    let owned: Owned | null = null
    while (owned === null) {
      const late = partition.suspect || this.#clock.monotonic() - partition.assignedAt > this.#settings.promptRaiseMs
      if (late) await this.#proveMembership(partition, committed)
      if (partition.phase !== 'claiming') return null
      owned = await this.#takeOver(partition, committed)
      if (partition.phase !== 'claiming') break
    }
    partition.suspect = false
    partition.claimAttempts = 0
    return owned
  }

  /**
   * Kafka's offset. A coordinator that was frozen, and has not heard yet that another one took its place, answers with the
   * offset of then (seen with Kafka 4.4). So one below what we wrote last is asked for again for a while, before it is
   * taken for an operator's, or written back as a proof.
   */
  async #committed(partition: Partition): Promise<PartitionOffset | undefined> {
    const { source, onForeignOffset } = partition.group
    for (let asked = 1; ; asked++) {
      const [committed] = await source.committed([partition])
      if (committed === undefined || onForeignOffset === 'ignore' || asked === mostAsked) return committed
      if (committed.offset >= (await this.#written(partition)) || partition.phase !== 'claiming') return committed
      await sleep(this.#clock, askAgainMs)
    }
  }

  /**
   * An OffsetCommit that the coordinator accepts proves that this member is in the group's current generation. It repeats
   * the offset that stands there, so that it moves nothing; where Kafka has lost it, what was written last; 0, which passes
   * no watermark, where nothing was. It must not be foreign to a claim after this one.
   */
  async #proveMembership(partition: Partition, committed: PartitionOffset | undefined): Promise<void> {
    const { source } = partition.group
    const { topic } = partition
    const offset = committed?.offset ?? (await this.#written(partition))
    if (partition.phase !== 'claiming') return
    const reply = await source.commit([{ topic, partition: partition.partition, offset }])
    if (reply !== 'committed') {
      throw new TenantryError(
        'TENANTRY_NOT_A_MEMBER',
        `The group's coordinator did not confirm this member (${reply}).`,
        partition.facts,
      )
    }
  }

  async #written({ ref }: Partition): Promise<number> {
    const [last] = await this.#ledger.standing([ref])
    return Math.max(0, last?.kafkaOffset ?? 0)
  }

  /**
   * Null: it was moved to Kafka's offset, and is to be taken over there. Where Kafka has lost the group's offset (it
   * expired, or was deleted), or its offset counts for nothing, ours is as if never written.
   */
  async #takeOver(partition: Partition, committed: PartitionOffset | undefined): Promise<Owned | null> {
    const owned = await this.#ledger.takeOver(partition.ref)
    partition.epoch = owned.epoch
    if (owned.lost.givenUp > 1) {
      const offsets = owned.lost.suspects
        .filter(({ owners }) => owners >= suspectLimit)
        .map(({ offset }) => offset)
        .join(', ')
      throw new TenantryError(
        'TENANTRY_OWNERS_LOST',
        `Process after process ends while it runs records of ${partition.topic}-${partition.partition}, one at a time: those at offsets ${offsets} each ended ${suspectLimit}, so it may not be the records. Mend the actor, or what it calls. To go on then: ${offsetsCommand('ignore', partition)}.`,
        { ...partition.facts, offsets },
      )
    }
    if (partition.phase !== 'claiming' || (committed !== undefined && !isForeign(committed.offset, owned))) return owned
    if (committed === undefined || countsForNothing(partition, committed.offset)) return { ...owned, kafkaOffset: -1 }
    const { group, topic } = partition
    const { offset } = committed
    if (group.onForeignOffset === 'accept') {
      const [log] = await group.source.range([partition])
      if (log !== undefined && offset >= log.start && offset <= log.end) {
        this.#log.warn(
          'partition.offset_accepted',
          { ...partition.facts, kafkaOffset: offset, watermark: owned.watermark },
          "Kafka's offset was set with another tool; going on there, as configured.",
        )
        await this.#ledger.acceptOffset(partition.ref, owned, offset)
        return null
      }
    }
    const command = (verb: string) => offsetsCommand(verb, partition)
    throw new TenantryError(
      'TENANTRY_FOREIGN_OFFSET',
      `Kafka's offset ${offset} of ${topic}-${partition.partition} is outside what tenantry wrote (${owned.kafkaOffset} to ${owned.watermark}): it was set with another tool. To go on from ${owned.watermark}: ${command('ignore')}. To take Kafka's: ${command('accept')} ${offset < owned.watermark ? '--rerun' : '--skip'}.`,
      { ...partition.facts, kafkaOffset: offset, lastWritten: owned.kafkaOffset, watermark: owned.watermark },
    )
  }

  /** What is forgotten while it is asked for is asked for again: it may be the topic that has just gone. */
  async #known(group: GroupOptions, topic: string, insists: boolean): Promise<TopicDescription> {
    for (;;) {
      const begun = this.#begin(group, topic, insists)
      const description = await begun
      if (this.#begun.get(`${group.name}\n${topic}`) === begun) return description
    }
  }

  #begin(group: GroupOptions, topic: string, insists: boolean): Promise<TopicDescription> {
    const key = `${group.name}\n${topic}`
    const known = this.#begun.get(key)
    if (known) return known
    const begun = this.#beginTopic(group, topic, insists)
    this.#begun.set(key, begun)
    begun.catch(() => this.#begun.delete(key))
    return begun
  }

  async #beginTopic(group: GroupOptions, topic: string, insists: boolean): Promise<TopicDescription> {
    const [description, clusterId] = await Promise.all([group.source.describe(topic), group.source.clusterId()])
    if (description === undefined) {
      throw new TenantryError(
        'TENANTRY_TOPIC_MISSING',
        `The topic ${topic} does not exist: create it, or run "tenantry topics apply".`,
        { topic },
      )
    }
    const progress = await this.#ledger.topicProgress(group.name, topic, description.id)
    if (progress.clusterId !== '' && progress.clusterId !== clusterId) {
      throw new TenantryError(
        'TENANTRY_OTHER_CLUSTER',
        `Group ${group.name} has its progress for Kafka cluster ${progress.clusterId}, but this is cluster ${clusterId}: use another group name or another database.`,
        { group: group.name, clusterId, recorded: progress.clusterId },
      )
    }
    if (progress.partitions < description.partitions) {
      const starts = await this.#starts(group, description, progress.partitions, progress.recreated)
      await this.#ledger.begin(group.name, topic, description.id, clusterId, description.partitions, starts)
    }
    if (progress.superseded && insists) await this.#ledger.beginAgain(group.name, topic, description.id)
    return description
  }

  /** Kafka's offset where there is one, else what configuration says; 0 for what appeared later. */
  async #starts(group: GroupOptions, topic: TopicDescription, known: number, recreated: boolean): Promise<Start[]> {
    const partitions = Array.from({ length: topic.partitions }, (_, partition) => ({ topic: topic.topic, partition }))
    const fresh = partitions.slice(known)
    const ref = ({ partition }: TopicPartition) => ({
      group: group.name,
      topic: topic.topic,
      topicId: topic.id,
      partition,
    })
    if (known > 0 || recreated) return fresh.map((at) => ({ ref: ref(at), position: 0 }))
    const committed = new Map((await group.source.committed(fresh)).map((at) => [at.partition, at.offset]))
    const rest = fresh.filter(({ partition }) => !committed.has(partition))
    const configured = new Map(
      (await this.#configured(group, topic.topic, rest)).map((at) => [at.partition, at.offset]),
    )
    return fresh.map((at) => ({
      ref: ref(at),
      position: committed.get(at.partition) ?? configured.get(at.partition) ?? 0,
    }))
  }

  async #configured(
    group: GroupOptions,
    topic: string,
    partitions: readonly TopicPartition[],
  ): Promise<readonly PartitionOffset[]> {
    if (partitions.length === 0) return []
    if (group.start === 'error') {
      throw new TenantryError(
        'TENANTRY_START_MISSING',
        `Group ${group.name} sees ${topic} for the first time and Kafka has no offset for it: set groups.${group.name}.start to earliest, latest or a time.`,
        { group: group.name, topic },
      )
    }
    if (typeof group.start === 'number') return group.source.offsetsAt(partitions, group.start)
    const bound = group.start === 'earliest' ? (range: LogRange) => range.start : (range: LogRange) => range.end
    const ranges = await group.source.range(partitions)
    return ranges.map((range) => ({ topic, partition: range.partition, offset: bound(range) }))
  }
}

/**
 * A claim that has failed so often does not wait any more for metadata that lag: what they go on saying is so, and it was
 * another daemon's that lagged.
 */
const patience = 5

/** How often Kafka is asked for an offset that lies below what was written, and how long after the last time. */
const mostAsked = 8
const askAgainMs = 500

/** Whether a foreign offset decides nothing. The watermark is written over it, however long no record comes. */
function countsForNothing({ group, writtenBefore }: Partition, offset: number): boolean {
  // A failover of PostgreSQL may have lost what we wrote this for: it runs again, and nothing is to be repaired.
  return group.onForeignOffset === 'ignore' || offset === writtenBefore
}

/** The command by which an operator decides about a partition, for a message. */
export function offsetsCommand(verb: string, { group, topic, partition }: Partition): string {
  return `tenantry offsets ${verb} --group ${group.name} --topic ${topic} --partition ${partition} --reason WHY`
}

/** Errors that trying again does not mend. */
const stoppingCodes: ReadonlySet<string> = new Set([
  noProgressCode,
  'TENANTRY_OWNERS_LOST',
  'TENANTRY_FOREIGN_OFFSET',
  'TENANTRY_OTHER_CLUSTER',
  'TENANTRY_START_MISSING',
])

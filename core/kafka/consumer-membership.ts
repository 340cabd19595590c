import { consumerGroupHeartbeatV1 } from '@platformatic/kafka'
import { backOffMs, type Timer, withDeadline } from '../clock.ts'
import { errorOf, TenantryError } from '../errors.ts'
import { systemRandom } from '../random.ts'
import type { Cluster } from './cluster.ts'
import { unavailable } from './cluster.ts'
import { isOneOf } from './coordinator.ts'
import {
  type MemberIdentity,
  type Membership,
  type MembershipListener,
  type MembershipOptions,
  retryMs,
} from './membership.ts'
import { noConsumerProtocol } from './required-protocol.ts'
import { instanceFenced, type TopicPartition } from './source.ts'

/** By topic id, as the group's coordinator names partitions: a recreated topic is another one. */
type Owned = TopicPartition & { readonly topicId: string; revoking: boolean }

/** The last one is said of a group that Kafka has forgotten, as all its members were away. */
const fenced: readonly string[] = ['UNKNOWN_MEMBER_ID', 'FENCED_MEMBER_EPOCH', 'GROUP_ID_NOT_FOUND']

/**
 * A member by KIP-848: the coordinator computes assignments, the member acknowledges them by heartbeat. What it was
 * asked to give up stays in its heartbeats until it was released, and nobody else gets it before.
 */
export class ConsumerMembership implements Membership {
  readonly #options: MembershipOptions
  readonly #cluster: Cluster
  readonly #memberId = systemRandom.uuid()
  readonly #owned = new Map<string, Owned>()
  #target: readonly TopicPartitionId[] | undefined
  #epoch = 0
  #listener: MembershipListener | undefined
  #stopped = false
  #beating: Promise<void> | undefined
  /** Something to say that does not wait for the next heartbeat's time. */
  #urgent = false
  #timer: Timer | undefined
  #intervalMs = 1_000
  #failures = 0
  #joined = false
  /** What we own is not what the last heartbeat said. */
  #changed = false

  constructor(options: MembershipOptions, cluster: Cluster) {
    this.#options = options
    this.#cluster = cluster
  }

  start(listener: MembershipListener): void {
    this.#listener = listener
    this.#beat()
  }

  identity(): MemberIdentity | undefined {
    return this.#epoch > 0 ? { memberId: this.#memberId, epoch: this.#epoch } : undefined
  }

  /** The coordinator never leaves a member between two epochs. */
  readonly rebalancing = false

  doubt(): void {
    this.#beat()
  }

  /** The coordinator sees it by itself. */
  topicsChanged(): void {}

  topicsSeen(): void {}

  release(partitions: readonly TopicPartition[]): void {
    for (const { topic, partition } of partitions) {
      for (const [key, owned] of this.#owned) {
        if (owned.revoking && owned.topic === topic && owned.partition === partition) {
          this.#owned.delete(key)
          this.#changed = true
        }
      }
    }
    void this.#reconcile().catch((error) => this.#listener?.failed(errorOf(error)))
  }

  async stop(): Promise<void> {
    if (this.#stopped) return
    this.#stopped = true
    this.#timer?.cancel()
    const leave = async () => {
      await this.#beating
      if (this.#epoch <= 0) return
      const connection = await this.#options.coordinator.prompt()
      // A static member says that it will be back (-2), and keeps its partitions for the length of a session.
      await this.#heartbeat(connection, this.#options.groupInstanceId === null ? -1 : -2, [])
    }
    await withDeadline(this.#options.clock, leave(), 5_000)
    this.#epoch = 0
  }

  #beat(): void {
    if (this.#stopped) return
    this.#timer?.cancel()
    if (this.#beating) {
      this.#urgent = true
      return
    }
    this.#beating = this.#exchange().finally(() => {
      this.#beating = undefined
      if (this.#stopped) return
      const urgent = this.#urgent
      this.#urgent = false
      const ms = urgent ? 0 : this.#failures > 0 ? backOffMs(this.#failures, retryMs) : this.#intervalMs
      this.#timer = this.#options.clock.after(ms, () => this.#beat())
    })
  }

  async #exchange(): Promise<void> {
    const { coordinator } = this.#options
    try {
      const connection = await coordinator.prompt()
      this.#changed = false
      const response = await this.#heartbeat(connection, this.#epoch, topicPartitions(this.#owned.values()))
      if (this.#stopped) return
      this.#failures = 0
      this.#epoch = response.memberEpoch
      if (response.heartbeatIntervalMs > 0) this.#intervalMs = response.heartbeatIntervalMs
      this.#listener?.answered()
      if (!this.#joined) {
        this.#joined = true
        this.#listener?.joined()
      }
      if (response.assignment)
        this.#target = response.assignment.topicPartitions.flatMap(({ topicId, partitions }) =>
          partitions.map((partition) => ({ topicId, partition })),
        )
      await this.#reconcile()
    } catch (error) {
      if (this.#stopped) return
      this.#failures += 1
      coordinator.failed(error)
      // Of one that is not in the group yet it says something else: the group is a classic one, perhaps.
      if (this.#epoch > 0 && isOneOf(error, fenced)) this.#lose()
      else this.#listener?.failed(failure(error))
    }
  }

  #heartbeat(
    connection: Parameters<typeof consumerGroupHeartbeatV1.api.async>[0],
    epoch: number,
    owned: { topicId: string; partitions: number[] }[],
  ) {
    const { group, topics, groupInstanceId, releaseTimeoutMs } = this.#options
    return consumerGroupHeartbeatV1.api.async(
      connection,
      group,
      this.#memberId,
      epoch,
      groupInstanceId,
      null,
      releaseTimeoutMs + 30_000,
      [...topics],
      null,
      null,
      owned,
    )
  }

  /** Moves from what we own to what the coordinator wants us to: gives up first, and takes when nothing is left to give. */
  async #reconcile(): Promise<void> {
    const target = this.#target
    if (!target || this.#stopped) return
    const wanted = new Set(target.map(keyOf))
    const unwanted = [...this.#owned]
      .filter(([key, owned]) => !wanted.has(key) && !owned.revoking)
      .map(([, owned]) => owned)
    if (unwanted.length > 0) {
      for (const owned of unwanted) owned.revoking = true
      this.#listener?.revoked(unwanted.map(({ topic, partition }) => ({ topic, partition })))
    }
    if ([...this.#owned.values()].some((owned) => owned.revoking)) return
    const added: Owned[] = []
    const missing = target.filter((partition) => !this.#owned.has(keyOf(partition)))
    if (missing.length > 0) {
      const names = await this.#names(missing)
      if (this.#target !== target || this.#stopped) return
      for (const { topicId, partition } of missing) {
        const topic = names.get(topicId)
        if (topic !== undefined) added.push({ topicId, topic, partition, revoking: false })
      }
      for (const owned of added) {
        this.#owned.set(keyOf(owned), owned)
        this.#changed = true
      }
      // One whose name nobody knows yet: asked again with the next heartbeat.
    }
    if (added.length === missing.length) this.#target = undefined
    if (added.length > 0) this.#listener?.assigned(added.map(({ topic, partition }) => ({ topic, partition })))
    // The coordinator waits for our acknowledgement before it goes on.
    if (this.#changed) this.#beat()
  }

  async #names(partitions: readonly TopicPartitionId[]): Promise<ReadonlyMap<string, string>> {
    const names = await this.#cluster.topicNames(this.#options.topics, false)
    return partitions.every(({ topicId }) => names.has(topicId))
      ? names
      : this.#cluster.topicNames(this.#options.topics, true)
  }

  #lose(): void {
    const gone = [...this.#owned.values()].map(({ topic, partition }) => ({ topic, partition }))
    this.#owned.clear()
    this.#target = undefined
    this.#epoch = 0
    if (gone.length > 0) this.#listener?.lost(gone)
  }
}

type TopicPartitionId = { readonly topicId: string; readonly partition: number }

function keyOf({ topicId, partition }: TopicPartitionId): string {
  return `${topicId} ${partition}`
}

function topicPartitions(owned: Iterable<Owned>): { topicId: string; partitions: number[] }[] {
  const topics = Map.groupBy(owned, ({ topicId }) => topicId)
  return [...topics].map(([topicId, of]) => ({ topicId, partitions: of.map(({ partition }) => partition) }))
}

/** Why a member cannot join or stay, in words that say what to do. */
export function failure(error: unknown): TenantryError {
  if (isOneOf(error, ['FENCED_INSTANCE_ID'])) return instanceFenced(errorOf(error))
  if (isOneOf(error, ['UNRELEASED_INSTANCE_ID'])) {
    return new TenantryError(
      'TENANTRY_INSTANCE_IN_USE',
      'Another member of the group uses the same group.instance.id. Give each daemon its own; waiting for it to go.',
      {},
      { cause: errorOf(error) },
    )
  }
  if (isOneOf(error, ['UNSUPPORTED_VERSION'])) return noConsumerProtocol(errorOf(error))
  return unavailable('join the group', error)
}

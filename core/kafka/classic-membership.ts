import {
  COOPERATIVE_STICKY_ASSIGNOR,
  type Connection,
  cooperativeStickyAssigner,
  decodeConsumerProtocolAssignment,
  decodeConsumerProtocolSubscription,
  encodeConsumerProtocolAssignment,
  encodeConsumerProtocolSubscription,
  type ExtendedGroupProtocolSubscription,
  heartbeatV4,
  joinGroupV9,
  leaveGroupV5,
  syncGroupV5,
} from '@platformatic/kafka'
import { backOffMs, sleep, type Timer, withDeadline } from '../clock.ts'
import type { Cluster } from './cluster.ts'
import { failure } from './consumer-membership.ts'
import { isOneOf } from './coordinator.ts'
import {
  type MemberIdentity,
  type Membership,
  type MembershipListener,
  type MembershipOptions,
  retryMs,
} from './membership.ts'
import type { TopicDescription, TopicPartition } from './source.ts'

const subscriptionVersion = 3
/** How often it is asked, while a join waits for its answer, who coordinates. */
const lookMs = 3_000
const rejoin: readonly string[] = ['REBALANCE_IN_PROGRESS']
const fenced: readonly string[] = ['UNKNOWN_MEMBER_ID', 'ILLEGAL_GENERATION', 'FENCED_INSTANCE_ID']

/**
 * A member by the classic protocol with cooperative-sticky assignment, which mixes with other clients in one group. It
 * keeps what it owns while the group rebalances; what it must give up it gives up by joining again without it, once
 * released.
 */
export class ClassicMembership implements Membership {
  readonly #options: MembershipOptions
  readonly #cluster: Cluster
  readonly #ending = new AbortController()
  #owned: readonly TopicPartition[] = []
  /** Asked back and not released; joined again without them as soon as none is left. */
  #revoking: readonly TopicPartition[] = []
  #memberId = ''
  #generation = -1
  #listener: MembershipListener | undefined
  #loop: Promise<void> = Promise.resolve()
  #wake: (() => void) | undefined
  #joinWanted = true
  #joining = false
  #failures = 0
  /** How many partitions of each topic were shared out, where that was our work in this generation. */
  #shared: ReadonlyMap<string, number> | undefined

  constructor(options: MembershipOptions, cluster: Cluster) {
    this.#options = options
    this.#cluster = cluster
  }

  start(listener: MembershipListener): void {
    this.#listener = listener
    this.#loop = this.#run()
  }

  identity(): MemberIdentity | undefined {
    return this.#generation >= 0 ? { memberId: this.#memberId, epoch: this.#generation } : undefined
  }

  get rebalancing(): boolean {
    return this.#joining
  }

  doubt(): void {
    this.#wake?.()
  }

  /** Assignments are the leader's work, and only a join makes it do it. */
  topicsChanged(): void {
    this.#joinWanted = true
    this.#wake?.()
  }

  /**
   * What the leader did not see when it shared out, or what a static one was told to leave as it was while topics grew in
   * its absence, is nobody's, and no change of the topics will tell.
   */
  topicsSeen(topics: readonly TopicDescription[]): void {
    const shared = this.#shared
    if (shared && topics.some(({ topic, partitions }) => shared.get(topic) !== partitions)) this.topicsChanged()
  }

  release(partitions: readonly TopicPartition[]): void {
    const before = this.#revoking.length
    const released = (held: TopicPartition) =>
      partitions.some(({ topic, partition }) => topic === held.topic && partition === held.partition)
    this.#owned = this.#owned.filter(
      (held) => !(released(held) && this.#revoking.some((revoking) => same(revoking, held))),
    )
    this.#revoking = this.#revoking.filter((held) => !released(held))
    if (before > 0 && this.#revoking.length === 0) {
      this.#joinWanted = true
      this.#wake?.()
    }
  }

  async stop(): Promise<void> {
    if (this.#ending.signal.aborted) return
    this.#ending.abort(new Error('stopped'))
    this.#wake?.()
    const { clock, coordinator, group, groupInstanceId } = this.#options
    const leave = async () => {
      // A static member does not leave: it may be back within its session.
      if (this.#memberId === '' || groupInstanceId !== null) return
      const connection = await coordinator.prompt()
      await leaveGroupV5.api.async(connection, group, [
        { memberId: this.#memberId, groupInstanceId, reason: 'stopped' },
      ])
    }
    await withDeadline(clock, leave(), 5_000)
    this.#generation = -1
    await withDeadline(clock, this.#loop, 1_000)
  }

  async #run(): Promise<void> {
    const { coordinator } = this.#options
    const heartbeatMs = Math.max(100, Math.min(3_000, Math.floor(this.#options.sessionTimeoutMs / 4)))
    while (!this.#ending.signal.aborted) {
      try {
        if (this.#joinWanted && this.#revoking.length === 0) {
          const connection = await coordinator.patient()
          const over = new AbortController()
          this.#joining = true
          void this.#watch(connection, over.signal)
          await this.#join(connection).finally(() => {
            this.#joining = false
            over.abort()
          })
        } else await this.#heartbeat(await coordinator.prompt())
        this.#failures = 0
        this.#listener?.answered()
        if (!this.#joinWanted || this.#revoking.length > 0) await this.#pause(heartbeatMs)
      } catch (error) {
        if (this.#ending.signal.aborted) return
        await this.#recover(error)
      }
    }
  }

  /** A coordinator that is frozen lets a join wait for all the time that it may take, though another has its place. */
  async #watch(connection: Connection, over: AbortSignal): Promise<void> {
    const { clock, coordinator } = this.#options
    while (!over.aborted) {
      await sleep(clock, lookMs, over).catch(() => undefined)
      const moved = !over.aborted && (await coordinator.hasMoved(connection).catch(() => false))
      if (moved && !over.aborted) connection.socket?.destroy()
    }
  }

  async #heartbeat(connection: Connection): Promise<void> {
    const { group, groupInstanceId } = this.#options
    try {
      await heartbeatV4.api.async(connection, group, this.#generation, this.#memberId, groupInstanceId)
    } catch (error) {
      if (!isOneOf(error, rejoin)) throw error
      this.#joinWanted = true
    }
  }

  async #join(connection: Connection): Promise<void> {
    const { group, groupInstanceId, sessionTimeoutMs, releaseTimeoutMs, topics } = this.#options
    const metadata = encodeConsumerProtocolSubscription({
      version: subscriptionVersion,
      topics: [...topics],
      userData: Buffer.alloc(0),
      ownedPartitions: byTopic(this.#owned),
      generationId: this.#owned.length > 0 ? this.#generation : -1,
      rackId: null,
    })
    const joined = await joinGroupV9.api.async(
      connection,
      group,
      sessionTimeoutMs,
      releaseTimeoutMs + sessionTimeoutMs,
      this.#memberId,
      groupInstanceId,
      'consumer',
      [{ name: COOPERATIVE_STICKY_ASSIGNOR, metadata }],
      '',
    )
    if (this.#ending.signal.aborted) return
    this.#memberId = joined.memberId
    const leads = joined.leader === joined.memberId
    this.#shared = leads ? new Map() : undefined
    const assignments =
      leads && !joined.skipAssignment
        ? await this.#assign(joined.members.map((member) => [member.memberId, member.metadata]))
        : []
    const synced = await syncGroupV5.api.async(
      connection,
      group,
      joined.generationId,
      joined.memberId,
      groupInstanceId,
      'consumer',
      joined.protocolName,
      assignments,
    )
    if (this.#ending.signal.aborted) return
    this.#generation = joined.generationId
    this.#joinWanted = false
    this.#take(
      synced.assignment.length === 0
        ? []
        : decodeConsumerProtocolAssignment(synced.assignment).assignedPartitions.flatMap(({ topic, partitions }) =>
            partitions.map((partition) => ({ topic, partition })),
          ),
    )
  }

  async #assign(
    members: readonly (readonly [memberId: string, metadata: Buffer])[],
  ): Promise<{ memberId: string; assignment: Buffer }[]> {
    const subscriptions = new Map<string, ExtendedGroupProtocolSubscription>()
    const topics = new Set<string>()
    for (const [memberId, metadata] of members) {
      const {
        version,
        topics: wanted,
        ownedPartitions,
        generationId,
        rackId,
      } = decodeConsumerProtocolSubscription(metadata)
      subscriptions.set(memberId, { memberId, version, topics: wanted, ownedPartitions, generationId, rackId })
      for (const topic of wanted) topics.add(topic)
    }
    const cluster = await this.#cluster.topology([...topics])
    this.#shared = new Map([...topics].map((topic) => [topic, cluster.topics.get(topic)?.partitionsCount ?? 0]))
    return cooperativeStickyAssigner(this.#memberId, subscriptions, topics, cluster).map(
      ({ memberId, assignments }) => ({
        memberId,
        assignment: encodeConsumerProtocolAssignment({
          version: subscriptionVersion,
          assignedPartitions: [...assignments.values()],
        }),
      }),
    )
  }

  #take(assigned: readonly TopicPartition[]): void {
    const before = this.#owned
    const added = assigned.filter((partition) => !before.some((held) => same(held, partition)))
    const revoked = before.filter((held) => !assigned.some((partition) => same(held, partition)))
    this.#owned = [...before, ...added]
    this.#revoking = revoked
    this.#listener?.joined()
    if (added.length > 0) this.#listener?.assigned(added)
    if (revoked.length > 0) this.#listener?.revoked(revoked)
  }

  async #recover(error: unknown): Promise<void> {
    const { coordinator, clock } = this.#options
    coordinator.failed(error)
    if (isOneOf(error, rejoin)) {
      this.#joinWanted = true
      return
    }
    if (isOneOf(error, ['MEMBER_ID_REQUIRED'])) {
      this.#memberId = memberIdOf(error) ?? this.#memberId
      return
    }
    this.#failures += 1
    if (isOneOf(error, fenced)) {
      const gone = this.#owned
      this.#owned = []
      this.#revoking = []
      this.#generation = -1
      this.#joinWanted = true
      if (!isOneOf(error, ['ILLEGAL_GENERATION'])) this.#memberId = ''
      if (gone.length > 0) this.#listener?.lost(gone)
    }
    if (isOneOf(error, ['FENCED_INSTANCE_ID'])) {
      this.#listener?.failed(failure(error))
      // Whoever has our instance id would be fenced by us, and we by it, for ever.
      return this.#untilStopped()
    }
    if (!isOneOf(error, fenced)) this.#listener?.failed(failure(error))
    await sleep(clock, backOffMs(this.#failures, retryMs), this.#ending.signal).catch(() => undefined)
  }

  #untilStopped(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#ending.signal.aborted) return resolve()
      this.#ending.signal.addEventListener('abort', () => resolve(), { once: true })
    })
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer: Timer = this.#options.clock.after(ms, () => this.#wake?.())
      this.#wake = () => {
        timer.cancel()
        this.#wake = undefined
        resolve()
      }
    })
  }
}

function same(a: TopicPartition, b: TopicPartition): boolean {
  return a.topic === b.topic && a.partition === b.partition
}

function byTopic(partitions: readonly TopicPartition[]): { topic: string; partitions: number[] }[] {
  const topics = Map.groupBy(partitions, ({ topic }) => topic)
  return [...topics].map(([topic, of]) => ({ topic, partitions: of.map(({ partition }) => partition) }))
}

/** The first join is answered with an error that carries the id to join with. */
function memberIdOf(error: unknown): string | undefined {
  const response = error instanceof Error && 'response' in error ? error.response : undefined
  if (typeof response !== 'object' || response === null || !('memberId' in response)) return undefined
  return typeof response.memberId === 'string' && response.memberId !== '' ? response.memberId : undefined
}

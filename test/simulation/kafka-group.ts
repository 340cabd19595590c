import type { OffsetCommitReply, PartitionOffset, TopicPartition } from '../../core/kafka/source.ts'
import type { EventLoop } from './event-loop.ts'
import type { KafkaCluster } from './kafka-cluster.ts'
import type { SeededRandom } from './seeded-random.ts'

type Member = { readonly id: number; seenAt: number; generation: number; readonly revoking: Set<string> }

/** What a heartbeat tells a member. `fenced`: it is not one any more. */
export type Instructions =
  | { readonly kind: 'fenced' }
  | { readonly kind: 'member'; readonly assign: TopicPartition[]; readonly revoke: TopicPartition[] }

export type GroupHooks = {
  /** The group's offset of a partition was written by `member`. */
  committed(at: TopicPartition, topicId: string, offset: number): void
}

/**
 * A group's coordinator. Members are brought to their target assignment by heartbeats, as in KIP-848: a partition is
 * assigned only once its last owner has given it up or has been expelled. The classic protocol differs in what a member
 * hears that has not yet followed a rebalance: its commits are refused although it goes on.
 */
export class KafkaGroup {
  readonly name: string
  readonly topics: readonly string[]
  readonly offsets = new Map<string, number>()
  /** What a member's last write replaced, and when. */
  readonly #replaced = new Map<string, { readonly offset: number; readonly at: number }>()
  readonly #loop: EventLoop
  readonly #cluster: KafkaCluster
  readonly #random: SeededRandom
  readonly #protocol: 'consumer' | 'classic'
  readonly #sessionMs: number
  readonly #hooks: GroupHooks
  readonly #members = new Map<number, Member>()
  readonly #owners = new Map<string, number>()
  #target = new Map<string, number>()
  #generation = 0
  #nextMember = 1

  constructor(options: {
    name: string
    topics: readonly string[]
    loop: EventLoop
    cluster: KafkaCluster
    random: SeededRandom
    protocol: 'consumer' | 'classic'
    sessionMs: number
    hooks: GroupHooks
  }) {
    this.name = options.name
    this.topics = options.topics
    this.#loop = options.loop
    this.#cluster = options.cluster
    this.#random = options.random
    this.#protocol = options.protocol
    this.#sessionMs = options.sessionMs
    this.#hooks = options.hooks
    this.#watch()
  }

  get memberCount(): number {
    return this.#members.size
  }

  join(): number {
    const id = this.#nextMember++
    this.#members.set(id, { id, seenAt: this.#loop.now, generation: this.#generation, revoking: new Set() })
    this.rebalance(false)
    return id
  }

  leave(id: number): void {
    if (!this.#members.delete(id)) return
    for (const [key, owner] of this.#owners) if (owner === id) this.#owners.delete(key)
    this.rebalance(false)
  }

  ownerOf(at: TopicPartition): number | undefined {
    return this.#owners.get(keyOf(at))
  }

  heartbeat(id: number, released: readonly TopicPartition[]): Instructions {
    const member = this.#members.get(id)
    if (member === undefined) return { kind: 'fenced' }
    member.seenAt = this.#loop.now
    member.generation = this.#generation
    for (const at of released) {
      const key = keyOf(at)
      member.revoking.delete(key)
      if (this.#owners.get(key) === id) this.#owners.delete(key)
    }
    const assign: TopicPartition[] = []
    const revoke: TopicPartition[] = []
    for (const [key, target] of this.#target) {
      const owner = this.#owners.get(key)
      if (target === id && owner === undefined) {
        this.#owners.set(key, id)
        assign.push(partitionOf(key))
      } else if (owner === id && target !== id && !member.revoking.has(key)) {
        member.revoking.add(key)
        revoke.push(partitionOf(key))
      }
    }
    // The topic came again with fewer partitions: what it lacks is nobody's target, and is taken from its owner.
    for (const [key, owner] of this.#owners) {
      if (owner !== id || this.#target.has(key) || member.revoking.has(key)) continue
      member.revoking.add(key)
      revoke.push(partitionOf(key))
    }
    return { kind: 'member', assign, revoke }
  }

  /** Kafka takes any partition's offset from any member of the present generation. */
  commit(id: number, offsets: readonly PartitionOffset[]): OffsetCommitReply {
    const member = this.#members.get(id)
    if (member === undefined) return 'not-member'
    if (this.#protocol === 'classic' && member.generation !== this.#generation)
      return this.#random.chance(0.5) ? 'not-member' : 'unavailable'
    for (const at of offsets) {
      const offset = this.offsetOf(at)
      if (offset !== undefined) this.#replaced.set(keyOf(at), { offset, at: this.#loop.now })
      this.write(at, at.offset)
    }
    return 'committed'
  }

  write(at: TopicPartition, offset: number): void {
    const topic = this.#cluster.topic(at.topic)
    if (topic === undefined) return
    this.offsets.set(keyOf(at), offset)
    this.#hooks.committed(at, topic.id, offset)
  }

  offsetOf(at: TopicPartition): number | undefined {
    return this.offsets.get(keyOf(at))
  }

  /** As a coordinator says that was frozen, and does not know for a while that it is none any more. */
  staleOffsetOf(at: TopicPartition): number | undefined {
    const replaced = this.#replaced.get(keyOf(at))
    return replaced !== undefined && this.#loop.now - replaced.at < 2_000 ? replaced.offset : this.offsetOf(at)
  }

  /** The topic was deleted: so are the group's offsets of it. Its partitions are taken at the next rebalance. */
  forget(topic: string): void {
    for (const key of [...this.offsets.keys()]) {
      if (partitionOf(key).topic !== topic) continue
      this.offsets.delete(key)
      this.#replaced.delete(key)
    }
  }

  expel(id: number): void {
    this.leave(id)
  }

  /** Decides anew who gets what; `shuffle` moves more than is needed. */
  rebalance(shuffle: boolean): void {
    this.#generation++
    const members = [...this.#members.keys()]
    this.#target = new Map()
    if (members.length === 0) return
    const partitions = this.topics.flatMap((name) =>
      (this.#cluster.topic(name)?.logs ?? []).map((_, partition) => keyOf({ topic: name, partition })),
    )
    const share = Math.ceil(partitions.length / members.length)
    const load = new Map(members.map((id) => [id, 0]))
    const left: string[] = []
    for (const key of partitions) {
      const owner = this.#owners.get(key)
      const stays =
        owner !== undefined &&
        load.has(owner) &&
        (load.get(owner) ?? 0) < share &&
        !(shuffle && this.#random.chance(0.5))
      if (stays) this.#give(key, owner, load)
      else left.push(key)
    }
    for (const key of left) {
      const least = Math.min(...load.values())
      const candidates = members.filter((id) => (load.get(id) ?? 0) === least)
      this.#give(key, this.#random.any(candidates) ?? 0, load)
    }
    // Whom a revoke was asked of that is not wanted any more keeps it all the same until it has answered.
  }

  #give(key: string, id: number, load: Map<number, number>): void {
    this.#target.set(key, id)
    load.set(id, (load.get(id) ?? 0) + 1)
  }

  /** Expels members that are silent for longer than their session. A coordinator that is away counts nobody's silence. */
  #watch(): void {
    this.#loop.after(500, 'sessions', () => {
      for (const member of [...this.#members.values()]) {
        if (this.#cluster.away) member.seenAt = this.#loop.now
        else if (this.#loop.now - member.seenAt > this.#sessionMs) this.expel(member.id)
      }
      this.#watch()
    })
  }
}

export function keyOf({ topic, partition }: TopicPartition): string {
  return `${topic}/${partition}`
}

function partitionOf(key: string): TopicPartition {
  const slash = key.lastIndexOf('/')
  return { topic: key.slice(0, slash), partition: Number(key.slice(slash + 1)) }
}

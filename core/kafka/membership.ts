import type { Clock } from '../clock.ts'
import type { GroupCoordinator } from './coordinator.ts'
import type { TopicDescription, TopicPartition } from './source.ts'

/** What the group does to a member. Called from the member's own loop. */
export interface MembershipListener {
  joined(): void
  assigned(partitions: readonly TopicPartition[]): void
  /** They stay ours, towards the group, until `Membership.release`. */
  revoked(partitions: readonly TopicPartition[]): void
  lost(partitions: readonly TopicPartition[]): void
  failed(error: Error): void
  answered(): void
}

/** How this member names itself in an offset commit. */
export type MemberIdentity = { readonly memberId: string; readonly epoch: number }

/** One member of a group, by either protocol. */
export interface Membership {
  start(listener: MembershipListener): void
  /** Leaves the group, as far as it can be reached within a few seconds. */
  stop(): Promise<void>
  /** The owner has let go of partitions it was asked for by `revoked`. */
  release(partitions: readonly TopicPartition[]): void
  /** A topic has more partitions, or is another one. */
  topicsChanged(): void
  /** These exist, as far as a look at all topics knows: to be told of every look, as one may lag, and the next not. */
  topicsSeen(topics: readonly TopicDescription[]): void
  /** Undefined while it is in no group. */
  identity(): MemberIdentity | undefined
  /** Between two generations: a commit may be refused although we are a member. */
  readonly rebalancing: boolean
  /** A commit was refused because we are not a member: find out now, not at the next heartbeat. */
  doubt(): void
}

export type MembershipOptions = {
  readonly group: string
  readonly topics: readonly string[]
  readonly groupInstanceId: string | null
  readonly sessionTimeoutMs: number
  readonly releaseTimeoutMs: number
  readonly coordinator: GroupCoordinator
  readonly clock: Clock
}

export const retryMs = { first: 200, most: 5_000 } as const

import type { Source } from '../core/kafka/source.ts'
import type { RetryPolicy } from '../core/retry-policy.ts'

/** What the engine must know of an actor; the rest is the workers' business. */
export type ActorRole = {
  /** Its place in the topology that every worker loaded. */
  readonly index: number
  readonly name: string
  readonly topic: string
  readonly stateful: boolean
  /** One record at a time, each after the commit of the one before. */
  readonly serial: boolean
  /** What it calls, outside of every commit; a decision names them by their place here. */
  readonly dependencies: readonly string[]
  readonly retry: RetryPolicy
}

export type GroupOptions = {
  readonly name: string
  readonly source: Source
  /** At most one a topic. */
  readonly actors: readonly ActorRole[]
  /** Where a topic begins that neither we nor Kafka know for this group; a number is a time in ms. */
  readonly start: 'earliest' | 'latest' | 'error' | number
  /** Kafka's offset was set with another tool: stop and say so, go on from our progress, or go on there. */
  readonly onForeignOffset: 'stop' | 'ignore' | 'accept'
  /** The log no longer has our position: stop and say so, or go on at its start or end. */
  readonly onOutOfRange: 'stop' | 'earliest' | 'latest'
  /** The header that names the tenant; null: the record's key does. */
  readonly tenantHeader: string | null
}

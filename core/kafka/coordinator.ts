import { ConnectionPool, type Connection, findErrorBy, offsetCommitV9 } from '@platformatic/kafka'
import type { Cluster } from './cluster.ts'
import { type KafkaConnection, poolOptions, requestTimeoutOf } from './options.ts'
import type { MemberIdentity } from './membership.ts'
import type { OffsetCommitReply, PartitionOffset } from './source.ts'

const notMember: readonly string[] = [
  'ILLEGAL_GENERATION',
  'UNKNOWN_MEMBER_ID',
  'FENCED_INSTANCE_ID',
  'FENCED_MEMBER_EPOCH',
  'GROUP_ID_NOT_FOUND',
  'UNRELEASED_INSTANCE_ID',
]
const moved: readonly string[] = ['NOT_COORDINATOR', 'COORDINATOR_NOT_AVAILABLE', 'COORDINATOR_LOAD_IN_PROGRESS']

const maxCommitMs = 10_000

/**
 * The broker that coordinates our group. Heartbeats, joins and commits use connections of their own: a broker answers the
 * requests of one connection in order, and a join waits for the other members.
 */
export class GroupCoordinator {
  readonly #cluster: Cluster
  readonly #group: string
  readonly #instanceId: string | null
  readonly #prompt: ConnectionPool
  readonly #patient: ConnectionPool
  readonly #commits: ConnectionPool
  #broker: { readonly host: string; readonly port: number } | undefined

  constructor(
    connection: KafkaConnection,
    cluster: Cluster,
    group: string,
    instanceId: string | null,
    joinTimeoutMs: number,
  ) {
    this.#cluster = cluster
    this.#group = group
    this.#instanceId = instanceId
    const pool = (timeoutMs: number) => new ConnectionPool(connection.clientId, poolOptions(connection, timeoutMs))
    this.#prompt = pool(requestTimeoutOf(connection))
    this.#patient = pool(joinTimeoutMs)
    this.#commits = pool(Math.min(maxCommitMs, requestTimeoutOf(connection)))
  }

  /** A connection for requests that are answered at once. Rejects while no coordinator can be reached. */
  prompt(): Promise<Connection> {
    return this.#connect(this.#prompt)
  }

  /** A connection for joins, whose answers wait for the other members. Rejects as `prompt`. */
  patient(): Promise<Connection> {
    return this.#connect(this.#patient)
  }

  /** Whether another broker than that of `connection` coordinates by now. Rejects when nobody says. */
  async hasMoved(connection: Connection): Promise<boolean> {
    const { host, port } = await this.#cluster.coordinator(this.#group)
    return connection.host !== host || connection.port !== port
  }

  /** Writes offsets under `identity`. Never rejects. */
  async commit(identity: MemberIdentity, offsets: readonly PartitionOffset[]): Promise<OffsetCommitReply> {
    try {
      const connection = await this.#connect(this.#commits)
      const rows = [...Map.groupBy(offsets, ({ topic }) => topic)].map(([name, of]) => ({
        name,
        partitions: of.map(({ partition, offset }) => ({
          partitionIndex: partition,
          committedOffset: BigInt(offset),
          committedLeaderEpoch: -1,
          committedMetadata: null,
        })),
      }))
      await offsetCommitV9.api.async(connection, this.#group, identity.epoch, identity.memberId, this.#instanceId, rows)
      return 'committed'
    } catch (error) {
      this.failed(error)
      return isOneOf(error, notMember) ? 'not-member' : 'unavailable'
    }
  }

  /** To be told of every failed request: the coordinator may have moved. */
  failed(error: unknown): void {
    const unanswered = !isProtocolError(error)
    if (isOneOf(error, moved) || unanswered) this.#broker = undefined
    // The network may have gone for a join's connection, too, which would not notice for long.
    if (unanswered) for (const [, connection] of this.#patient) connection.socket?.destroy()
  }

  async close(): Promise<void> {
    await Promise.allSettled([this.#prompt, this.#patient, this.#commits].map((pool) => pool.close()))
  }

  async #connect(pool: ConnectionPool): Promise<Connection> {
    try {
      this.#broker ??= await this.#cluster.coordinator(this.#group)
      return await pool.get(this.#broker)
    } catch (error) {
      this.#broker = undefined
      throw error
    }
  }
}

/** True when `error`, or one that it wraps, is the protocol's error of one of these names. */
export function isOneOf(error: unknown, names: readonly string[]): boolean {
  return error instanceof Error && names.some((name) => findErrorBy(error, 'apiId', name) !== null)
}

function isProtocolError(error: unknown): boolean {
  return error instanceof Error && findErrorBy(error, 'code', 'PLT_KFK_PROTOCOL') !== null
}

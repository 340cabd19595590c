import { isIP } from 'node:net'
import type { BaseOptions, ConnectionOptions } from '@platformatic/kafka'
import type { Clock } from '../clock.ts'
import type { Log } from '../log.ts'

/** Certificates and keys as PEM text. */
type KafkaTls = {
  /** The authorities to trust; the system's own where undefined. */
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
  readonly passphrase?: string
  /** Default true. False also skips the check of the broker's name. */
  readonly rejectUnauthorized?: boolean
}

type KafkaSasl = {
  readonly mechanism: 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512'
  readonly username: string
  readonly password: string
}

/** How to reach a cluster. */
export type KafkaConnection = {
  /** `host:port` of some brokers; the rest are found through them. */
  readonly bootstrap: readonly string[]
  readonly clientId: string
  readonly tls?: KafkaTls
  readonly sasl?: KafkaSasl
  /** A broker that has not answered a request for so long has gone. Default 30 s. */
  readonly requestTimeoutMs?: number
}

/** Keys of the driver's own configuration. Those that a guarantee depends on are refused by `createSource`. */
export type PassThrough = Readonly<Record<string, string | number | boolean>>

export type SourceOptions = KafkaConnection & {
  readonly group: string
  readonly topics: readonly string[]
  /** Static membership: the member keeps its partitions over a restart shorter than its session. */
  readonly groupInstanceId?: string
  /** `consumer` is KIP-848 (Kafka 4.0 and later); `classic` is the older one, with cooperative-sticky assignment. */
  readonly protocol: 'consumer' | 'classic'
  /** With `consumer` the broker's `group.consumer.session.timeout.ms` counts instead. */
  readonly sessionTimeoutMs: number
  /** How long revoked partitions wait for `release` before they are given up anyway. */
  readonly releaseTimeoutMs: number
  /** Bound of what is fetched and not yet delivered, in bytes, over all partitions. */
  readonly maxFetchBytes: number
  readonly passThrough?: PassThrough
  readonly clock: Clock
  readonly log: Log
}

/** How often topics are looked at for a new id or new partitions, while nothing else brings the news. */
export const topicCheckMs = 5_000

/**
 * Options for any client of @platformatic/kafka. Its own retries are few and short: whoever calls knows better how long
 * to go on.
 */
export function clientOptions(connection: KafkaConnection): BaseOptions {
  return {
    clientId: connection.clientId,
    bootstrapBrokers: [...connection.bootstrap],
    autocreateTopics: false,
    timeout: 30_000,
    retries: 2,
    retryDelay: 250,
    metadataMaxAge: topicCheckMs,
    ...poolOptions(connection),
  }
}

/** The time after which a request is given up, and with it its connection: nothing else tells of a broken network. */
export function requestTimeoutOf({ requestTimeoutMs = 30_000 }: KafkaConnection): number {
  return requestTimeoutMs
}

/** Options for a pool of connections to brokers. */
export function poolOptions(
  connection: KafkaConnection,
  requestTimeoutMs: number = requestTimeoutOf(connection),
): ConnectionOptions {
  const { bootstrap, tls, sasl } = connection
  return {
    connectTimeout: 5_000,
    requestTimeout: requestTimeoutMs,
    ...(tls && {
      tls: {
        ...(tls.ca !== undefined && { ca: tls.ca }),
        ...(tls.cert !== undefined && { cert: tls.cert }),
        ...(tls.key !== undefined && { key: tls.key }),
        ...(tls.passphrase !== undefined && { passphrase: tls.passphrase }),
        rejectUnauthorized: tls.rejectUnauthorized ?? true,
      },
      // Brokers behind one address are told apart by the name in the TLS handshake; addresses may not stand there.
      tlsServerName: !bootstrap.some((broker) => isIP(broker.slice(0, broker.lastIndexOf(':')).replace(/[[\]]/g, ''))),
    }),
    ...(sasl && { sasl: { mechanism: sasl.mechanism, username: sasl.username, password: sasl.password } }),
  }
}

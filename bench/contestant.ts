import type { Configuration } from './configuration.ts'
import { Daemon } from './daemon.ts'
import { kafkaVersion } from './machine.ts'
import { descriptionOf } from './measure-daemon.ts'
import type { Home } from './measure.ts'
import { PeerProcess } from './peer-process.ts'
import { heartbeatMs, type Peer, sessionMs, type WorkKind } from './peers/peer.ts'
import type { Run } from './run.ts'
import type { Servers } from './servers.ts'
import type { Subject } from './subject.ts'

/** Tenantry or a peer, for one kind of work. */
export type Contestant = {
  readonly name: string
  readonly works: readonly WorkKind[]
  launch(home: Home, job: PeerJob): Promise<Subject>
  describe(job: PeerJob): Pick<Run, 'subject' | 'mode' | 'runtime' | 'driver' | 'variant' | 'versions' | 'settings'>
}

export type PeerJob = {
  readonly servers: Servers
  readonly work: WorkKind
  readonly topic: string
  readonly partitions: number
  /** Of the HTTP server, where the work calls one. */
  readonly url: string
}

/** As the Parallel Consumer's own measurements have it. */
const concurrency = 100
/** More than two cores make use of. */
const connections = 16

const waits: Partial<Record<WorkKind, { readonly ms: number; readonly times: number }>> = {
  wait: { ms: 5, times: 1 },
  waits: { ms: 4, times: 5 },
}

/** Our daemon. Where the peers keep no keys of messages, it keeps none either, and is exactly once all the same. */
export function tenantry(configuration: Configuration): Contestant {
  const actors = {
    nothing: 'nothing',
    row: 'rows',
    transaction: 'rows',
    batch: 'rows',
    wait: 'waits',
    waits: 'waits',
    http: 'http',
  } as const
  const modeOf = (work: WorkKind) => (work === 'transaction' || work === 'batch' ? 'message-id' : 'offset')
  const settings = [`consumer.sessionTimeout=${sessionMs}ms`]
  let latest: Daemon | undefined
  return {
    name: 'tenantry',
    works: ['nothing', 'row', 'transaction', 'batch', 'wait', 'waits', 'http'],
    async launch({ database, group }, { servers, work, topic, url }) {
      const { ms = 0, times = 0 } = waits[work] ?? {}
      latest = new Daemon({
        configuration,
        actor: actors[work],
        mode: modeOf(work),
        group,
        topic,
        kafka: servers.kafka,
        database,
        settings,
        env: { BENCH_WAIT_MS: String(ms), BENCH_WAIT_TIMES: String(times), BENCH_URL: url },
      })
      return latest
    },
    describe({ servers, work }) {
      return {
        ...descriptionOf({ configFile: latest?.configFile ?? '' }, servers, configuration, settings),
        mode: modeOf(work),
      }
    },
  }
}

/** One of the others. */
export function contestantOf(peer: Peer): Contestant {
  return {
    name: peer.name,
    works: peer.works,
    async launch({ database, group }, { servers, work, topic, partitions, url }) {
      await database.sql`
        create table if not exists peer_keys (tenant text, message_id uuid, primary key (message_id, tenant))`
      return new PeerProcess(peer.name, await peer.command(), {
        kafka: servers.kafka,
        topic,
        group,
        postgres: database.url,
        work: { kind: work, ...waits[work], ...(work === 'http' && { url }) },
        concurrency,
        partitions,
        connections,
      })
    },
    describe({ servers, work }) {
      return {
        subject: peer.name,
        mode: work === 'transaction' || work === 'batch' ? 'message-id' : 'none',
        runtime: peer.runtime,
        driver: peer.library,
        variant: '',
        versions: {
          ...peer.versions(),
          postgres: servers.settings['server_version'] ?? '',
          kafka: kafkaVersion(),
        },
        settings: { postgres: servers.settings, peer: { concurrency, connections, sessionMs, heartbeatMs } },
      }
    },
  }
}

import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { z } from 'zod'
import { messageOf, TenantryError } from '../../core/errors.ts'
import { takeLock } from '../../tools/setup/lock.mjs'
import { isWritable } from '../../tools/setup/paths.mjs'
import { allBrokersSeeAll, kafkaServices, type ProxiedListener } from './kafka.ts'
import { freePorts, isFree } from './ports.ts'
import { postgresService, postgresUrl, wipePostgres } from './postgres.ts'
import { ensurePrograms } from './programs.ts'
import { isRunning, readRecord } from './record.ts'
import { redisService, redisUrl } from './redis.ts'
import { PORT_TAKEN, type Service } from './service.ts'

export interface ServicesOptions {
  /** The cluster's folder: data, logs, records. Two clusters never share one. */
  readonly dir: string
  /** Kafka brokers; 1 when left out. With 3: replication factor 3, min in-sync replicas 2. */
  readonly brokers?: 1 | 3
  /** Which servers; all when left out. */
  readonly kafka?: boolean
  readonly postgres?: boolean
  readonly redis?: boolean
  /** Whether they outlive this program, as `dev up` wants it. Left out: they end with the run that started them. */
  readonly keep?: boolean
  /** Whether brokers start for half the CPU and then run slower: for tests. Left out: unless `keep`. */
  readonly quickStart?: boolean
  /** Broker settings beyond, or instead of, ours (`group.consumer.session.timeout.ms` …). */
  readonly kafkaSettings?: Readonly<Record<string, string>>
  /** Further listeners of each broker, in the order of their node ids, for clients that come by proxies. */
  readonly kafkaProxied?: readonly (readonly ProxiedListener[])[]
  /** PostgreSQL settings beyond, or instead of, ours. */
  readonly postgresSettings?: Readonly<Record<string, string>>
}

/** A running local cluster. */
export interface Services {
  readonly dir: string
  /** Every service that was asked for: brokers, PostgreSQL, Redis. */
  readonly all: readonly Service[]
  /** Bootstrap addresses, `host:port,host:port`. */
  readonly kafkaAddress: string
  /** `postgres://postgres@127.0.0.1:port/tenantry`; the user needs no password. */
  readonly postgresUrl: string
  /** `redis://127.0.0.1:port`. */
  readonly redisUrl: string
  /** A broker by its node id, 1 to 3. */
  kafka(node: number): Service
  readonly postgres: Service
  readonly redis: Service
  /** Resolves when every Kafka broker sees all of them, as after a restart. */
  kafkaComplete(): Promise<void>
  /** Stops all; data stay. Idempotent. */
  stop(): Promise<void>
  /** Stops all, and removes the folder. */
  wipe(): Promise<void>
}

/** Brokers that have started have found one another by then. */
const completeMs = 60_000

const layoutSchema = z.object({
  brokers: z.array(z.object({ broker: z.number(), controller: z.number() })),
  postgres: z.number(),
  redis: z.number(),
})
type Layout = z.infer<typeof layoutSchema>

/**
 * Starts what is not running of the cluster in `dir`, and resolves when all of it answers. Calling it again, from this
 * or another program, finds the same servers; one that crashed or never came up is started again, on the data it had.
 * Ports are free ones, and stay the same as long as they are free.
 * Throws TENANTRY_DEV_FOLDER when it cannot write there, TENANTRY_DEV_SERVICE with the end of the log when a server does
 * not come up, TENANTRY_DEV_BROKERS when the folder holds the data of another number of brokers.
 */
export async function startServices(options: ServicesOptions): Promise<Services> {
  const dir = resolve(options.dir)
  if (!isWritable(dir))
    throw new TenantryError(
      'TENANTRY_DEV_FOLDER',
      `${dir} cannot be made or written to, and the servers keep their data there: let this user write to it, or name another folder by TENANTRY_DEV_ROOT.`,
      { folder: dir },
    )
  await ensurePrograms()
  const free = await takeLock(join(dir, 'lock'))
  try {
    for (let tries = 1; ; tries++) {
      const services = describe({ ...options, dir }, await layout(dir, options.brokers ?? 1))
      const results = await Promise.allSettled(services.all.map((service) => service.start()))
      const failed = results.find((result) => result.status === 'rejected')
      if (failed === undefined) {
        await services.kafkaComplete()
        return services
      }
      if (tries === 3 || !PORT_TAKEN.test(messageOf(failed.reason))) {
        await services.stop()
        throw failed.reason
      }
      await services.stop() // someone was quicker to one of the ports: all anew
    }
  } finally {
    free()
  }
}

/** The cluster in `dir` as its records say, without starting anything; undefined when there never was one. */
export function findServices(dir: string): Services | undefined {
  const known = readLayout(resolve(dir))
  return known === undefined ? undefined : describe({ dir: resolve(dir), keep: true }, known)
}

function describe(options: ServicesOptions, ports: Layout): Services {
  const { dir, keep = false, quickStart = !keep } = options
  const brokers =
    options.kafka === false
      ? []
      : kafkaServices({
          dir,
          keep,
          quickStart,
          ports: ports.brokers,
          proxied: options.kafkaProxied ?? [],
          settings: options.kafkaSettings ?? {},
        })
  const postgres =
    options.postgres === false
      ? undefined
      : postgresService({ dir, keep, port: ports.postgres, settings: options.postgresSettings ?? {} })
  const redis = options.redis === false ? undefined : redisService({ dir, keep, port: ports.redis })
  const all = [...brokers, ...(postgres ? [postgres] : []), ...(redis ? [redis] : [])]
  const bootstrap = brokers.map((broker) => broker.address)
  const asked = <T>(value: T | undefined, name: string): T => {
    if (value === undefined)
      throw new TenantryError(
        'TENANTRY_DEV_NOT_STARTED',
        `${name} is not part of this cluster: ask startServices for it.`,
      )
    return value
  }
  const stop = async () => {
    await Promise.all(all.map((service) => service.stop()))
  }
  return {
    dir,
    all,
    get kafkaAddress() {
      return asked(bootstrap.length > 0 ? bootstrap.join(',') : undefined, 'Kafka')
    },
    get postgresUrl() {
      return asked(postgres && postgresUrl(ports.postgres), 'PostgreSQL')
    },
    get redisUrl() {
      return asked(redis && redisUrl(ports.redis), 'Redis')
    },
    kafka: (node) => asked(brokers[node - 1], `Broker ${node}`),
    get postgres() {
      return asked(postgres, 'PostgreSQL')
    },
    get redis() {
      return asked(redis, 'Redis')
    },
    async kafkaComplete() {
      if (bootstrap.length > 0) await withDeadline(() => allBrokersSeeAll(bootstrap), completeMs)
    },
    stop,
    async wipe() {
      await Promise.all(all.map((service) => service.kill())) // nothing of theirs is kept: no need to be polite
      wipePostgres(dir)
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

/** The recorded ports, less those that somebody else has taken since; new ones for them. */
async function layout(dir: string, brokers: 1 | 3): Promise<Layout> {
  const known = readLayout(dir)
  if (known !== undefined && known.brokers.length !== brokers) {
    throw new TenantryError(
      'TENANTRY_DEV_BROKERS',
      `This cluster has the data of ${known.brokers.length} broker(s), not ${brokers}: start it with --brokers ${known.brokers.length}, or wipe it first (dev down --wipe).`,
      { brokers: known.brokers.length },
    )
  }
  const usable = async (port: number, name: string) => isOurs(dir, name, port) || (await isFree(port))
  const fresh = async (): Promise<number> => (await freePorts(1))[0] ?? 0
  const kept = known ?? { brokers: [], postgres: 0, redis: 0 }
  let kafka = kept.brokers
  const checks = await Promise.all(
    kafka.flatMap((ports, index) => [
      usable(ports.broker, `kafka-${index + 1}`),
      usable(ports.controller, `kafka-${index + 1}`),
    ]),
  )
  if (kafka.length !== brokers || checks.includes(false)) {
    const ports = await freePorts(brokers * 2)
    kafka = Array.from({ length: brokers }, (_, index) => ({
      broker: ports[index * 2] ?? 0,
      controller: ports[index * 2 + 1] ?? 0,
    }))
  }
  const made = {
    brokers: kafka,
    postgres: kept.postgres > 0 && (await usable(kept.postgres, 'postgres')) ? kept.postgres : await fresh(),
    redis: kept.redis > 0 && (await usable(kept.redis, 'redis')) ? kept.redis : await fresh(),
  }
  writeFileSync(join(dir, 'ports.json'), JSON.stringify(made))
  return made
}

function isOurs(dir: string, name: string, port: number): boolean {
  const record = readRecord(join(dir, `${name}.json`))
  return isRunning(record) && record.ports.includes(port)
}

function readLayout(dir: string): Layout | undefined {
  try {
    return layoutSchema.parse(JSON.parse(readFileSync(join(dir, 'ports.json'), 'utf8')))
  } catch {
    return undefined
  }
}

async function withDeadline(work: () => Promise<void>, deadlineMs: number): Promise<void> {
  const deadline = Date.now() + deadlineMs
  for (;;) {
    try {
      return await work()
    } catch (error) {
      if (Date.now() > deadline)
        throw new TenantryError(
          'TENANTRY_DEV_SERVICE',
          `The brokers do not see one another after ${deadlineMs / 1_000} s (${messageOf(error)}): run it again, when the machine has less else to do.`,
          {},
          { cause: error },
        )
      await pause(50)
    }
  }
}

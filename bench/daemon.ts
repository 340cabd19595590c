import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type postgres from 'postgres'
import { TenantryError } from '../core/errors.ts'
import { DaemonProcess } from '../tools/run/daemon-process.ts'
import { withoutSettings } from '../tools/run/environment.ts'
import { positionsOf, sumOf } from '../tools/run/positions.ts'
import { requireProgram } from '../tools/run/runtime.ts'
import type { Configuration } from './configuration.ts'
import type { Reached, Subject } from './subject.ts'

const ownPatienceMs = 60_000

export type DaemonOptions = {
  readonly configuration: Configuration
  /** The file in bench/actors, without its ending. */
  readonly actor: string
  readonly mode: 'message-id' | 'offset'
  readonly group: string
  readonly topic: string
  readonly events?: string
  readonly kafka: string
  readonly database: { readonly url: string; readonly sql: postgres.Sql }
  /** Flags of the runtime's own. */
  readonly runtimeFlags?: readonly string[]
  /** Further keys of its configuration. */
  readonly settings?: readonly string[]
  /** Further variables of its environment. */
  readonly env?: Readonly<Record<string, string>>
}

/** `tenantry start` as a process of its own. */
export class Daemon implements Subject {
  readonly startedAt: number
  /** A folder of this run's own. */
  readonly folder: string
  readonly #options: DaemonOptions
  readonly #process: DaemonProcess

  constructor(options: DaemonOptions) {
    const {
      configuration,
      actor,
      mode,
      group,
      topic,
      events = '',
      kafka,
      database,
      runtimeFlags = [],
      settings = [],
      env = {},
    } = options
    this.#options = options
    this.folder = mkdtempSync(join(tmpdir(), 'tenantry-bench-'))
    const config = {
      kafka: { brokers: kafka.split(','), driver: configuration.driver },
      postgres: { url: database.url },
      groups: { [group]: { start: 'earliest' } },
      actors: { folder: join(configuration.checkout, 'bench/actors', `${actor}.ts`) },
      http: { enabled: false },
      log: { repeatLimit: 10_000 },
    }
    writeFileSync(this.configFile, JSON.stringify(config)) // YAML takes JSON as it is
    const flags = [...configuration.settings, ...settings].flatMap((setting) => ['--set', setting])
    this.startedAt = Date.now()
    this.#process = new DaemonProcess({
      program: requireProgram(configuration.runtime),
      flags: runtimeFlags,
      checkout: configuration.checkout,
      args: ['--config', this.configFile, ...flags, 'start'],
      cwd: this.folder,
      env: {
        ...withoutSettings(),
        BENCH_GROUP: group,
        BENCH_TOPIC: topic,
        BENCH_MODE: mode,
        BENCH_EVENTS: events,
        BENCH_HEAP: join(this.folder, 'heap'),
        ...env,
      },
      logFile: join(this.folder, 'daemon.log'),
    })
  }

  get pid(): number {
    return this.#process.pid
  }

  get pids(): readonly number[] {
    return [this.pid]
  }

  get folders(): readonly string[] {
    return [this.folder]
  }

  get ended(): Promise<never> {
    return this.#process.failed
  }

  get configFile(): string {
    return join(this.folder, 'tenantry.yml')
  }

  /** When it owned its first partition. */
  readyAt(): number | undefined {
    const time = this.#process.events('partition.owned')[0]?.['time']
    return typeof time === 'string' ? Date.parse(time) : undefined
  }

  /** Resolves when it has owned so many partitions. Throws TENANTRY_BENCH_STUCK when it has not after a minute. */
  async ownsAll(partitions: number): Promise<void> {
    const owned = () => new Set(this.#process.events('partition.owned').map((line) => line['partition'])).size
    const deadline = Date.now() + ownPatienceMs
    while (owned() < partitions) {
      if (Date.now() > deadline)
        throw new TenantryError(
          'TENANTRY_BENCH_STUCK',
          `The daemon owns ${owned()} of ${partitions} partitions after ${ownPatienceMs / 1_000} s. The end of its log:\n${this.logEnd()}`,
        )
      await Promise.race([pause(20), this.ended])
    }
  }

  async done(): Promise<Reached> {
    const { database, group } = this.#options
    return { records: sumOf(await positionsOf(database.sql, group), 'done'), at: Date.now() }
  }

  /** Drains it. Throws TENANTRY_DAEMON_ENDED unless it ends as a drained daemon does. */
  stop(): Promise<void> {
    return this.#process.drain()
  }

  /** Ends it at once. */
  kill(): Promise<void> {
    return this.#process.kill()
  }

  logEnd(): string {
    return this.#process.logEnd()
  }
}

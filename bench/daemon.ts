import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type postgres from 'postgres'
import { TenantryError } from '../core/errors.ts'
import { requireProgram } from '../tools/run/runtime.ts'
import type { Configuration } from './configuration.ts'
import type { Subject } from './subject.ts'

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
}

/** How long a daemon may take to end. */
const stopPatienceMs = 60_000

/** `tenantry start` as a process of its own. */
export class Daemon implements Subject {
  readonly startedAt: number
  readonly ended: Promise<never>
  /** A folder of this run's own. */
  readonly folder: string
  readonly #options: DaemonOptions
  readonly #child: ChildProcess
  readonly #exited: Promise<number | NodeJS.Signals | null>
  #stopping = false

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
    const log = openSync(this.#log, 'a')
    this.startedAt = Date.now()
    this.#child = spawn(
      requireProgram(configuration.runtime),
      [...runtimeFlags, join(configuration.checkout, 'cli/main.ts'), '--config', this.configFile, ...flags, 'start'],
      {
        cwd: this.folder,
        env: {
          ...inherited(),
          BENCH_GROUP: group,
          BENCH_TOPIC: topic,
          BENCH_MODE: mode,
          BENCH_EVENTS: events,
          BENCH_HEAP: join(this.folder, 'heap'),
        },
        stdio: ['ignore', log, log],
      },
    )
    closeSync(log)
    this.#exited = new Promise((resolve, reject) => {
      this.#child.once('error', reject)
      this.#child.once('exit', (code, signal) => resolve(code ?? signal))
    })
    this.ended = this.#exited.then((how) => {
      if (this.#stopping) return new Promise<never>(() => {})
      throw new TenantryError(
        'TENANTRY_BENCH_DAEMON',
        `The daemon ended by itself (${how}). The end of its log:\n${this.logEnd()}`,
      )
    })
    this.ended.catch(() => {}) // whoever waits for something else races against it
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  get configFile(): string {
    return join(this.folder, 'tenantry.yml')
  }

  get #log(): string {
    return join(this.folder, 'daemon.log')
  }

  /** When it owned its first partition. */
  readyAt(): number | undefined {
    const line = this.#read()
      .split('\n')
      .find((text) => text.includes('"event":"partition.owned"'))
    const time = line === undefined ? undefined : /"time":"([^"]+)"/.exec(line)?.[1]
    return time === undefined ? undefined : Date.parse(time)
  }

  async done(): Promise<number> {
    const { sql } = this.#options.database
    const [row] = await sql<{ done: number }[]>`
      select coalesce(sum(last.watermark), 0)::float8 as done
      from sys.consumed_topics as topic
      cross join generate_series(0, topic.partitions - 1) as place
      cross join lateral (
        select progress.watermark
        from sys.partition_progress as progress
        where progress.group_name = topic.group_name
          and progress.topic_id = topic.topic_id
          and progress.partition = place
        order by progress.seq desc
        limit 1
      ) as last`
    return row?.done ?? 0
  }

  /** Drains it. Throws TENANTRY_BENCH_DAEMON unless it ends as a drained daemon does. */
  async stop(): Promise<void> {
    this.#stopping = true
    this.#child.kill('SIGTERM')
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), stopPatienceMs)
    const how = await this.#exited
    clearTimeout(timer)
    if (how !== 0)
      throw new TenantryError(
        'TENANTRY_BENCH_DAEMON',
        `The daemon did not drain (${how}). The end of its log:\n${this.logEnd()}`,
      )
  }

  /** Ends it at once, for runs that have failed. */
  kill(): void {
    this.#stopping = true
    this.#child.kill('SIGKILL')
  }

  removeFolder(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }

  logEnd(): string {
    return this.#read().trimEnd().split('\n').slice(-15).join('\n')
  }

  #read(): string {
    return readFileSync(this.#log, 'utf8')
  }
}

/** The environment without settings that would reach the daemon past its configuration. */
function inherited(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => !/^(TENANTRY_[A-Z]+__|DATABASE_URL|KAFKA_BROKERS|NODE_OPTIONS)/.test(name),
    ),
  )
}

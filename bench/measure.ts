import { randomBytes } from 'node:crypto'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { loadConfig } from '../core/config/load.ts'
import { TenantryError } from '../core/errors.ts'
import { say } from '../cli/output.ts'
import { createTopic, deleteTopic } from './backlog.ts'
import { commitsOf } from './commits.ts'
import { checkEvents, checkRows, checkStates, together } from './check.ts'
import type { Configuration } from './configuration.ts'
import { Daemon } from './daemon.ts'
import type { Messages } from './content.ts'
import { machine, versions } from './machine.ts'
import { Meter, peakMemoryOf, threadSeconds, type Usage } from './meter.ts'
import { profileFlags, profileLines } from './profile.ts'
import { isRight, type Run } from './run.ts'
import { Database, type Servers, withAdmin } from './servers.ts'

/** What is asked of a subject: messages, an actor and how duplicates are recognised. */
export type Task = {
  readonly scenario: string
  readonly actor: 'rows' | 'state' | 'webhooks' | 'isolation' | 'calling'
  readonly mode: 'message-id' | 'offset'
  readonly messages: Messages
  readonly partitions: number
}

export type Place = {
  readonly servers: Servers
  readonly configuration: Configuration
  readonly day: number
  /** Whether to find out where the daemon's time goes (Node only; costs some of it). */
  readonly profile: boolean
  /** Further flags of the runtime and keys of the daemon's configuration. */
  readonly runtimeFlags?: readonly string[]
  readonly settings?: readonly string[]
}

/** What a scenario does with a daemon that runs. */
export type Session = {
  readonly daemon: Daemon
  readonly database: Database
  readonly meter: Meter
  /** Resolves when the daemon is done with so many records. Rejects when it ends, or does nothing for a minute. */
  reach(records: number): Promise<void>
}

/** What a scenario found out by itself. */
export type Finding = Partial<Run> & {
  /** Measured messages. */
  readonly messages: number
  /** Records of the topic that the checker expects. */
  readonly records: number
  /** Between which moments processor time counts. */
  readonly window: { readonly from: number; readonly to: number }
}

const pollMs = 200
const idleLimitMs = 60_000

/**
 * One run: a fresh database and group, a daemon as a child process on `topic`, `work` with it, and the check of all that
 * is there afterwards. Throws TENANTRY_DAEMON_ENDED, with the end of its log, when the daemon fails.
 */
export async function measure(
  place: Place,
  task: Task,
  topic: string,
  work: (session: Session) => Promise<Finding>,
): Promise<Run> {
  const { servers, configuration, day, profile } = place
  const before = machine()
  const database = await Database.create(servers)
  const name = randomBytes(4).toString('hex')
  const events =
    task.actor === 'state' ? await createTopic(servers, `events-${day}-${name}`, task.partitions) : undefined
  const group = `bench-${name}`
  const profiles =
    profile && configuration.runtime === 'node' ? mkdtempSync(join(tmpdir(), 'tenantry-bench-profile-')) : undefined
  const daemon = new Daemon({
    configuration,
    actor: task.actor,
    mode: task.mode,
    group,
    topic,
    kafka: servers.kafka,
    database,
    ...(events !== undefined && { events }),
    runtimeFlags: [
      ...(profiles === undefined ? [] : profileFlags(profiles)),
      ...configuration.runtimeFlags,
      ...(place.runtimeFlags ?? []),
    ],
    settings: place.settings ?? [],
  })
  const meter = new Meter({ pid: daemon.pid, sql: database.sql, brokers: servers.brokers })
  let right = false
  try {
    await meter.start()
    const finding = await work({ daemon, database, meter, reach: (records) => reach(daemon, records) })
    meter.stop()
    const memory = peakMemoryOf(daemon.pid)
    const threads = threadSeconds(daemon.pid)
    const readyAt = daemon.readyAt() ?? daemon.startedAt
    await daemon.stop()
    const verdict = await verdictOn(servers, database, task, events, finding.records)
    const [letters] = await database.sql<{ count: number }[]>`select count(*)::integer as count from sys.dead_letters`
    const commits = await commitsOf(database.sql)
    const { records, window, ...found } = finding
    const seconds = (window.to - window.from) / 1_000
    const usage = meter.between(window.from, window.to)
    const bytes = meanBytes(task.messages)
    const run: Run = {
      subject: 'tenantry',
      scenario: task.scenario,
      mode: task.mode,
      runtime: configuration.runtime,
      driver: configuration.driver,
      variant: configuration.variant,
      warm_up: records - finding.messages,
      message_bytes: Math.round(bytes),
      tenants: task.messages.content.tenants,
      partitions: task.partitions,
      ids: task.messages.content.ids,
      seconds: round(seconds, 3),
      rate_per_second: Math.round(finding.messages / seconds),
      rate_from_start_per_second: Math.round((records / Math.max(1, (commits.at(-1)?.at ?? 0) - readyAt)) * 1_000),
      megabytes_per_second: round((finding.messages * bytes) / seconds / 1e6, 1),
      ...perMillion(usage, finding.messages),
      other_cpu_share: round(usage.others, 3),
      rss_peak_bytes: memory,
      thread_cpu_seconds: threads,
      ...verdict,
      dead_letters: letters?.count ?? 0,
      rows_per_commit: round(commits.reduce((sum, { rows }) => sum + rows, 0) / Math.max(1, commits.length), 1),
      copies: records - originalsBelow(task.messages, records),
      at: new Date().toISOString(),
      machine: before,
      versions: versions(configuration, servers.settings['server_version'] ?? ''),
      settings: { postgres: servers.settings, daemon: settingsOf(daemon, configuration, place.settings ?? []) },
      ...(profiles !== undefined && { profile: profileLines(profiles, 40) }),
      ...found,
    }
    right = isRight(run)
    return run
  } finally {
    meter.stop()
    await daemon.kill()
    if (right) daemon.removeFolder()
    else say(`The daemon's log is kept: ${daemon.folder}`)
    if (profiles !== undefined) say(`Profiles: ${profiles}`)
    await clear(servers, database, group, events)
  }
}

async function reach(daemon: Daemon, records: number): Promise<void> {
  let [last, since] = [-1, Date.now()]
  for (;;) {
    const done = await Promise.race([daemon.done(), daemon.ended])
    if (done >= records) return
    if (done !== last) [last, since] = [done, Date.now()]
    else if (Date.now() - since > idleLimitMs) {
      throw new TenantryError(
        'TENANTRY_BENCH_STUCK',
        `The daemon is done with ${done} of ${records} records and has not gone on for ${idleLimitMs / 1_000} s. The end of its log:\n${daemon.logEnd()}`,
        { done, records },
      )
    }
    await Promise.race([pause(pollMs), daemon.ended])
  }
}

async function verdictOn(
  servers: Servers,
  database: Database,
  task: Task,
  events: string | undefined,
  records: number,
) {
  const rows = await checkRows(database.sql, task.messages, records)
  if (task.actor !== 'state' || events === undefined) return rows
  const states = await checkStates(database.sql, task.messages, records)
  const { published, repeated, ...sent } = await checkEvents(servers, events, task.partitions, task.messages, records)
  const verdict = together([rows, states, sent])
  if (verdict.lost + verdict.duplicated + verdict.reordered + verdict.altered > 0)
    say(`Rows: ${JSON.stringify(rows)}, states: ${JSON.stringify(states)}, events: ${JSON.stringify(sent)}`)
  return { ...verdict, events: { published, repeated } }
}

function perMillion(usage: Usage, messages: number) {
  const each = (seconds: number) => round((seconds / messages) * 1e6, 2)
  return {
    cpu_seconds_per_million: each(usage.subject),
    postgres_cpu_seconds_per_million: each(usage.postgres),
    broker_cpu_seconds_per_million: usage.brokers === null ? null : each(usage.brokers),
  }
}

/** Of a value, over one of each kind. */
function meanBytes(messages: Messages): number {
  const some = Math.min(messages.content.records, 1_000)
  let bytes = 0
  for (let n = 0; n < some; n++) bytes += messages.message(n).value.length
  return bytes / some
}

function originalsBelow(messages: Messages, records: number): number {
  if (messages.content.copyEvery === 0) return records
  let count = 0
  for (let n = 0; n < records; n++) if (messages.original(n) === n) count++
  return count
}

/** The daemon's settings that a figure depends on. */
function settingsOf(
  daemon: Daemon,
  configuration: Configuration,
  more: readonly string[],
): Readonly<Record<string, unknown>> {
  const flags = [...configuration.settings, ...more].map((setting) => {
    const at = setting.indexOf('=')
    return { key: setting.slice(0, at), value: setting.slice(at + 1), flag: '--set' }
  })
  const { config } = loadConfig({ file: daemon.configFile, env: {}, flags })
  const { workers, commit, backpressure, consumer, traceability } = config
  return {
    workers,
    commit,
    backpressure,
    protocol: consumer.protocol,
    maxFetchBytes: consumer.maxFetchBytes,
    traceability: traceability.mode,
    given: [...configuration.settings, ...configuration.runtimeFlags],
  }
}

/** What a run has made goes; what is left behind of a server that is away is not worth an error. */
async function clear(servers: Servers, database: Database, group: string, events: string | undefined): Promise<void> {
  await database.drop().catch(() => {})
  await withAdmin(servers, (admin) => admin.deleteGroups({ groups: [group] })).catch(() => {})
  if (events !== undefined) await deleteTopic(servers, events).catch(() => {})
}

export function round(value: number, digits: number): number {
  return Math.round(value * 10 ** digits) / 10 ** digits
}

import { randomBytes } from 'node:crypto'
import { rmSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { say } from '../cli/output.ts'
import { TenantryError } from '../core/errors.ts'
import type { Verdict } from './check.ts'
import { commitsOf } from './commits.ts'
import type { Messages } from './content.ts'
import { machine } from './machine.ts'
import { Meter, peakMemoryOf, threadSeconds, type Usage } from './meter.ts'
import { isRight, type Run } from './run.ts'
import { Database, type Servers, withAdmin } from './servers.ts'
import type { Reached, Subject } from './subject.ts'

/** What one run is: whose, on which messages, and how it is judged. */
export type Trial<S extends Subject> = {
  readonly servers: Servers
  readonly scenario: string
  readonly messages: Messages
  readonly partitions: number
  /** Starts the subject as a member of a group of its own, on a database of its own. */
  launch(home: Home): S | Promise<S>
  /** What the run's figures belong to. */
  describe(subject: S): Pick<Run, 'subject' | 'mode' | 'runtime' | 'driver' | 'variant' | 'versions' | 'settings'>
  /** Looks at what is there once the subject has ended, which was to be done with so many records. */
  check(database: Database, records: number): Promise<Verdict & Pick<Run, 'checked' | 'events'>>
}

/** What a run's subject has for itself. */
export type Home = { readonly database: Database; readonly group: string }

/** What a scenario does with a subject that runs. */
export type Session<S extends Subject> = {
  readonly subject: S
  readonly database: Database
  readonly group: string
  readonly meter: Meter
  /**
   * Resolves when the subject is done with so many records, with how it came there. Rejects when it ends, and with
   * TENANTRY_BENCH_STUCK when it does nothing for a minute.
   */
  reach(records: number): Promise<readonly Reached[]>
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

const pollMs = 100
const idleLimitMs = 60_000

/**
 * One run: a fresh database and group, the subject on them, `work` with it, and the check of all that is there
 * afterwards. Nothing here knows whether the subject is tenantry.
 */
export async function measure<S extends Subject>(
  trial: Trial<S>,
  work: (session: Session<S>) => Promise<Finding>,
): Promise<Run> {
  const { servers, scenario, messages, partitions } = trial
  const before = machine()
  const database = await Database.create(servers)
  const group = `bench-${randomBytes(4).toString('hex')}`
  let subject: S | undefined
  let meter: Meter | undefined
  let right = false
  try {
    subject = await trial.launch({ database, group })
    const own = subject
    meter = new Meter({ pids: () => own.pids, sql: database.sql, brokers: servers.brokers })
    await meter.start()
    const finding = await work({ subject, database, group, meter, reach: (records) => reach(own, records) })
    meter.stop()
    const memory = Math.max(...subject.pids.map(peakMemoryOf))
    const threads = threadSeconds(subject.pids.at(-1) ?? 0)
    const readyAt = subject.readyAt() ?? subject.startedAt
    await subject.stop()
    const verdict = await trial.check(database, finding.records)
    const [letters] = await database.sql<{ count: number }[]>`select count(*)::integer as count from sys.dead_letters`
    const commits = await commitsOf(database.sql)
    const { records, window, ...found } = finding
    const seconds = Math.max(1, window.to - window.from) / 1_000 // a handful may be one commit
    const usage = meter.between(window.from, window.to)
    const bytes = meanBytes(messages)
    const lastAt = commits.at(-1)?.at ?? window.to
    const run: Run = {
      ...trial.describe(subject),
      scenario,
      warm_up: records - finding.messages,
      message_bytes: Math.round(bytes),
      tenants: messages.content.tenants,
      partitions,
      ids: messages.content.ids,
      seconds: round(seconds, 3),
      rate_per_second: Math.round(finding.messages / seconds),
      rate_from_start_per_second: Math.round((records / Math.max(1, lastAt - readyAt)) * 1_000),
      megabytes_per_second: round((finding.messages * bytes) / seconds / 1e6, 1),
      ...perMillion(usage, finding.messages),
      other_cpu_share: round(usage.others, 3),
      rss_peak_bytes: memory,
      thread_cpu_seconds: threads,
      ...verdict,
      dead_letters: letters?.count ?? 0,
      rows_per_commit: round(commits.reduce((sum, { rows }) => sum + rows, 0) / Math.max(1, commits.length), 1),
      copies: records - originalsBelow(messages, records),
      at: new Date().toISOString(),
      machine: before,
      ...found,
    }
    right = isRight(run)
    return run
  } finally {
    meter?.stop()
    await subject?.kill()
    for (const folder of subject?.folders ?? []) {
      if (right) rmSync(folder, { recursive: true, force: true })
      else say(`What the run has written is kept: ${folder}`)
    }
    // What is left behind of a server that is away is not worth an error.
    await database.drop().catch(() => {})
    await withAdmin(servers, (admin) => admin.deleteGroups({ groups: [group] })).catch(() => {})
  }
}

async function reach(subject: Subject, records: number): Promise<readonly Reached[]> {
  const way: Reached[] = []
  let [last, since] = [-1, Date.now()]
  for (;;) {
    const reached = await Promise.race([subject.done(), subject.ended])
    const done = reached.records
    if (done !== last) {
      way.push(reached)
      ;[last, since] = [done, Date.now()]
    }
    if (done >= records) return way
    if (Date.now() - since > idleLimitMs) {
      throw new TenantryError(
        'TENANTRY_BENCH_STUCK',
        `${done} of ${records} records are done, and nothing has happened for ${idleLimitMs / 1_000} s. The end of the log:\n${subject.logEnd()}`,
        { done, records },
      )
    }
    await Promise.race([pause(pollMs), subject.ended])
  }
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

export function round(value: number, digits: number): number {
  return Math.round(value * 10 ** digits) / 10 ** digits
}

import { randomBytes } from 'node:crypto'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { say } from '../cli/output.ts'
import { loadConfig } from '../core/config/load.ts'
import { createTopic, deleteTopic } from './backlog.ts'
import { checkEvents, checkRows, checkStates, together } from './check.ts'
import type { Configuration } from './configuration.ts'
import type { Messages } from './content.ts'
import { Crew } from './crew.ts'
import { Daemon } from './daemon.ts'
import { ownMark } from './left-behind.ts'
import { versions } from './machine.ts'
import { type Finding, measure, type Session } from './measure.ts'
import { profileFlags, profileLines } from './profile.ts'
import type { Run } from './run.ts'
import type { Database, Servers } from './servers.ts'

/** What is asked of a daemon: messages, an actor and how duplicates are recognised. */
export type Task = {
  readonly scenario: string
  readonly actor: 'rows' | 'state' | 'webhooks' | 'isolation' | 'calling' | 'effects'
  readonly mode: 'message-id' | 'offset'
  readonly messages: Messages
  readonly partitions: number
  /** Puts into the database what must be there before the daemon starts. */
  prepare?(database: Database): Promise<void>
}

export type Place = {
  readonly servers: Servers
  readonly configuration: Configuration
  readonly day: number
  /** Whether to find out where the daemon's time goes (costs some of it; of Bun the main thread only). */
  readonly profile: boolean
  /** Further flags of the runtime, keys of the daemon's configuration, and variables of its environment. */
  readonly runtimeFlags?: readonly string[]
  readonly settings?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}

/**
 * Measures a daemon of ours on `topic`, or several if `work` starts more. Throws TENANTRY_DAEMON_ENDED, with the end of its log, when the daemon fails.
 */
export async function measureDaemon(
  place: Place,
  task: Task,
  topic: string,
  work: (session: Session<Crew<Daemon>>) => Promise<Finding>,
): Promise<Run> {
  const { servers, configuration, day, profile } = place
  const { scenario, actor, mode, messages, partitions } = task
  const name = `events-${day}-${ownMark()}-${randomBytes(4).toString('hex')}`
  const events = actor === 'state' ? await createTopic(servers, name, partitions) : undefined
  const profiles = profile ? mkdtempSync(join(tmpdir(), 'tenantry-bench-profile-')) : undefined
  try {
    const run = await measure(
      {
        servers,
        scenario,
        messages,
        partitions,
        launch: async ({ database, group }) => {
          await task.prepare?.(database)
          return Crew.of(
            () =>
              new Daemon({
                configuration,
                actor,
                mode,
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
                env: place.env ?? {},
              }),
          )
        },
        describe: ({ first }) => ({ ...descriptionOf(first, servers, configuration, place.settings ?? []), mode }),
        check: (database, records) => verdictOn(servers, database, task, events, records),
      },
      work,
    )
    return profiles === undefined ? run : { ...run, profile: profileLines(profiles, 40) }
  } finally {
    if (profiles !== undefined) say(`Profiles: ${profiles}`)
    if (events !== undefined) await deleteTopic(servers, events).catch(() => {})
  }
}

/** What a daemon's figures belong to. */
export function descriptionOf(
  daemon: { readonly configFile: string },
  servers: Servers,
  configuration: Configuration,
  settings: readonly string[],
) {
  const { runtime, driver, variant } = configuration
  return {
    subject: 'tenantry',
    runtime,
    driver,
    variant,
    versions: versions(configuration, servers.settings['server_version'] ?? ''),
    settings: { postgres: servers.settings, daemon: settingsOf(daemon, configuration, settings) },
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
  if (task.actor !== 'state' || events === undefined) return { ...rows, checked: 'rows' as const }
  const states = await checkStates(database.sql, task.messages, records)
  const { published, repeated, ...sent } = await checkEvents(servers, events, task.partitions, task.messages, records)
  const verdict = together([rows, states, sent])
  if (verdict.lost + verdict.duplicated + verdict.reordered + verdict.altered > 0)
    say(`Rows: ${JSON.stringify(rows)}, states: ${JSON.stringify(states)}, events: ${JSON.stringify(sent)}`)
  return { ...verdict, checked: 'rows' as const, events: { published, repeated } }
}

/** The daemon's settings that a figure depends on. */
function settingsOf(
  daemon: { readonly configFile: string },
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

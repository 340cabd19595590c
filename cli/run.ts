import { systemClock } from '../core/clock.ts'
import { keyRetentionWarnings } from '../core/config/checks.ts'
import type { Loaded } from '../core/config/load.ts'
import { PinoLog } from '../core/pino-log.ts'
import { systemRandom } from '../core/random.ts'
import { loadActors } from '../supervisors/actor-loading.ts'
import { Daemon } from '../supervisors/daemon.ts'
import { groupsOf } from '../supervisors/groups.ts'
import { counted, data, json, say, table } from './output.ts'
import { Process } from './process.ts'
import { version } from './version.ts'

/** Runs the daemon until it is told to stop, and ends the process. */
export async function run({ config, warnings, file, redact, actorsEnvironment }: Loaded): Promise<void> {
  const log = new PinoLog({ clock: systemClock, ...config.log, redact })
  const process = new Process(log)
  for (const warning of warnings) log.warn('config.warning', {}, `${warning}.`)
  log.info(
    'daemon.starting',
    { version: version(), file: file ?? null, runtime: process.runtime },
    'The daemon starts.',
  )
  const daemon = new Daemon({
    config,
    actorsEnvironment,
    clock: systemClock,
    random: systemRandom,
    version: version(),
    log,
    failed: (error) => process.fail(error),
  })
  await process.run(daemon)
}

/** Loads everything, says what would run, and consumes nothing. */
export async function check({ config, warnings, actorsEnvironment }: Loaded, asJson: boolean): Promise<void> {
  const topology = await loadActors(config.actors.folder, {
    clock: systemClock,
    environment: actorsEnvironment,
    slow: (file) => say(`${file} takes long to load …`),
  })
  const groups = [...groupsOf(config, topology)].map(([name, { roles, config: group }]) => ({
    group: name,
    start: group.start,
    protocol: group.protocol ?? config.consumer.protocol,
    actors: roles.flatMap(({ index }) => {
      const found = topology.actors[index]
      if (found === undefined) return []
      const { times: _, ...facts } = found
      return [facts]
    }),
  }))
  const topics = groups.flatMap(({ actors }) => actors.map(({ topic }) => topic))
  const said = [...new Set([...warnings, ...keyRetentionWarnings(config, topics)])]
  const process = { workers: config.workers.count, lanes: config.commit.lanes, driver: config.kafka.driver }
  if (asJson) return json({ ...process, groups, warnings: said })
  const rows = groups.flatMap(({ group, start, actors }) =>
    actors.map(({ topic, name, stateful, consistency, idempotency, messages, file }) => {
      const kind = [stateful ? 'state' : '', consistency, idempotency].filter((word) => word !== '').join(', ')
      return [group, topic, name, String(start), kind, messages.join(' '), file]
    }),
  )
  data(table([['GROUP', 'TOPIC', 'ACTOR', 'START', 'KIND', 'MESSAGES', 'FILE'], ...rows]))
  for (const warning of said) say(`Warning: ${warning}.`)
  const { workers, lanes } = process
  say(
    `${counted(rows.length, 'actor')} in ${counted(groups.length, 'group')}; ${counted(workers, 'worker')}, ${counted(lanes, 'lane')}.`,
  )
}

import { Command } from 'commander'
import type { Flag } from '../core/config/load.ts'
import { TenantryError } from '../core/errors.ts'
import { settingsOf, wantsJson } from './settings.ts'

type StartFlags = {
  readonly actors?: string
  readonly workers?: string
  readonly port?: string
  readonly driver?: string
  readonly check?: boolean
}

/** `tenantry start [--check]`. */
export function startCommand(): Command {
  return new Command('start')
    .description('run the daemon in the foreground; SIGTERM or Ctrl-C drains it, a second one ends it at once')
    .option('--actors <folder>', 'where the actors are (actors.folder)')
    .option('--workers <count>', 'threads that run actors, or auto (workers.count)')
    .option('--port <port>', 'of health and metrics, 0 for a free one (http.port)')
    .option('--driver <name>', 'auto, confluent or platformatic (kafka.driver)')
    .option('--check', 'load configuration and actors, print what would run, and end without consuming')
    .option('--json', 'with --check: print one JSON object')
    .action(async (flags: StartFlags, command: Command) => {
      if (wantsJson(command) && flags.check !== true)
        throw new TenantryError('TENANTRY_USAGE', '--json goes with --check: a daemon logs JSON lines anyway.')
      const loaded = settingsOf(command, flags.check === true ? [] : ['kafka', 'postgres'], keysOf(flags))
      // Only now: the engine, its drivers and thread pool take their time to load, and other commands need none of them.
      const { check, run } = await import('./run.ts')
      if (flags.check === true) await check(loaded, wantsJson(command))
      else await run(loaded)
    })
}

function keysOf({ actors, workers, port, driver }: StartFlags): readonly Flag[] {
  const given: readonly (readonly [flag: string, key: string, value: string | undefined])[] = [
    ['--actors', 'actors.folder', actors],
    ['--workers', 'workers.count', workers],
    ['--port', 'http.port', port],
    ['--driver', 'kafka.driver', driver],
  ]
  return given.flatMap(([flag, key, value]) => (value === undefined ? [] : [{ flag, key, value }]))
}

import { Command, InvalidArgumentError } from 'commander'
import type { Config } from '../core/config/schema.ts'
import { parseDuration } from '../core/config/units.ts'
import { TenantryError } from '../core/errors.ts'
import { type StuckQuery, stuckDefaults, stuckMaxLimit } from '../core/stuck-report.ts'
import { data, json, say } from './output.ts'
import { settingsOf, wantsJson } from './settings.ts'

type StuckFlags = {
  readonly tenant?: string
  readonly group?: string
  readonly longerThan: string
  readonly limit: number
  readonly url: readonly string[]
}

/** `tenantry stuck`. */
export function stuckCommand(): Command {
  return new Command('stuck')
    .description(
      'show which tenants and partitions do not go on, and what each waits for, as a running daemon knows it; where none answers, what PostgreSQL has recorded',
    )
    .option('--tenant <id>', 'all of this tenant, whether it is stuck or not')
    .option('--group <name>', 'only of this group')
    .option('--longer-than <duration>', 'leave out what has waited for less', '5s')
    .option('--limit <number>', 'how many tenants and partitions, the most stuck first', limitOf, stuckDefaults.limit)
    .option(
      '--url <url>',
      'where a daemon is, for several of them more than once (default: http.host and http.port)',
      collect,
      [],
    )
    .option('--json', 'print one JSON object')
    .action(async (flags: StuckFlags, command: Command) => {
      const query = queryOf(flags)
      const { http } = settingsOf(command, []).config
      const urls = flags.url.length > 0 ? flags.url.map(origin) : configured(http)
      const { askDaemons } = await import('./stuck/daemons.ts')
      const { daemons, silent } = await askDaemons(urls, query)
      const recorded = async () => {
        const { recordedAsStuck } = await import('./stuck/recorded.ts')
        return recordedAsStuck(settingsOf(command, ['postgres']).config.postgres.url, query)
      }
      if (wantsJson(command)) return json({ daemons, silent, recorded: daemons.length === 0 ? await recorded() : null })
      const { toldDaemon, toldRecorded } = await import('./stuck/told.ts')
      for (const daemon of daemons) data(toldDaemon(daemon, query))
      for (const { url, reason } of silent) say(`No daemon answers at ${url}: ${reason}.`)
      if (daemons.length > 0) return
      if (urls.length === 0) say('No daemon can be asked, as http.port is 0 or http.enabled is false: give its --url.')
      const known = toldRecorded(await recorded())
      say(
        'This is only what PostgreSQL has recorded: records that are parked, and those to be tried again. What runs, is blocked or waits for its commit, and which partitions are stopped, only a daemon knows.',
      )
      data(known)
    })
}

function queryOf({ tenant, group, longerThan, limit }: StuckFlags): StuckQuery {
  const longerThanMs = parseDuration(longerThan)
  if (longerThanMs === undefined)
    throw new TenantryError('TENANTRY_USAGE', '--longer-than wants a duration, such as --longer-than 30s.')
  return {
    longerThanMs,
    limit,
    ...(tenant !== undefined && { tenant }),
    ...(group !== undefined && { group }),
  }
}

/** Where the configuration says that this machine's daemon listens. */
function configured({ enabled, host, port }: Config['http']): readonly string[] {
  if (!enabled || port === 0) return []
  const own: Readonly<Record<string, string>> = { '0.0.0.0': '127.0.0.1', '::': '::1' }
  const reached = own[host] ?? host
  return [`http://${reached.includes(':') ? `[${reached}]` : reached}:${port}`]
}

function origin(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol))
    throw new TenantryError('TENANTRY_USAGE', '--url wants an address, such as --url http://127.0.0.1:9464.')
  if (url.username !== '' || url.password !== '')
    throw new TenantryError('TENANTRY_USAGE', '--url takes no user and no password: a daemon asks for none.')
  return url.href.replace(/\/+$/, '')
}

function limitOf(value: string): number {
  const limit = /^\d{1,6}$/.test(value) ? Number(value) : 0
  if (limit < 1 || limit > stuckMaxLimit)
    throw new InvalidArgumentError(`A whole number from 1 to ${stuckMaxLimit} is wanted.`)
  return limit
}

function collect(value: string, before: readonly string[]): readonly string[] {
  return [...before, value]
}

import { Command, InvalidArgumentError, Option } from 'commander'
import { parseDuration } from '../core/config/units.ts'
import { TenantryError } from '../core/errors.ts'
import type { BreakerFilter, BreakerRequest, ListedBreaker } from './breakers/database.ts'
import { data, json, say, table, visible } from './output.ts'
import { settingsOf, wantsJson } from './settings.ts'

/** `tenantry breakers list|trip|reset`. */
export function breakersCommand(): Command {
  const breakers = new Command('breakers').description('circuit breakers of what actors call')

  breakers
    .command('list')
    .description('show those that are not closed, longest open first')
    .option('--group <name>', 'only of this group')
    .option('--actor <name>', 'only of this actor')
    .option('--dependency <name>', 'only for this dependency')
    .option('--tenant <id>', 'only of this tenant')
    .addOption(new Option('--state <state>', 'only in this state').choices(['open', 'half-open', 'tripped']))
    .option('--limit <number>', 'how many', limitOf, 100)
    .option('--json', 'print one JSON array')
    .action(async (flags: BreakerFilter & { readonly limit: number }, command: Command) => {
      const { listBreakers } = await import('./breakers/database.ts')
      const { breakers: found, count } = await listBreakers(urlOf(command), flags, flags.limit)
      if (wantsJson(command)) json(found)
      else if (found.length > 0) data(table([header, ...found.map(row)]))
      else say('All breakers are closed.')
      if (count > found.length) say(`${count - found.length} more: raise --limit, or say which.`)
    })

  request(
    breakers
      .command('trip')
      .description(
        'keep an actor from its records for a while, so that it calls nothing; its daemons act within seconds',
      ),
  )
    .option('--for <duration>', 'how long, such as 10m', '10m')
    .action(async (flags: BreakerRequest & { readonly for: string }, command: Command) => {
      const lastsMs = parseDuration(flags.for)
      if (lastsMs === undefined || lastsMs < 1_000)
        throw new TenantryError('TENANTRY_USAGE', '--for wants a duration from 1s on, such as --for 30m.')
      const { tripBreaker } = await import('./breakers/database.ts')
      await checkNames(command, reasoned(flags))
      const id = await tripBreaker(urlOf(command), flags, lastsMs)
      told(command, id, `Tripped for ${flags.for}. \`tenantry breakers reset\` ends it before its time.`)
    })

  request(
    breakers
      .command('reset')
      .description(
        'close breakers without a probe, and end their trips; without --tenant those of all tenants. Daemons act within seconds',
      ),
  ).action(async (flags: BreakerRequest, command: Command) => {
    const { resetBreaker } = await import('./breakers/database.ts')
    await checkNames(command, reasoned(flags))
    const id = await resetBreaker(urlOf(command), flags)
    told(command, id, 'Asked for. What waited goes on in steps.')
  })

  return breakers
}

function request(command: Command): Command {
  return command
    .requiredOption('--group <name>', 'the consumer group')
    .requiredOption('--actor <name>', 'the actor; its topic where it has no name of its own')
    .requiredOption('--dependency <name>', 'the dependency, as the actor declares it')
    .requiredOption('--reason <text>', 'why: it is kept with the request')
    .option('--tenant <id>', 'only this tenant')
    .option('--by <name>', 'who asks for it, if not the login of this machine')
    .option('--json', 'print one JSON object: id')
}

function limitOf(value: string): number {
  if (!/^[1-9]\d{0,5}$/.test(value)) throw new InvalidArgumentError('A whole number from 1 to 999999 is wanted.')
  return Number(value)
}

function reasoned(flags: BreakerRequest): BreakerRequest {
  if (flags.reason.trim() === '') throw new TenantryError('TENANTRY_USAGE', '--reason must say why.')
  // '' would mean all tenants.
  if (flags.tenant === '') throw new TenantryError('TENANTRY_USAGE', '--tenant must name one; leave it out for all.')
  return flags
}

/** A tenant may be any: nobody knows all of them. */
async function checkNames(command: Command, flags: BreakerRequest): Promise<void> {
  const { namesUnchecked } = await import('./breakers/names.ts')
  const why = await namesUnchecked(flags, settingsOf(command, ['postgres']))
  if (why !== undefined) say(`Warning: whether --actor and --dependency are right could not be checked: ${why}.`)
}

function told(command: Command, id: number, sentence: string): void {
  if (wantsJson(command)) json({ id })
  say(sentence)
}

const header = ['GROUP', 'ACTOR', 'DEPENDENCY', 'TENANT', 'STATE', 'FAILURES', 'SINCE', 'UNTIL', 'WHY']

function row({
  group,
  actor,
  dependency,
  tenant,
  state,
  failures,
  openedAt,
  probeAt,
  reason,
}: ListedBreaker): string[] {
  const cells = [group, actor, dependency, tenant ?? '(all)', state, String(failures), openedAt, probeAt, reason ?? '']
  return cells.map(visible)
}

function urlOf(command: Command): string {
  return settingsOf(command, ['postgres']).config.postgres.url
}

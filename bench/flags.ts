import { type Command, InvalidArgumentError, Option } from 'commander'
import { say } from '../cli/output.ts'
import { TenantryError } from '../core/errors.ts'
import { type Configuration, configurations, type Pair, pairs } from './configuration.ts'
import { requireProgram } from '../tools/run/runtime.ts'
import { createDeadLetterTopic, deleteOldTopics } from './backlog.ts'
import type { Place } from './measure-daemon.ts'
import type { Run } from './run.ts'
import { dropOldDatabases, findServers, type Servers } from './servers.ts'

export type Mode = 'message-id' | 'offset'

/** What every scenario is told. */
export type Flags = {
  readonly on?: readonly string[]
  readonly runtime?: string
  readonly driver?: string
  readonly mode?: readonly string[]
  readonly ids: 'v4' | 'v7'
  readonly tenants: number
  readonly partitions: number
  readonly repeat: number
  readonly set: readonly string[]
  readonly variant: readonly string[]
  readonly checkout?: string
  readonly against?: string
  readonly profile?: boolean
  readonly quick?: boolean
  readonly kafka?: string
  readonly postgres?: string
  readonly json?: boolean
}

/** One thing to be run in a configuration. */
export type Job = { readonly name: string; run(place: Place): Promise<Run> }

/** What a command is made with: one that has all flags, and how its jobs are run. */
export type Bench = {
  command(name: string, description: string): Command
  runAll(flags: Flags, jobs: readonly Job[], byDefault: readonly Pair[]): Promise<readonly Run[]>
}

/** Options that every scenario has. */
export function shared(command: Command): Command {
  return command
    .exitOverride()
    .option('--on <names>', `of ${Object.keys(pairs).join(', ')}: the two drivers on Node, and Bun`, list)
    .addOption(new Option('--runtime <name>', 'only this one').choices(['node', 'bun']))
    .addOption(new Option('--driver <name>', 'only this one').choices(['confluent', 'platformatic']))
    .option('--mode <names>', 'of message-id, offset', list)
    .addOption(new Option('--ids <kind>', 'of the messages').choices(['v4', 'v7']).default('v7'))
    .option('--tenants <count>', 'over which messages are spread', count, 1_000)
    .option('--partitions <count>', 'of the topic', count, 12)
    .option('--repeat <count>', 'rounds; configurations alternate within each', count, 1)
    .option('--set <key=value>', "a key of the daemon's configuration; may be repeated", collect, [])
    .option('--variant <name:key=value,…>', 'another configuration to alternate with; may be repeated', collect, [])
    .option('--checkout <folder>', 'whose daemon runs (default: this one)')
    .option('--against <folder>', 'another checkout to alternate with')
    .option('--profile', "say where the daemon's time goes (costs some of it; of Bun the supervisor's thread only)")
    .option('--quick', 'small runs: they show that everything works, and no more')
    .option('--kafka <addresses>', "host:port,…; with --postgres, instead of the checkout's own servers")
    .option('--postgres <url>', 'of a server on which databases may be made')
    .option('--json', 'all runs as one JSON array, in the last line of standard output')
}

/** The configurations that were asked for. Throws TENANTRY_USAGE where none is left. */
export function chosenConfigurations(flags: Flags, byDefault: readonly Pair[]): readonly Configuration[] {
  const on = (flags.on?.map(pair) ?? byDefault).filter(
    (name) =>
      (flags.runtime ?? pairs[name].runtime) === pairs[name].runtime &&
      (flags.driver ?? pairs[name].driver) === pairs[name].driver,
  )
  if (on.length === 0)
    throw new TenantryError(
      'TENANTRY_USAGE',
      'No pair of a runtime and a driver is left to run: confluent runs on Node only.',
    )
  const chosen = configurations({ ...flags, on })
  for (const { runtime } of chosen) requireProgram(runtime) // there, before an hour of the others
  return chosen
}

/** The servers, with what every scenario needs on them, and the day whose ids its messages have. */
export async function ready(flags: Flags): Promise<{ readonly servers: Servers; readonly day: number }> {
  const servers = await findServers(flags)
  await createDeadLetterTopic(servers)
  say(
    `PostgreSQL: ${Object.entries(servers.settings)
      .map(([name, value]) => `${name} ${value}`)
      .join(', ')}`,
  )
  const day = Math.floor(Date.now() / 86_400_000)
  await deleteOldTopics(servers, day)
  await dropOldDatabases(servers)
  return { servers, day }
}

/** The modes that were asked for. */
export function modes(flags: Flags, byDefault: readonly Mode[]): readonly Mode[] {
  return (flags.mode ?? byDefault).map((name) => {
    if (name === 'message-id' || name === 'offset') return name
    throw new TenantryError('TENANTRY_USAGE', `--mode is message-id or offset, not ${name}.`)
  })
}

/** A pair's name, as a flag gives it. */
function pair(name: string): Pair {
  if (name === 'confluent' || name === 'platformatic' || name === 'bun') return name
  throw new TenantryError('TENANTRY_USAGE', `--on is of ${Object.keys(pairs).join(', ')}, not ${name}.`)
}

/** Of `a,b,c`. */
export function list(text: string): string[] {
  return text
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '')
}

function collect(value: string, before: readonly string[]): readonly string[] {
  return [...before, value]
}

/** A whole number, which may have `_` between its digits. */
export function count(text: string): number {
  const value = Number(text.replaceAll('_', ''))
  if (!Number.isSafeInteger(value) || value < 0) throw new InvalidArgumentError('a whole number is wanted')
  return value
}

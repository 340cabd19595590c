import { Command, InvalidArgumentError } from 'commander'
import { TenantryError } from '../core/errors.ts'
import type { Move, Reset } from '../core/postgres/resets.ts'
import type { Between, Planned, Wanted } from './offsets/decide.ts'
import { loginName } from './login-name.ts'
import type { PartitionOffsets } from './offsets/look.ts'
import type { To } from './offsets/position.ts'
import type { Servers } from './offsets/servers.ts'
import { data, json, printable, say, table } from './output.ts'
import { settingsOf, wantsJson } from './settings.ts'

/** `tenantry offsets show|reset|accept|ignore`. */
export function offsetsCommand(): Command {
  return new Command('offsets')
    .description('how far groups are, and operators’ word on where they go on')
    .addCommand(showCommand())
    .addCommand(resetCommand())
    .addCommand(acceptCommand())
    .addCommand(ignoreCommand())
}

function showCommand(): Command {
  return new Command('show')
    .description('show how far groups are in each partition, by PostgreSQL, which counts, and by Kafka')
    .option('--group <name>', 'only this consumer group')
    .option('--topic <name>', 'only this topic')
    .option('--json', 'print one JSON array')
    .action(async (flags: { readonly group?: string; readonly topic?: string }, command: Command) => {
      const { lookAt } = await import('./offsets/look.ts')
      const found = await withServers(command, (servers) => lookAt(servers, flags))
      if (wantsJson(command)) return json(found)
      if (found.length > 0) data(printable(table([showHead, ...found.map(showRow)])))
      else say('No group has begun to read anything like that.')
    })
}

type Place = { readonly group: string; readonly topic: string }
type DecideFlags = Place & { readonly reason: string; readonly by?: string }
type ResetFlags = DecideFlags & {
  readonly rerun?: boolean
  readonly skip?: boolean
  readonly dropParked?: boolean
  readonly dryRun?: boolean
  readonly yes?: boolean
}

function resetCommand(): Command {
  const reset = new Command('reset')
    .description(
      'move a group to other positions: back, where records run again, or on, past records that are skipped. Its daemons may run, and go on there',
    )
    .requiredOption('--group <name>', 'the consumer group')
    .requiredOption('--topic <name>', 'the topic')
    .option('--partition <numbers...>', 'only these partitions', partitionsOf)
  return reasoned(
    moving(
      reset.requiredOption('--to <position>', 'earliest, latest, an offset, or a time such as 2026-11-01T00:00:00Z'),
    ),
  ).action(async (flags: ResetFlags & { readonly to: string; readonly partition?: number[] }, command: Command) => {
    const between = betweenOf(flags)
    const { group, topic, partition } = flags
    const [{ parseTo, targetsOf }, { findPlace }, { plan }] = await Promise.all([
      import('./offsets/position.ts'),
      import('./offsets/place.ts'),
      import('./offsets/decide.ts'),
    ])
    const to: To | undefined = parseTo(flags.to)
    if (to === undefined)
      throw usage('--to wants earliest, latest, an offset, or a time with its zone such as 2026-11-01T00:00:00Z.')
    await withServers(command, async (servers) => {
      const place = await findPlace(servers, { group, topic, ...(partition && { partitions: partition }) })
      const targets = await targetsOf(servers, place, to)
      const wanted = { ...between, ...deciderOf(flags), action: 'reset' } as const
      await carryOut(servers, await plan(servers, place, targets, wanted), flags, command)
    })
  })
}

function acceptCommand(): Command {
  return reasoned(
    moving(
      onePartition(
        new Command('accept').description(
          'take the offset that was set with Kafka’s own tools, which has stopped a partition: a reset to that position',
        ),
      ),
    ),
  ).action(async (flags: ResetFlags & { readonly partition: number }, command: Command) => {
    const between = betweenOf(flags)
    const { findPlace } = await import('./offsets/place.ts')
    const { plan, setByOthers } = await import('./offsets/decide.ts')
    await withServers(command, async (servers) => {
      const place = await findPlace(servers, { ...flags, partitions: [flags.partition] })
      const targets = await setByOthers(servers, place)
      const wanted = { ...between, ...deciderOf(flags), action: 'accept' } as const
      await carryOut(servers, await plan(servers, place, targets, wanted), flags, command)
    })
  })
}

function ignoreCommand(): Command {
  return reasoned(
    onePartition(
      new Command('ignore').description(
        'let a partition go on from its own progress, once, whatever offset was set with Kafka’s own tools',
      ),
    ).option('--json', 'print one JSON object: watermark'),
  ).action(async (flags: DecideFlags & { readonly partition: number }, command: Command) => {
    const { findPlace } = await import('./offsets/place.ts')
    const { ignore } = await import('./offsets/decide.ts')
    const watermark = await withServers(command, async (servers) => {
      const place = await findPlace(servers, { ...flags, partitions: [flags.partition] })
      return ignore(servers, place, deciderOf(flags))
    })
    if (wantsJson(command)) json({ watermark })
    say(`It goes on from ${watermark}, which its daemon writes to Kafka as soon as it has seen this.`)
  })
}

function onePartition(command: Command): Command {
  return command
    .requiredOption('--group <name>', 'the consumer group')
    .requiredOption('--topic <name>', 'the topic')
    .requiredOption('--partition <number>', 'the partition', partitionOf)
}

function reasoned(command: Command): Command {
  return command
    .requiredOption('--reason <text>', 'why, which is kept in sys.operator_actions')
    .option('--by <name>', 'who decides, if not the login of this machine')
}

function moving(command: Command): Command {
  return command
    .option('--rerun', 'going back: what was done from there on runs again, once, whatever keys there are')
    .option('--skip', 'going on: what lies between is passed over, and never runs')
    .option('--drop-parked', 'with --skip: pass over parked records below the position, too')
    .option('--dry-run', 'say what it would do, and do nothing')
    .option('--yes', 'ask nothing')
    .option('--json', 'print one JSON object: operation, dryRun, partitions')
}

/** Says what it comes to, asks where there is somebody to ask, and does it. */
async function carryOut(servers: Servers, planned: Planned, flags: ResetFlags, command: Command): Promise<void> {
  const { reset, moves } = planned
  const { dryRun = false, yes = false } = flags
  const moving = moves.filter(({ moved }) => moved)
  if (!wantsJson(command)) data(table([moveHead, ...moves.map(moveRow)]))
  say(moving.length === 0 ? 'They are there already: nothing to do.' : consequence(reset.rerun, moving))
  const go = moving.length > 0 && !dryRun && (yes || (await agreed(reset.rerun, moving.length)))
  const results = go ? await doReset(servers, reset) : moves
  if (wantsJson(command)) json({ operation: go ? reset.operation : null, dryRun, partitions: results })
}

async function doReset({ sql }: Servers, reset: Reset): Promise<readonly Move[]> {
  const { resetOffsets } = await import('../core/postgres/resets.ts')
  const results = await resetOffsets(sql, reset)
  say(
    `Done: operation ${reset.operation} in sys.operator_actions. A daemon that runs takes over there with its next commit, within 15 s.`,
  )
  return results
}

async function agreed(rerun: boolean, partitions: number): Promise<boolean> {
  if (!process.stdin.isTTY) throw usage('without a terminal to ask at, --yes or --dry-run is needed.')
  const { confirmed } = await import('./confirm.ts')
  const question = `${rerun ? 'Run' : 'Pass over'} records of ${partitions === 1 ? '1 partition' : `${partitions} partitions`}${rerun ? ' again' : ''}?`
  if (await confirmed(question, process.stdin, process.stderr)) return true
  say('Nothing was done.')
  return false
}

function consequence(rerun: boolean, moves: readonly Move[]): string {
  if (!rerun) {
    const skipped = moves.reduce((sum, move) => sum + move.skipped, 0)
    return `${skipped} offsets are passed over: what is at them never runs.`
  }
  const again = moves.reduce((sum, { to, rerunTo }) => sum + (rerunTo ?? to) - to, 0)
  return `${again} offsets run again, each message once: its key is written anew. Upserts come to the same; inserts, actors' states and what is counted in them come on top of what is there. Messages go out again under the ids that they had, and calls are made again.`
}

function betweenOf({ rerun = false, skip = false, dropParked = false }: ResetFlags): Between {
  if (rerun === skip)
    throw usage('say what is to become of the records between: --rerun to go back, or --skip to go on.')
  if (dropParked && rerun) throw usage('--drop-parked goes with --skip: going back, parked records come again.')
  return { rerun, dropParked }
}

function deciderOf({ reason, by = loginName() }: DecideFlags): Pick<Wanted, 'reason' | 'by'> {
  if (reason.trim() === '' || by.trim() === '') throw usage('--reason and --by want a text.')
  return { reason, by }
}

function partitionOf(value: string): number {
  if (!/^\d{1,6}$/.test(value)) throw new InvalidArgumentError('A partition is a whole number from 0.')
  return Number(value)
}

function partitionsOf(value: string, before: readonly number[] = []): number[] {
  return [...before, partitionOf(value)]
}

function usage(message: string): TenantryError {
  return new TenantryError('TENANTRY_USAGE', `tenantry offsets: ${message}`)
}

/** The drivers are loaded when they are asked for: other commands need none. */
async function withServers<T>(command: Command, use: (servers: Servers) => Promise<T>): Promise<T> {
  const { config } = settingsOf(command, ['kafka', 'postgres'])
  const { usingServers } = await import('./offsets/servers.ts')
  return usingServers(config, use)
}

const showHead = [
  ...['GROUP', 'TOPIC', 'PARTITION', 'BEGAN', 'DONE', 'AHEAD', 'LOG', 'LAG', 'KAFKA', 'WRITTEN'],
  ...['PARKED', 'RETRIES', 'EPOCH', 'SEQ', 'NOTE'],
]

function showRow(at: PartitionOffsets): string[] {
  const { logStart, logEnd, aheadRanges, ahead } = at
  const numbers = [at.lag, at.kafkaOffset, at.writtenOffset, at.parked, at.retries, at.epoch, at.seq]
  return [
    at.group,
    at.topic,
    String(at.partition),
    shown(at.began),
    shown(at.watermark),
    aheadRanges === 0 ? '0' : `${ahead} in ${aheadRanges}`,
    logEnd === null ? '-' : `${logStart}..${logEnd}`,
    ...numbers.map(shown),
    noteOf(at),
  ]
}

function noteOf({ state, foreign, rerunTo, watermark, logStart, logEnd }: PartitionOffsets): string {
  const outside =
    watermark !== null && logStart !== null && logEnd !== null && (watermark < logStart || watermark > logEnd)
  const notes = [
    state === 'gone' ? 'Kafka has no such topic' : state === 'recreated' ? 'Kafka has another topic of that name' : '',
    watermark === null ? 'no progress row' : '',
    outside ? 'outside the log' : '',
    foreign ? "Kafka's offset was set by another tool" : '',
    rerunTo === null ? '' : `runs again to ${rerunTo}`,
  ].filter((note) => note !== '')
  return notes.length === 0 ? '-' : notes.join('; ')
}

const moveHead = ['PARTITION', 'FROM', 'TO', 'RUNS AGAIN TO', 'SKIPPED', 'PARKED DROPPED', 'RETRIES DROPPED']

function moveRow({ partition, from, to, rerunTo, skipped, droppedParked, droppedRetries, moved }: Move): string[] {
  const numbers = moved ? [rerunTo, skipped, droppedParked, droppedRetries].map(shown) : ['-', '0', '0', '0']
  return [String(partition), shown(from), moved ? String(to) : 'is there', ...numbers]
}

function shown(value: number | null): string {
  return value === null ? '-' : String(value)
}

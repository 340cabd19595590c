import { randomUUID } from 'node:crypto'
import { Command, Option } from 'commander'
import type postgres from 'postgres'
import {
  agreed,
  type ChangeFlags,
  changeOf,
  choose,
  progressOf,
  sayBegun,
  sayDone,
  withChange,
} from './dlq/changing.ts'
import { discard } from './dlq/discard.ts'
import { checkFilter, states } from './dlq/filter.ts'
import { type FilterFlags, filterOf, letterId, pageSize, time, withFilters } from './dlq/flags.ts'
import { cell, count, kindHead, kindRow } from './dlq/kinds.ts'
import { findLetter, type Letter, listLetters } from './dlq/letters.ts'
import { replayCommand } from './dlq/replay-command.ts'
import { letterForJson, letterForPeople, placeOf } from './dlq/shown.ts'
import { type Statistics, statisticsOf } from './dlq/statistics.ts'
import { exitCode } from './exit.ts'
import { data, json, say, table } from './output.ts'
import { settingsOf, wantsJson } from './settings.ts'

/** `tenantry dlq list|show|stats|replay|discard`. */
export function dlqCommand(): Command {
  return new Command('dlq')
    .description('dead letters: records that were given up, in sys.dead_letters')
    .addCommand(listCommand())
    .addCommand(showCommand())
    .addCommand(statsCommand())
    .addCommand(replayCommand(withDatabase))
    .addCommand(discardCommand())
}

type ListFlags = FilterFlags & {
  readonly reason?: string
  readonly state: (typeof states)[number] | 'all'
  readonly limit: number
  readonly before?: number
}

function listCommand(): Command {
  const list = new Command('list').description('list dead letters, the newest first, without what is in them')
  return withFilters(list, '--reason')
    .addOption(new Option('--state <state>', 'in this state').choices([...states, 'all']).default('open'))
    .option('--limit <number>', 'at most so many', pageSize, 50)
    .option('--before <id>', 'older than this one: the next page', letterId)
    .option('--json', 'print one JSON object: deadLetters, next')
    .action(async (flags: ListFlags, command: Command) => {
      const { state, limit, before = null } = flags
      const filter = { ...filterOf(flags, flags.reason), ...(state !== 'all' && { state }) }
      const { letters, next } = await withDatabase(command, async (sql) => {
        await checkFilter(sql, filter)
        return listLetters(sql, filter, { limit, before })
      })
      if (wantsJson(command)) return json({ deadLetters: letters, next })
      if (letters.length > 0) data(table([listHead, ...letters.map(listRow)]))
      if (next !== null) say(`There are more: --before ${next} shows the next.`)
      else say(letters.length === 0 ? 'There are none.' : `${count(letters.length)}.`)
    })
}

function showCommand(): Command {
  return new Command('show')
    .description('print everything of one dead letter, with its key, value and headers')
    .argument('<id>', 'its number, as dlq list has it', letterId)
    .option('--json', 'print one JSON object')
    .action(async (id: number, _flags, command: Command) => {
      const letter = await withDatabase(command, (sql) => findLetter(sql, id))
      if (wantsJson(command)) json(letterForJson(letter))
      else data(letterForPeople(letter))
    })
}

function statsCommand(): Command {
  return new Command('stats')
    .description('count dead letters: those of the last time, and what is open')
    .option('--group <name>', 'of this consumer group')
    .option('--since <time>', 'the last time: 2h, or 2026-11-01T00:00:00Z', time)
    .option('--json', 'print one JSON object: since, groups, open')
    .action(
      async ({ group, since = time('24h') }: { readonly group?: string; readonly since?: Date }, command: Command) => {
        const statistics = await withDatabase(command, (sql) => statisticsOf(sql, since, group))
        if (wantsJson(command)) json(statistics)
        else data(statisticsText(statistics))
      },
    )
}

const discarding = { name: 'discard', done: 'discarded' }

function discardCommand(): Command {
  const command = new Command('discard').description(
    'mark dead letters as not wanted any more; deletes nothing, and is written down in sys.dlq_audit. Exits with 6 when some of the given ones are not open',
  )
  return withChange(command, discarding)
    .option('--json', 'print one JSON object: discarded, chosen, operation, dryRun, kinds')
    .action(async (ids: readonly number[] | undefined, flags: ChangeFlags, self: Command) => {
      await runDiscard(ids ?? [], flags, self)
    })
}

async function runDiscard(ids: readonly number[], flags: ChangeFlags, command: Command): Promise<void> {
  const { filter, dryRun, yes, ...who } = changeOf(discarding, ids, flags)
  await withDatabase(command, async (sql) => {
    const asJson = wantsJson(command)
    const { deadLetters, missing, newest, kinds } = await choose(sql, discarding, filter, { quiet: asJson })
    let discarded = 0
    const operation = randomUUID()
    if (deadLetters > 0 && !dryRun && (yes || (await agreed(discarding, deadLetters)))) {
      const all = { ...who, filter: { ...filter, upTo: newest }, operation }
      sayBegun(deadLetters, operation)
      discarded = await discard(sql, all, progressOf(deadLetters))
      sayDone(discarded, discarding, operation)
    }
    if (asJson) json({ discarded, chosen: deadLetters, operation: discarded > 0 ? operation : null, dryRun, kinds })
    if (dryRun) return
    if (discarded < deadLetters + missing) process.exitCode = exitCode(discarded > 0 ? 'partial' : 'failed')
  })
}

/** The driver is loaded when it is asked for: other commands need none. */
async function withDatabase<T>(command: Command, use: (sql: postgres.Sql) => Promise<T>): Promise<T> {
  const { url } = settingsOf(command, ['postgres']).config.postgres
  const { usingDatabase } = await import('./database.ts')
  return usingDatabase(url, 'dlq', use)
}

const listHead = ['ID', 'FAILED', 'GROUP', 'RECORD', 'TENANT', 'TYPE', 'REASON', 'TRIES', 'ERROR']

function listRow({ id, failedAt, group, topic, partition, offset, tenant, type, reason, attempts, ...letter }: Letter) {
  const place = placeOf({ topic, partition, offset })
  const error = letter.errorClass === '' ? letter.errorMessage : `${letter.errorClass}: ${letter.errorMessage}`
  const cells = [failedAt, group, place, tenant, type, reason, String(attempts)].map((text) => cell(text, 48))
  return [String(id), ...cells, cell(error, 80)]
}

function statisticsText({ since, groups, open }: Statistics): string {
  const rows = groups.map(({ group, reasons, ...counts }) => [
    cell(group, 48),
    ...[counts.deadLetters, counts.open, counts.discarded, counts.replayed, counts.refused, counts.tenants].map(String),
    Object.entries(reasons)
      .sort(([, one], [, other]) => other - one)
      .map(([reason, times]) => `${cell(reason, 48)} ${times}`)
      .join(', '),
  ])
  const head = ['GROUP', 'DEAD LETTERS', 'OPEN', 'DISCARDED', 'REPLAYED', 'REFUSED', 'TENANTS', 'REASONS']
  return [
    `Since ${since}:`,
    rows.length === 0 ? 'none' : table([head, ...rows]),
    '',
    'Open:',
    open.length === 0 ? 'none' : table([kindHead, ...open.map(kindRow)]),
  ].join('\n')
}

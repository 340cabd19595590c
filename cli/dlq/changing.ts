import type { Command } from 'commander'
import type postgres from 'postgres'
import { TenantryError } from '../../core/errors.ts'
import { loginName } from '../login-name.ts'
import { data, say, table } from '../output.ts'
import { checkFilter, type Filter } from './filter.ts'
import { type FilterFlags, filterOf, letterIds, withFilters } from './flags.ts'
import { count, kindHead, kindRow } from './kinds.ts'
import { type Kind, preview } from './statistics.ts'

export type ChangeFlags = FilterFlags & {
  readonly reason: string
  readonly deadReason?: string
  readonly by?: string
  readonly dryRun?: boolean
  readonly yes?: boolean
}

/** What a command of this kind does, as it is said: `discard`, `discarded`. */
export type Verb = { readonly name: string; readonly done: string }

/** The options of a command that does something to dead letters, and writes down who did. */
export function withChange(command: Command, { done }: Verb): Command {
  return withFilters(
    command.argument('[ids...]', 'their numbers, instead of options that choose them', letterIds),
    '--dead-reason',
  )
    .requiredOption('--reason <text>', 'why, for the audit')
    .option('--by <name>', 'who, for the audit (default: the name of the user that runs this)')
    .option('--dry-run', `say what would be ${done}, and end`)
    .option('--yes', 'ask nothing')
}

/** What was asked for, once it makes sense. */
export type Change = {
  readonly filter: Filter
  readonly givenName: string
  readonly reason: string
  readonly dryRun: boolean
  readonly yes: boolean
}

/** Throws TENANTRY_USAGE. */
export function changeOf({ name }: Verb, ids: readonly number[], flags: ChangeFlags): Change {
  const { reason, by = loginName(), dryRun = false, yes = false } = flags
  const chosen = filterOf(flags, flags.deadReason)
  const usage = (message: string) => new TenantryError('TENANTRY_USAGE', `tenantry dlq ${name}: ${message}`)
  if (reason.trim() === '' || by.trim() === '') throw usage('--reason and --by want a text.')
  if (ids.length > 0 === Object.keys(chosen).length > 0)
    throw usage('name the dead letters by their numbers, or choose them by options such as --group: one of both.')
  if (!dryRun && !yes && !process.stdin.isTTY)
    throw usage('without a terminal to ask at, --yes or --dry-run is needed.')
  const filter: Filter = ids.length > 0 ? { ids: [...new Set(ids)] } : chosen
  return { filter, givenName: by, reason, dryRun, yes }
}

export type Chosen = {
  readonly deadLetters: number
  /** Of the numbers that were given, those that are not there or not open. */
  readonly missing: number
  /** The highest number of them: what comes later was not looked at. */
  readonly newest: number
  readonly kinds: readonly Kind[]
}

/** Says what would be changed. `only` is what else must be true of it. */
export async function choose(
  sql: postgres.Sql,
  { done }: Verb,
  filter: Filter,
  { only = {}, quiet }: { readonly only?: Filter; readonly quiet: boolean },
): Promise<Chosen> {
  await checkFilter(sql, filter)
  const open = { ...filter, state: 'open' } as const
  const { deadLetters, newest, kinds } = await preview(sql, { ...open, ...only })
  const there = filter.ids === undefined ? 0 : (await preview(sql, open)).deadLetters
  const missing = (filter.ids?.length ?? 0) - there
  if (!quiet && deadLetters > 0) data(table([kindHead, ...kinds.map(kindRow)]))
  if (missing > 0) say(`${missing} of the given ones are not there, or not open.`)
  say(`${count(deadLetters)} would be ${done}.`)
  return { deadLetters, missing, newest, kinds }
}

/** Asks at the terminal. */
export async function agreed({ name, done }: Verb, deadLetters: number): Promise<boolean> {
  const { confirmed } = await import('../confirm.ts')
  const question = `${name.charAt(0).toUpperCase()}${name.slice(1)} ${count(deadLetters)}?`
  if (await confirmed(question, process.stdin, process.stderr)) return true
  say(`Nothing was ${done}.`)
  return false
}

/** Says by what an operation can be found that somebody ends before it is done. One dead letter is one transaction. */
export function sayBegun(deadLetters: number, operation: string): void {
  if (deadLetters > 1) say(`Operation ${operation} in sys.dlq_audit; run again, it goes on with what is still open.`)
}

/** What came of it. Where it is nothing, as somebody was faster, nothing is written down either. */
export function sayDone(deadLetters: number, { done }: Verb, operation: string): void {
  const where = deadLetters === 0 ? '' : `: operation ${operation} in sys.dlq_audit`
  say(`${count(deadLetters)} ${done}${where}.`)
}

/** Tells how far it is, each tenth of the way. */
export function progressOf(all: number): (done: number) => void {
  let told = 0
  return (done) => {
    const tenths = Math.floor((10 * done) / all)
    if (tenths === told || done === all) return
    told = tenths
    say(`${done} of ${all} …`)
  }
}

import { randomUUID } from 'node:crypto'
import { Command, InvalidArgumentError } from 'commander'
import type postgres from 'postgres'
import { exitCode } from '../exit.ts'
import { json, say } from '../output.ts'
import { wantsJson } from '../settings.ts'
import { agreed, type ChangeFlags, changeOf, choose, progressOf, sayBegun, sayDone, withChange } from './changing.ts'
import { count } from './kinds.ts'
import { notReplayable, type Outcome, refusals, replay, settled } from './replay.ts'

type Flags = ChangeFlags & { readonly rate?: number; readonly maxReplays: number; readonly wait?: boolean }

type WithDatabase = (command: Command, use: (sql: postgres.Sql) => Promise<void>) => Promise<void>

const verb = { name: 'replay', done: 'replayed' }

/** `tenantry dlq replay`. */
export function replayCommand(withDatabase: WithDatabase): Command {
  const command = new Command('replay').description(
    'process records again that were given up: each goes behind what its tenant has under way, and is written down in sys.dlq_audit. Newer records of the tenant have gone by; those replayed together keep their order. Run again, it goes on with what is still open. Exits with 6 when only some of them could be replayed, or when with --wait some are dead letters again',
  )
  return withChange(command, verb)
    .option('--rate <number>', 'so many a second at most', whole)
    .option('--max-replays <number>', 'leave those that were replayed so often already', whole, 5)
    .option('--wait', 'wait until all of them are done, and say what became of them')
    .option('--json', 'print one JSON object: replayed, chosen, left, operation, outcome, dryRun, kinds')
    .action(async (ids: readonly number[] | undefined, flags: Flags, self: Command) => {
      await run(withDatabase, ids ?? [], flags, self)
    })
}

async function run(withDatabase: WithDatabase, ids: readonly number[], flags: Flags, command: Command): Promise<void> {
  const { filter, dryRun, yes, ...who } = changeOf(verb, ids, flags)
  const { maxReplays, rate, wait = false } = flags
  await withDatabase(command, async (sql) => {
    const asJson = wantsJson(command)
    const only = { replayable: maxReplays }
    const { deadLetters, missing, newest, kinds } = await choose(sql, verb, filter, { only, quiet: asJson })
    const before = await notReplayable(sql, filter, maxReplays)
    sayLeft(before)
    const operation = randomUUID()
    let replayed = 0
    let left = before
    let outcome: Outcome | null = null
    if (deadLetters > 0 && !dryRun && (yes || (await agreed(verb, deadLetters)))) {
      sayBegun(deadLetters, operation)
      const replaying = { ...who, filter: { ...filter, upTo: newest }, operation, maxReplays }
      const done = await replay(sql, { ...replaying, ...(rate !== undefined && { rate }) }, progressOf(deadLetters))
      sayLeft(done.left)
      replayed = done.replayed
      left = { ...before, ...done.left }
      sayDone(replayed, verb, operation)
      if (replayed > 0)
        say('Newer records of their tenants have gone by before them; among themselves they keep their order.')
      if (wait) outcome = await waited(sql, operation)
    }
    const by = replayed > 0 ? operation : null
    if (asJson) json({ replayed, chosen: deadLetters, left, operation: by, outcome, dryRun, kinds })
    if (dryRun) return
    const good = outcome === null ? replayed : outcome.succeeded
    const all = filter.ids?.length ?? deadLetters
    if (good < all || missing > 0) process.exitCode = exitCode(good > 0 ? 'partial' : 'failed')
  })
}

function sayLeft(left: Readonly<Record<string, number>>): void {
  for (const [word, letters] of Object.entries(left)) say(`${count(letters)} cannot be: ${refusals[word] ?? word}.`)
}

async function waited(sql: postgres.Sql, operation: string): Promise<Outcome> {
  const outcome = await settled(sql, operation, ({ waiting }) => say(`${waiting} to be processed …`))
  say(`${outcome.succeeded} succeeded, ${outcome.deadAgain} are dead letters again.`)
  return outcome
}

function whole(text: string): number {
  if (!/^[1-9]\d{0,6}$/.test(text)) throw new InvalidArgumentError('A whole number from 1 to 9999999 is wanted.')
  return Number(text)
}

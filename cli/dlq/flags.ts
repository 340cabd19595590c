import { type Command, InvalidArgumentError } from 'commander'
import { systemClock } from '../../core/clock.ts'
import { parseDuration } from '../../core/config/units.ts'
import { beginsWithDate } from '../../core/timestamp.ts'
import type { Filter } from './filter.ts'

export type FilterFlags = {
  readonly group?: string
  readonly tenant?: string
  readonly topic?: string
  readonly type?: string
  readonly error?: string
  readonly since?: Date
  readonly until?: Date
  readonly jsonPath?: string
}

/** The options that choose dead letters. Their reason has a name of the command's own. */
export function withFilters(command: Command, reasonFlag: string): Command {
  return command
    .option('--group <name>', 'of this consumer group')
    .option('--tenant <id>', 'of this tenant')
    .option('--topic <name>', 'of records of this topic')
    .option('--type <type>', 'of messages of this type')
    .option(`${reasonFlag} <word>`, 'given up for this reason, such as schema or handler')
    .option('--error <text>', "whose error's class is this, or whose message has this in it", someText)
    .option('--since <time>', 'given up since then: 2h ago, or 2026-11-01T00:00:00Z', time)
    .option('--until <time>', 'given up before then', time)
    .option('--json-path <comparison>', "whose value is JSON for which this is true: '$.payload.amount > 100'")
}

/** What was given, without what was not. */
export function filterOf(flags: FilterFlags, reason: string | undefined): Filter {
  const { group, tenant, topic, type, error, since, until, jsonPath } = flags
  return {
    ...(group !== undefined && { group }),
    ...(tenant !== undefined && { tenant }),
    ...(topic !== undefined && { topic }),
    ...(type !== undefined && { type }),
    ...(reason !== undefined && { reason }),
    ...(error !== undefined && { error }),
    ...(since !== undefined && { since }),
    ...(until !== undefined && { until }),
    ...(jsonPath !== undefined && { jsonPath }),
  }
}

/** Every message has '' in it: who gives that, from a script's empty variable, does not mean all dead letters. */
function someText(text: string): string {
  if (text === '') throw new InvalidArgumentError('A text is wanted.')
  return text
}

/** A time, or how long ago. */
export function time(text: string): Date {
  const ago = parseDuration(text.replace(/ ago$/, ''))
  if (ago !== undefined) return new Date(systemClock.now() - ago)
  const written = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2}))?$/.test(text)
  // JavaScript takes 30 February for 2 March.
  const at = written && beginsWithDate(text) ? new Date(text) : undefined
  // PostgreSQL has no year 0, which a zone can still make of year 1.
  if (at === undefined || Number.isNaN(at.getTime()) || at.getUTCFullYear() < 1)
    throw new InvalidArgumentError('A time is wanted, such as 2026-11-01T00:00:00Z, or how long ago, such as 2h.')
  return at
}

/** The number of a dead letter. */
export function letterId(text: string): number {
  if (!/^[1-9]\d{0,14}$/.test(text))
    throw new InvalidArgumentError('The number of a dead letter is wanted, as dlq list has it.')
  return Number(text)
}

export function letterIds(text: string, before: readonly number[] = []): readonly number[] {
  return [...before, letterId(text)]
}

export function pageSize(text: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text)) throw new InvalidArgumentError('A whole number from 1 to 9999 is wanted.')
  return Number(text)
}

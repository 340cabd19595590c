import { CommanderError } from 'commander'
import { ConfigError } from '../core/config/problems.ts'
import { messageOf, TenantryError } from '../core/errors.ts'
import { redactText } from '../core/redact.ts'
import { exitCode, exitCodeOf } from './exit.ts'

/** Of drivers' errors that no command has put into words: the server's doing all the same, and no bug of ours. */
const driverCodes: Readonly<Record<number, string>> = {
  [exitCode('unreachable')]: 'TENANTRY_SERVER_UNREACHABLE',
  [exitCode('not-authorised')]: 'TENANTRY_SERVER_REFUSED',
}
const bugCode = 'TENANTRY_BUG'

/** Data goes to standard output, and nothing else does; talk goes to standard error. */

/** Writes data, with a line end. */
export function data(text: string): void {
  process.stdout.write(text.endsWith('\n') ? text : `${text}\n`)
}

/** Writes one JSON value on one line, so that whoever reads all of it and whoever reads the last line get the same. */
export function json(value: unknown): void {
  data(jsonSafe(JSON.stringify(value)))
}

/** Tells people something. */
export function say(text: string): void {
  process.stderr.write(`${text}\n`)
}

/** `1 topic`, `2 topics`. */
export function counted(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`
}

/** Columns, each as wide as its widest cell. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = []
  for (const row of rows) row.forEach((cell, column) => (widths[column] = Math.max(widths[column] ?? 0, cell.length)))
  return rows
    .map((row) =>
      row.map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0))).join('  '),
    )
    .join('\n')
}

/** Says what went wrong: its code, the sentence and what to do; as one JSON object where the command was to give JSON. */
export function tellError(error: unknown, asJson: boolean): void {
  if (error instanceof CommanderError) {
    if (asJson && error.exitCode !== 0) {
      const message = error.message.replace(/^error: /, '')
      process.stderr.write(
        `${JSON.stringify({ error: { code: 'TENANTRY_USAGE', message, exit: exitCode('usage') } })}\n`,
      )
    }
    // Else commander has said it already.
    return
  }
  const code = error instanceof TenantryError ? error.code : (driverCodes[exitCodeOf(error)] ?? bugCode)
  const message = printable(redactText(messageOf(error)))
  if (asJson) {
    const facts =
      error instanceof ConfigError ? { problems: error.problems } : error instanceof TenantryError ? error.facts : {}
    process.stderr.write(
      `${redactText(JSON.stringify({ error: { code, message, exit: exitCodeOf(error), ...facts } }))}\n`,
    )
    return
  }
  if (error instanceof ConfigError) {
    const { length } = error.problems
    say(`The configuration has ${length === 1 ? 'a problem' : `${length} problems`} (${code}):`)
    say(message.replace(/^/gm, '  '))
    say('`tenantry config explain KEY` says what a key may be.')
    return
  }
  if (exitCodeOf(error) === exitCode('bug')) {
    say(`This is an error inside tenantry (${code}); please report it with these lines:`)
    say(printable(redactText(error instanceof Error ? (error.stack ?? error.message) : message)))
    return
  }
  say(`${message}${/[.!?]$/.test(message) ? '' : '.'} (${code})`)
}

/** Without the control characters that a terminal would obey; tabs and line ends stay. */
export function printable(text: string): string {
  return text.replace(/[^\P{Cc}\t\n]/gu, '')
}

/** Characters by which a text can do something to a terminal, or be read otherwise than it is: controls, directions. */
const active = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu

/** One line of a text that somebody else wrote, with what is not to be seen written out: `\u{1b}[31m`. */
export function visible(text: string): string {
  return text.replace(active, (char) => `\\u{${char.codePointAt(0)?.toString(16) ?? ''}}`)
}

/** JSON, with what is not to be seen written out as JSON does it. Line ends between values stay. */
export function jsonSafe(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (char) =>
    char === '\n' ? char : char.replace(/[^]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`),
  )
}

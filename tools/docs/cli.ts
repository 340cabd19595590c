import type { Command } from 'commander'
import { exitCodes } from '../../cli/exit.ts'
import { createProgram } from '../../cli/program.ts'
import { code, markdownTable } from './tables.ts'

const intro = `# Command line

\`tenantry <noun> <verb>\`. In a checkout: \`npm run -s tenantry -- <noun> <verb>\`.

- Standard output holds data and nothing else (of \`start\`: its log); progress, hints and warnings go to standard error.
- Reading commands take \`--json\`. With it an error is one JSON object on standard error, too:
  \`{"error":{"code":"TENANTRY_…","message":"…","exit":3}}\`.
- Every error has a stable code (docs/errors.md), a sentence, and what to do.
- Only \`dlq discard\`, \`dlq replay\`, \`offsets reset\` and \`offsets accept\` ask a question, and only at a terminal, so no
  command hangs without one; output has no colours (\`NO_COLOR\` is moot), and of what others wrote no character that a
  terminal would obey.
- A mistyped command, option or key is answered with the one that was probably meant.
`

/** docs/cli.md. */
export function cliPage(): string {
  const program = createProgram()
  const parts = [
    intro,
    '## Exit codes\n',
    `${markdownTable(
      ['code', 'name', 'meaning'],
      exitCodes.map(({ code: number, name, meaning }) => [String(number), name, meaning]),
    )}\n`,
    '## Options of every command\n',
    `${optionTable(program)}\n`,
  ]
  for (const command of leaves(program, [])) {
    const { path, command: leaf } = command
    const words = leaf.registeredArguments.map((argument) =>
      argument.required ? `<${argument.name()}>` : `[${argument.name()}${argument.variadic ? '...' : ''}]`,
    )
    parts.push(`## tenantry ${[...path, ...words].join(' ')}\n`, `${sentence(leaf.description())}\n`)
    if (leaf.registeredArguments.length > 0) {
      parts.push(
        `${leaf.registeredArguments.map((argument) => `- ${code(argument.name())}: ${argument.description}`).join('\n')}\n`,
      )
    }
    if (leaf.options.length > 0) parts.push(`${optionTable(leaf)}\n`)
  }
  return parts.join('\n')
}

function* leaves(command: Command, path: readonly string[]): Generator<{ path: readonly string[]; command: Command }> {
  if (command.commands.length === 0) yield { path, command }
  for (const child of command.commands) if (child.name() !== 'help') yield* leaves(child, [...path, child.name()])
}

function optionTable(command: Command): string {
  return markdownTable(
    ['option', 'what'],
    command.options.map(({ flags, description, defaultValue, argChoices }) => {
      const choices = argChoices ? ` (${argChoices.join(', ')})` : ''
      const told = typeof defaultValue === 'string' || typeof defaultValue === 'number'
      const byDefault = told ? ` (default: ${defaultValue})` : ''
      return [code(flags), `${description}${choices}${byDefault}`]
    }),
  )
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`
}

import { Command } from 'commander'
import { breakersCommand } from './breakers.ts'
import { configCommand } from './config.ts'
import { devCommand } from './dev.ts'
import { dlqCommand } from './dlq.ts'
import { exitCodes } from './exit.ts'
import { table } from './output.ts'
import { migrateCommand } from './migrate.ts'
import { offsetsCommand } from './offsets.ts'
import { startCommand } from './start.ts'
import { stuckCommand } from './stuck.ts'
import { topicsCommand } from './topics.ts'
import { verifyCommand } from './verify.ts'
import { version } from './version.ts'

/**
 * The command line, without running it. Errors and help are thrown as CommanderError, never exit by themselves; `quiet`:
 * what is wrong with a command line is not written either.
 */
export function createProgram({ quiet = false }: { readonly quiet?: boolean } = {}): Command {
  const program = new Command('tenantry')
    .description('Consumes Kafka for many tenants: each in order, its effects in PostgreSQL exactly once.')
    .version(version(), '-V, --version')
    .option('-c, --config <file>', 'the configuration (default: TENANTRY_CONFIG, or tenantry.yml here if there is one)')
    .option('--set <key=value>', 'set one key of the configuration; may be repeated', collect)
    .showHelpAfterError('(tenantry help COMMAND says what it takes)')
    .addHelpText(
      'after',
      `\nExit codes:\n${table(exitCodes.map(({ code, meaning }) => [`  ${String(code).padStart(3)}`, meaning]))}\n`,
    )

  if (quiet) program.configureOutput({ writeErr() {} })
  for (const command of [
    startCommand(),
    devCommand(),
    configCommand(),
    migrateCommand(),
    topicsCommand(),
    breakersCommand(),
    stuckCommand(),
    offsetsCommand(),
    verifyCommand(),
    dlqCommand(),
  ])
    program.addCommand(command)
  settle(program)
  return program
}

/** Commands that were made elsewhere do not inherit by themselves. */
function settle(command: Command): void {
  command.exitOverride()
  for (const child of command.commands) {
    child.copyInheritedSettings(command)
    settle(child)
  }
}

function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value]
}

import { exitCode, exitCodeOf } from './exit.ts'
import { tellError } from './output.ts'
import { createProgram } from './program.ts'

/** Runs the command that this process was started with, and sets the exit code. */
export async function runCommandLine(): Promise<void> {
  // A reader that has seen enough (`tenantry config print | head`) is no error.
  process.stdout.on('error', (error: Error) => {
    process.exit('code' in error && error.code === 'EPIPE' ? 0 : exitCode('failed'))
  })
  const asJson = process.argv.includes('--json')
  try {
    await createProgram({ quiet: asJson }).parseAsync()
  } catch (error) {
    tellError(error, asJson)
    process.exitCode = exitCodeOf(error)
  }
}

import { exitCodeOf } from '../cli/exit.ts'
import { tellError } from '../cli/output.ts'
import { benchProgram } from './program.ts'

try {
  await benchProgram().parseAsync()
} catch (error) {
  tellError(error, false)
  process.exitCode = exitCodeOf(error)
}

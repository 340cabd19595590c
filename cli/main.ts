#!/usr/bin/env node
import { exit, exitCodeOf } from './exit.ts'
import { tellError } from './output.ts'
import { createProgram } from './program.ts'

// A reader that has seen enough (`tenantry config print | head`) is no error.
process.stdout.on('error', (error: Error) => {
  process.exit('code' in error && error.code === 'EPIPE' ? 0 : exit('failed'))
})

try {
  await createProgram().parseAsync()
} catch (error) {
  tellError(error, process.argv.includes('--json'))
  process.exitCode = exitCodeOf(error)
}

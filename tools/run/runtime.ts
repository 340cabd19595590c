import { TenantryError } from '../../core/errors.ts'
import { bunBinary } from '../setup/bun.mjs'

export type Runtime = 'node' | 'bun'

/** The runtime that this process runs on. */
export const ownRuntime: Runtime = process.versions['bun'] === undefined ? 'node' : 'bun'

/** The program of a runtime; undefined where Bun has no binary for this machine. */
export function programOf(runtime: Runtime): string | undefined {
  if (runtime === ownRuntime) return process.execPath
  return runtime === 'node' ? 'node' : bunBinary()
}

/** The same. Throws TENANTRY_NO_BUN where there is none. */
export function requireProgram(runtime: Runtime): string {
  const program = programOf(runtime)
  if (program !== undefined) return program
  throw new TenantryError(
    'TENANTRY_NO_BUN',
    'Bun is not among the packages of this machine: leave out what asks for it, or install its package.',
  )
}

import { resolve } from 'node:path'
import { programOf as commandOf, type Runtime } from '../../tools/run/runtime.ts'

export const checkout = resolve(import.meta.dirname, '../..')

/** The program of a runtime and the flags before a file's name; undefined when Bun has no binary for this machine. */
export function programOf(
  runtime: Runtime,
): { readonly command: string; readonly flags: readonly string[] } | undefined {
  const command = commandOf(runtime)
  if (command === undefined) return undefined
  return { command, flags: runtime === 'node' ? ['--disable-warning=ExperimentalWarning'] : [] }
}

import { existsSync, readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'

export type Runtime = 'node' | 'bun'

export const checkout = resolve(import.meta.dirname, '../..')

/** The program of a runtime and the flags before a file's name; undefined when Bun has no binary for this machine. */
export function programOf(
  runtime: Runtime,
): { readonly command: string; readonly flags: readonly string[] } | undefined {
  if (runtime === 'node') return { command: nodeBinary(), flags: ['--disable-warning=ExperimentalWarning'] }
  const scope = join(checkout, 'node_modules/@oven')
  if (!existsSync(scope)) return undefined
  const found = readdirSync(scope)
    .map((name) => join(scope, name, 'bin/bun'))
    .find((path) => existsSync(path))
  return found === undefined ? undefined : { command: found, flags: [] }
}

function nodeBinary(): string {
  return process.versions['bun'] === undefined ? process.execPath : 'node'
}

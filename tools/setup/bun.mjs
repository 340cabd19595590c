// Bun comes as one of several packages, whichever of them the machine takes.
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './paths.mjs'

/** Bun's binary, or undefined where the packages have none for this machine. */
export function bunBinary() {
  const scope = join(root, 'node_modules/@oven')
  if (!existsSync(scope)) return undefined
  return readdirSync(scope)
    .map((name) => join(scope, name, 'bin/bun'))
    .find((path) => existsSync(path))
}

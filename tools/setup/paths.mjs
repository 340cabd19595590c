// Where set-up keeps what it fetches. Plain JavaScript that Node 18 can parse, like every .mjs file in tools/.
import { accessSync, constants, existsSync, mkdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The checkout. */
export const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..')
/** What belongs to this checkout only. */
export const toolsFolder = process.env.TENANTRY_TOOLS || join(root, '.tools')
/** What the inner npm, make and Maven said. */
export const setupLog = join(toolsFolder, 'setup.log')

/** What several checkouts of one user may share; in the checkout when the user's own cache cannot be written. */
export const cacheFolder = (() => {
  const wanted = process.env.TENANTRY_CACHE || join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'tenantry')
  try {
    mkdirSync(wanted, { recursive: true })
    accessSync(wanted, constants.W_OK)
    return wanted
  } catch {
    return join(toolsFolder, 'cache')
  }
})()

/** The path of a program on PATH, or undefined. */
export function onPath(name, path = process.env.PATH || '') {
  for (const folder of path.split(':')) {
    if (!folder) continue
    const candidate = join(folder, name)
    try {
      accessSync(candidate, constants.X_OK)
      return candidate
    } catch {}
  }
  return undefined
}

/** 'glibc' or 'musl': which C library the addon would be linked to. */
export function libc() {
  return existsSync('/lib/ld-musl-x86_64.so.1') || existsSync('/lib/ld-musl-aarch64.so.1') ? 'musl' : 'glibc'
}

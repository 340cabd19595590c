// Where set-up keeps what it fetches. Plain JavaScript that Node 18 can parse, like every .mjs file in tools/.
import { accessSync, constants, existsSync, mkdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The checkout. */
export const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..')
/** What belongs to this checkout only. */
export const toolsFolder = process.env.TENANTRY_TOOLS || join(root, '.tools')
/** What the inner npm, make and Maven said. */
export const setupLog = join(toolsFolder, 'setup.log')

/** What several checkouts of one user may share; in the checkout when the user's own cache cannot be written. */
export const cacheFolder = (() => {
  const { TENANTRY_CACHE: named, XDG_CACHE_HOME: cache } = process.env
  const wanted = named ? resolve(named) : join(cache && isAbsolute(cache) ? cache : join(home(), '.cache'), 'tenantry')
  return isWritable(wanted) ? wanted : join(toolsFolder, 'cache')
})()

/** The user's home; a folder of ours where there is none. */
export function home() {
  try {
    const found = homedir()
    if (isAbsolute(found)) return found
  } catch {} // a user id without a name, and HOME not set
  return join(toolsFolder, 'home')
}

/** Whether this folder is there, or can be made, and written to. */
export function isWritable(folder) {
  try {
    mkdirSync(folder, { recursive: true })
    accessSync(folder, constants.W_OK)
    return true
  } catch {
    return false
  }
}

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

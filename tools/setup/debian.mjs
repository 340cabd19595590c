// Debian packages unpacked into the checkout, without root: what apt-get would install, nothing of the system touched.
import { existsSync, lstatSync, mkdirSync, readdirSync, readlinkSync, rmSync, symlinkSync } from 'node:fs'
import { basename, join } from 'node:path'
import { onPath, toolsFolder } from './paths.mjs'
import { run } from './run.mjs'

const triplet = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' }[process.arch] || ''

/** The `usr` folder of what was unpacked. */
export const unpacked = join(toolsFolder, 'sys/usr')
/** Its folder of shared libraries. */
const unpackedLibraries = join(unpacked, 'lib', triplet)
/** The system's. */
export const systemLibraries = join('/usr/lib', triplet)

/** The environment in which a compiler finds the headers and libraries that were unpacked. */
export function compilerPaths() {
  const add = (name, value) => ({ [name]: process.env[name] ? `${value}:${process.env[name]}` : value })
  return {
    ...add('CPATH', `${unpacked}/include:${unpacked}/include/${triplet}`),
    ...add('LIBRARY_PATH', unpackedLibraries),
    ...add('PKG_CONFIG_PATH', `${unpackedLibraries}/pkgconfig`),
  }
}

/** Fetches and unpacks packages; false when this is no Debian, or they cannot be had. */
export async function unpackDebian(names, folderName) {
  if (!onPath('apt-get') || !onPath('dpkg')) return false
  const folder = join(toolsFolder, 'debs', folderName)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  let fetched = await run('apt-get', ['-q', 'download', ...names], { cwd: folder })
  if (fetched.code !== 0) {
    const own = await ownLists()
    fetched = await run('apt-get', [...own, '-q', 'download', ...names], { cwd: folder })
  }
  if (fetched.code !== 0) return false
  mkdirSync(join(toolsFolder, 'sys'), { recursive: true })
  for (const file of readdirSync(folder)) {
    if (!file.endsWith('.deb')) continue
    const { code } = await run('dpkg', ['-x', join(folder, file), join(toolsFolder, 'sys')])
    if (code !== 0) return false
  }
  rmSync(folder, { recursive: true, force: true })
  return true
}

/** Package lists in a folder of our own, for images whose lists were stripped. Fetched once. */
let lists
function ownLists() {
  lists = lists || fetchLists()
  return lists
}

async function fetchLists() {
  const folder = join(toolsFolder, 'apt')
  mkdirSync(join(folder, 'lists/partial'), { recursive: true })
  mkdirSync(join(folder, 'cache/archives/partial'), { recursive: true })
  const options = ['-o', `Dir::State::Lists=${folder}/lists`, '-o', `Dir::Cache=${folder}/cache`]
  await run('apt-get', [...options, '-q', 'update'])
  return options
}

/** Links of -dev packages point at runtime libraries beside them, which are the system's: point them there. */
export function relinkLibraries() {
  if (!existsSync(unpackedLibraries)) return
  const installed = existsSync(systemLibraries) ? readdirSync(systemLibraries) : []
  for (const name of readdirSync(unpackedLibraries)) {
    const link = join(unpackedLibraries, name)
    if (!name.endsWith('.so') || !lstatSync(link).isSymbolicLink() || existsSync(link)) continue
    const target = basename(readlinkSync(link))
    const found = installed.includes(target)
      ? target
      : installed.filter((file) => file.startsWith(`${name}.`)).sort((a, b) => a.length - b.length)[0]
    if (!found) continue
    rmSync(link)
    symlinkSync(join(systemLibraries, found), link)
  }
}

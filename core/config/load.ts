import { existsSync } from 'node:fs'
import { dirname, isAbsolute, relative, resolve } from 'node:path'
import { namesSecret, redactor, redactText } from '../redact.ts'
import { checkConfig, type Need } from './checks.ts'
import { usableCores } from './cores.ts'
import { usableMemory } from './memory.ts'
import { fillDefaults, nameDefaults } from './defaults.ts'
import { type Env, environmentForActors, readEnvironment } from './environment.ts'
import { pathOf } from './key-path.ts'
import { pemTexts } from './pem.ts'
import { ConfigError, type Problem } from './problems.ts'
import { type Config, schema } from './schema.ts'
import { type Plain, shapeAt } from './shape.ts'
import { secretValues } from './secrets.ts'
import { readTextFile } from './small-file.ts'
import { keyName, Tree } from './tree.ts'
import { wordFor } from './words.ts'
import { readYaml } from './yaml-file.ts'

/** A key set on the command line: `{ key: 'http.port', value: '0', flag: '--port' }`. */
export type Flag = { readonly key: string; readonly value: string; readonly flag: string }

export type LoadOptions = {
  /** Path of the file; then it must exist. Otherwise TENANTRY_CONFIG, then `tenantry.yml` in `cwd` if there is one. */
  readonly file?: string
  readonly env: Env
  readonly flags?: readonly Flag[]
  readonly needs?: readonly Need[]
  readonly cwd?: string
}

export type Loaded = {
  readonly config: Config
  /** Each key as it was written, and where it came from. */
  readonly tree: Tree
  /** The file that was read, absolute; undefined for none. */
  readonly file: string | undefined
  /** Sentences for people: nothing is wrong, but perhaps not what was meant. */
  readonly warnings: readonly string[]
  /** Takes this configuration's secrets out of any text. */
  readonly redact: (text: string) => string
  /** The environment for the threads that run actors. */
  readonly actorsEnvironment: Readonly<Record<string, string>>
}

const fileName = 'tenantry.yml'
const maxFileBytes = 1024 * 1024

/**
 * The configuration from defaults, file, environment and flags, each over the one before. Throws `ConfigError`
 * (TENANTRY_CONFIG_INVALID) with every problem found, each with its position.
 */
export function loadConfig(options: LoadOptions): Loaded {
  const { env, flags = [], needs = ['kafka', 'postgres'] } = options
  const cwd = options.cwd ?? process.cwd()
  const tree = new Tree()
  const problems: Problem[] = []
  const names = (path: readonly string[]) => tree.keys(path)

  nameDefaults(tree)
  const file = findFile(options.file, env, cwd)
  if (file !== undefined) {
    const layer = readFile(file, shortName(file, cwd), env)
    problems.push(...layer.problems)
    for (const { path, origin } of layer.present) tree.touch(path, origin)
    for (const assignment of layer.assignments) tree.set(assignment)
  }
  const environment = readEnvironment(env, names)
  problems.push(...environment.problems)
  for (const assignment of environment.assignments) tree.set(assignment)
  for (const flag of flags) setFlag(tree, flag, problems)
  fillDefaults(tree)

  const broken = new Set(problems.map(({ key }) => key))
  const config = parse(tree, problems, broken)
  if (config === undefined) throw new ConfigError(problems, file)

  const base = file === undefined ? cwd : dirname(file)
  const tls = pemTexts(
    config.kafka.tls,
    (key, what) => problems.push({ where: whereOf(tree, ['kafka', 'tls', key]), key: `kafka.tls.${key}`, what }),
    (key) => (tree.origin(['kafka', 'tls', key])?.kind === 'file' ? base : cwd),
  )
  const folderBase =
    tree.origin(['actors', 'folder'])?.kind === 'environment' || tree.origin(['actors', 'folder'])?.kind === 'flag'
      ? cwd
      : base
  // Measured on two cores beside PostgreSQL: a second lane makes commits small, for 3 % more messages a second from a
  // backlog, and takes the 99th percentile at 1,000 messages a second from 34 ms to 54.
  const lanes = config.commit.lanes === 'auto' ? Math.min(4, Math.max(1, usableCores() >> 1)) : config.commit.lanes
  // Enough to fill the next commit while one is under way. Twice as many cost a tenth of the daemon's time: what waits
  // longer than a collection of young objects is copied, and must be found garbage among the old ones.
  const budgetRecords =
    config.backpressure.budgetRecords === 'auto'
      ? Math.ceil(2.5 * lanes * config.commit.maxRecords)
      : config.backpressure.budgetRecords
  const mailboxRecords =
    config.backpressure.mailboxRecords === 'auto' ? Math.max(1, budgetRecords >> 3) : config.backpressure.mailboxRecords
  const finished: Config = {
    ...config,
    kafka: { ...config.kafka, tls },
    actors: { folder: resolve(folderBase, config.actors.folder) },
    workers: {
      ...config.workers,
      count: config.workers.count === 'auto' ? Math.max(1, usableCores() - 1) : config.workers.count,
      maxResidentBytes:
        config.workers.maxResidentBytes === 'auto' ? Math.floor(usableMemory() * 0.9) : config.workers.maxResidentBytes,
    },
    commit: { ...config.commit, lanes },
    backpressure: { ...config.backpressure, budgetRecords, mailboxRecords },
  }
  const checked = checkConfig(finished, needs, file === undefined ? undefined : shortName(file, cwd))
  for (const { path, what } of checked.problems) problems.push({ where: whereOf(tree, path), key: keyName(path), what })
  if (problems.length > 0) throw new ConfigError(problems, file)
  const secrets = secretValues(tree)
  return {
    config: finished,
    tree,
    file,
    warnings: [...environment.warnings, ...checked.warnings],
    redact: redactor(secrets),
    actorsEnvironment: environmentForActors(env, secrets),
  }
}

function findFile(given: string | undefined, env: Env, cwd: string): string | undefined {
  const named = given ?? (env['TENANTRY_CONFIG'] || undefined)
  if (named !== undefined) {
    const path = resolve(cwd, named)
    if (existsSync(path)) return path
    const where = given === undefined ? 'TENANTRY_CONFIG' : '--config'
    throw new ConfigError([{ where, key: '', what: `there is no file ${named}` }], path)
  }
  const usual = resolve(cwd, fileName)
  return existsSync(usual) ? usual : undefined
}

function readFile(path: string, name: string, env: Env) {
  const file = readTextFile(path, maxFileBytes)
  if ('problem' in file) throw new ConfigError([{ where: name, key: '', what: file.problem }], path)
  return readYaml(file.text, name, env)
}

/** As a person in `cwd` would call it. */
function shortName(path: string, cwd: string): string {
  const short = relative(cwd, path)
  return short.startsWith('..') || isAbsolute(short) ? path : short || '.'
}

function setFlag(tree: Tree, { key, value, flag }: Flag, problems: Problem[]): void {
  const found = pathOf(key, (path) => tree.keys(path))
  if (!('path' in found)) {
    problems.push({ where: flag, key: '', what: found.problem })
    return
  }
  const { path } = found
  const shape = shapeAt(path)
  if (shape?.kind !== 'value') problems.push({ where: flag, key, what: 'holds further keys: name one of them' })
  else if (
    shape.secret === true ||
    namesSecret(path.at(-1) ?? '') ||
    (shape.secret === 'url' && redactText(value) !== value)
  ) {
    problems.push({
      where: flag,
      key,
      what: 'a secret on the command line is seen by everybody on the machine: use the environment, or a file (…_FILE)',
    })
  } else tree.set({ path, value: wordFor(shape, value), origin: { kind: 'flag', where: flag } })
}

function parse(tree: Tree, problems: Problem[], broken: ReadonlySet<string>) {
  const result = schema.safeParse(tree.get([]))
  if (result.success) return problems.length > 0 ? undefined : result.data
  for (const issue of result.error.issues) {
    const path = issue.path.map(String)
    // What is known to be wrong, or lies within it, is not told twice.
    if (path.some((_, index) => broken.has(keyName(path.slice(0, index + 1))))) continue
    const what = issue.code === 'invalid_key' ? (issue.issues[0]?.message ?? issue.message) : issue.message
    const problem = { where: whereOf(tree, path), key: keyName(path), what: sentence(what, path, valueAt(tree, path)) }
    // A number that is too large breaks two rules of the schema, which say the same.
    if (!problems.some((told) => told.key === problem.key && told.what === problem.what)) problems.push(problem)
  }
  return undefined
}

/** The value of a key, or what a list has at a place. */
function valueAt(tree: Tree, path: readonly string[]): Plain | undefined {
  const list = tree.get(path.slice(0, -1))
  if (!Array.isArray(list)) return tree.get(path)
  const items: readonly Plain[] = list
  return items[Number(path.at(-1))]
}

function sentence(what: string, path: readonly string[], value: Plain | undefined): string {
  if (value === undefined) return 'is required'
  const shape = shapeAt(path)
  const shown = shape?.kind === 'value' && shape.secret === false && !namesSecret(path.at(-1) ?? '') && isShort(value)
  return shown && what.startsWith('expected') ? `${what}, got ${JSON.stringify(value)}` : what
}

function isShort(value: Plain): boolean {
  return (
    typeof value === 'number' ||
    typeof value === 'boolean' ||
    (typeof value === 'string' && value.length <= 40 && redactText(value) === value)
  )
}

function whereOf(tree: Tree, path: readonly string[]): string {
  const origin = tree.origin(path)
  return origin === undefined || origin.kind === 'default' ? '' : origin.where
}

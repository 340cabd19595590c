import { nearestName } from '../nearest-name.ts'
import type { Problem } from './problems.ts'
import { rootShape, type Shape, shapeAt, valueKeys } from './shape.ts'
import { readTextFile } from './small-file.ts'
import { type Assignment, keyName } from './tree.ts'
import { wordFor } from './words.ts'

export type Env = Readonly<Record<string, string | undefined>>

/** Names that other tools use, too; the ones that begin with TENANTRY_ win. */
export const wellKnown: Readonly<Record<string, string>> = {
  DATABASE_URL: 'postgres.url',
  KAFKA_BROKERS: 'kafka.brokers',
  REDIS_URL: 'redis.url',
  LOG_LEVEL: 'log.level',
}

const prefix = 'TENANTRY_'
const fileSuffix = '_FILE'
const maxSecretBytes = 256 * 1024

export type EnvironmentLayer = {
  readonly assignments: readonly Assignment[]
  readonly problems: readonly Problem[]
  readonly warnings: readonly string[]
}

/**
 * `TENANTRY_SECTION__KEY` (`__` goes one level down, `_` is a new word: `TENANTRY_HTTP__ALLOWED_HOSTS`), the well-known
 * names, and for each the variant `…_FILE` with the path of a file that holds the value. An empty variable is not set.
 * `named` gives the names that exist below a map: topics and groups that the file or the defaults know.
 */
export function readEnvironment(env: Env, named: (path: readonly string[]) => readonly string[]): EnvironmentLayer {
  const problems: Problem[] = []
  const warnings: string[] = []
  const known: Assignment[] = []
  const ours: Assignment[] = []
  const take = (into: Assignment[], variable: string, path: readonly string[], text: string) => {
    const shape = shapeAt(path)
    if (shape?.kind === 'value')
      into.push({ path, value: wordFor(shape, text), origin: { kind: 'environment', where: variable } })
    else
      problems.push({
        where: variable,
        key: keyName(path),
        what: `holds further keys: name one of them, as in ${variable}__${exampleBelow(shape)}`,
      })
  }

  for (const variable of Object.keys(env).toSorted()) {
    const value = env[variable]
    if (value === undefined || value === '') continue
    const wellKnownKey = Object.hasOwn(wellKnown, variable) ? wellKnown[variable] : undefined
    if (wellKnownKey !== undefined) take(known, variable, wellKnownKey.split('.'), value)
    if (variable.endsWith(fileSuffix)) {
      const base = variable.slice(0, -fileSuffix.length)
      const key = Object.hasOwn(wellKnown, base) ? wellKnown[base] : undefined
      if (key !== undefined) takeFile(known, variable, base, key.split('.'), value)
    }
    if (!variable.startsWith(prefix)) continue
    // Kubernetes gives every container TENANTRY_PORT=tcp://… for a service of that name: a lone `_` never names a key.
    if (!variable.includes('__')) {
      const meant = [...valueKeys()].find(({ path }) => prefix + path.map(envWord).join('_') === variable)
      if (meant) warnings.push(`${variable} is not read; did you mean ${prefix}${meant.path.map(envWord).join('__')}?`)
      continue
    }
    const found = keyOf(variable, named)
    if ('path' in found) take(ours, variable, found.path, value)
    else if (!takenAsFile(variable, value)) problems.push({ where: variable, key: '', what: found.problem })
  }
  return { assignments: [...known, ...ours], problems, warnings }

  function takenAsFile(variable: string, file: string): boolean {
    if (!variable.endsWith(fileSuffix)) return false
    const base = variable.slice(0, -fileSuffix.length)
    const found = keyOf(base, named)
    if (!('path' in found)) return false
    takeFile(ours, variable, base, found.path, file)
    return true
  }

  function takeFile(into: Assignment[], variable: string, base: string, path: readonly string[], file: string): void {
    if (env[base]) {
      problems.push({ where: variable, key: keyName(path), what: `${base} is set, too: remove one of them` })
      return
    }
    const read = readTextFile(file, maxSecretBytes)
    if ('problem' in read)
      problems.push({ where: variable, key: keyName(path), what: `the file it names ${read.problem}` })
    else take(into, variable, path, read.text.replace(/\r?\n$/, ''))
  }
}

/**
 * The environment as actors get it: without the variables that configure tenantry, and without any that hold one of its
 * secrets by another name.
 */
export function environmentForActors(env: Env, secrets: readonly string[]): Readonly<Record<string, string>> {
  const guarded = secrets.filter((secret) => secret.length >= 4)
  const kept: Record<string, string> = {}
  for (const [name, value] of Object.entries(env)) {
    const base = name.endsWith(fileSuffix) ? name.slice(0, -fileSuffix.length) : name
    const ours = Object.hasOwn(wellKnown, base) || (name.startsWith(prefix) && name.includes('__'))
    if (value !== undefined && !ours && !guarded.some((secret) => value.includes(secret))) kept[name] = value
  }
  return kept
}

/** How a key is spelled in the environment: `allowedHosts` is ALLOWED_HOSTS, `core.commands.v1` is CORE_COMMANDS_V1. */
function envWord(key: string): string {
  return key
    .replace(/([a-z0-9])([A-Z])/g, '$1_$2')
    .replace(/[^A-Za-z0-9<>]+/g, '_')
    .toUpperCase()
}

function keyOf(
  variable: string,
  named: (path: readonly string[]) => readonly string[],
): { readonly path: readonly string[] } | { readonly problem: string } {
  let shape: Shape = rootShape()
  const path: string[] = []
  for (const word of variable.slice(prefix.length).split('__')) {
    if (shape.kind === 'value') return { problem: `${keyName(path)} has no keys below it` }
    const names: readonly string[] = shape.kind === 'section' ? [...shape.entries.keys()] : named(path)
    const name: string | undefined =
      names.find((candidate) => envWord(candidate) === word) ??
      (shape.kind === 'map' ? newName(word, path, shape.driver) : undefined)
    const next: Shape | undefined =
      name === undefined ? undefined : shape.kind === 'section' ? shape.entries.get(name) : shape.each
    if (name === undefined || next === undefined) {
      const near = nearestName(word, names.map(envWord))
      const known = path.length > 0 ? keyName(path) : 'the configuration'
      return {
        problem:
          near !== undefined
            ? `unknown: did you mean ${prefix}${[...path.map(envWord), near].join('__')}?`
            : `unknown: ${known} has ${names.map(envWord).join(', ') || 'no such name yet; name it in the file first'}`,
      }
    }
    path.push(name)
    shape = next
  }
  return { path }
}

/** A name that the environment may bring in: a group, or a key of librdkafka. Topics' names have dots, which it cannot spell. */
function newName(word: string, path: readonly string[], driver: boolean): string | undefined {
  if (!/^[A-Z0-9][A-Z0-9_]*$/.test(word)) return undefined
  const lower = word.toLowerCase()
  if (driver) return lower.replaceAll('_', '.')
  return path.length === 1 && path[0] === 'groups' ? lower : undefined
}

function exampleBelow(shape: Shape | undefined): string {
  if (shape?.kind === 'section') return envWord([...shape.entries.keys()][0] ?? 'KEY')
  return 'NAME'
}

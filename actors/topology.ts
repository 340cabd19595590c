import { readdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { Catalog } from '../core/catalog.ts'
import { isError, messageOf, TenantryError } from '../core/errors.ts'
import { type Actor, type Consistency, type Idempotency, isActor, type RetryOptions } from './define-actor.ts'
import { offerOwnPackages } from './own-packages.ts'
import { Tables } from './tables.ts'

/** What is known of an actor that was found. The same files give the same indexes in every thread. */
export type ActorFacts = {
  readonly index: number
  readonly name: string
  readonly group: string
  readonly topic: string
  readonly stateful: boolean
  /** 0 for an actor without state. */
  readonly stateVersion: number
  readonly consistency: Consistency
  readonly idempotency: Idempotency
  /** Names of the dependencies that `ctx.call` may call. */
  readonly dependencies: readonly string[]
  readonly retry: RetryOptions
  /** Undefined where the actor does not say. */
  readonly tables: readonly string[] | undefined
  /** Message types, with `@version` where it is not 1. */
  readonly messages: readonly string[]
  readonly file: string
  readonly times: {
    /** Undefined where the actor does not say. */
    readonly handlerMs: number | undefined
    /** Of its dependencies, the one whose calls may take longest. */
    readonly longestCall: { readonly dependency: string; readonly timeoutMs: number } | undefined
  }
}

export type TopologyActor = ActorFacts & { readonly actor: Actor }

export type Topology = { readonly actors: readonly ActorFacts[] }

/**
 * Loads the actors of a folder (its files of TypeScript or JavaScript, subfolders included) or of one file. Each file's
 * default export is an actor; files whose names begin with `_` or `.`, tests and declarations are passed over. `began` is
 * told each file before it is loaded.
 * Throws TenantryError TENANTRY_ACTORS_NOT_FOUND, TENANTRY_ACTOR_UNLOADABLE (names the file), TENANTRY_TWO_ACTORS.
 */
export async function loadTopology(
  folder: string,
  began: (file: string) => void = () => {},
): Promise<{ readonly actors: readonly TopologyActor[] }> {
  offerOwnPackages()
  const root = path.resolve(folder)
  const actors: TopologyActor[] = []
  for (const file of await actorFiles(root)) {
    began(file)
    actors.push(describe(await loadActor(file), file, actors.length))
  }
  if (actors.length === 0)
    throw new TenantryError(
      'TENANTRY_ACTORS_NOT_FOUND',
      `${folder} holds no actors: each is the default export of a file, made with defineActor`,
      { folder },
    )
  refuseTwins(actors)
  return { actors }
}

/** Checks the tables that actors declare. Throws TENANTRY_UNKNOWN_TABLE with the actor's file and the nearest name. */
export function checkTables(topology: Topology, catalog: Catalog): void {
  const tables = new Tables(catalog, { tenantColumn: '', maxDepth: 0 })
  for (const { tables: declared, file } of topology.actors) {
    for (const name of declared ?? []) {
      try {
        tables.get(name)
      } catch (error) {
        throw new TenantryError('TENANTRY_UNKNOWN_TABLE', `${file}: ${messageOf(error)}`, { file, table: name })
      }
    }
  }
}

async function actorFiles(root: string): Promise<readonly string[]> {
  let entry: Awaited<ReturnType<typeof stat>>
  try {
    entry = await stat(root)
  } catch (error) {
    throw new TenantryError(
      'TENANTRY_ACTORS_NOT_FOUND',
      `There is no folder or file ${root}: say where the actors are, by --actors or actors.folder`,
      { folder: root },
      { cause: error },
    )
  }
  if (entry.isFile()) return [root]
  const names = await namesIn(root)
  return names
    .filter(isActorFile)
    .map((name) => path.join(root, name))
    .sort(byCodeUnits)
}

async function namesIn(root: string): Promise<readonly string[]> {
  try {
    return await readdir(root, { recursive: true })
  } catch (error) {
    throw new TenantryError(
      'TENANTRY_ACTORS_NOT_FOUND',
      `${root} cannot be read as the folder of actors: ${messageOf(error)}`,
      { folder: root },
      { cause: error },
    )
  }
}

function isActorFile(name: string): boolean {
  const parts = name.split(path.sep)
  if (parts.some((part) => part.startsWith('_') || part.startsWith('.') || part === 'node_modules')) return false
  return /\.(?:m?[jt]s)$/.test(name) && !/\.(?:test|spec|d)\.m?[jt]s$/.test(name)
}

/** The same in every locale: indexes depend on it. */
function byCodeUnits(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

async function loadActor(file: string): Promise<Actor> {
  let module: unknown
  try {
    module = await import(pathToFileURL(file).href)
  } catch (error) {
    throw new TenantryError(
      'TENANTRY_ACTOR_UNLOADABLE',
      `${file} cannot be loaded: ${messageOf(error)}${placeOf(error)}`,
      { file },
      { cause: error },
    )
  }
  const exported = typeof module === 'object' && module !== null && 'default' in module ? module.default : undefined
  if (isActor(exported)) return exported
  throw new TenantryError(
    'TENANTRY_ACTOR_UNLOADABLE',
    `the default export of ${file} is not an actor: use defineActor, or begin the file's name with _ if it holds none`,
    { file },
  )
}

/**
 * ` (/app/actors/a.ts:6:4)`: the first place of the user's own in an error's stack, as its message has none. Nothing where
 * there is none either, such as for a syntax error in JavaScript.
 */
function placeOf(error: unknown): string {
  const stack = isError(error) && typeof error.stack === 'string' ? error.stack : ''
  for (const [place] of stack.matchAll(/file:\/\/[^\s()]+:\d+:\d+|(?<=^|\(|at )\/[^\n()]+:\d+/gm)) {
    const file = place.startsWith('file:') ? fileURLToPath(place) : place
    if (!file.startsWith(`${import.meta.dirname}/`) && !file.includes('/node_modules/')) return ` (${file})`
  }
  return ''
}

function describe(actor: Actor, file: string, index: number): TopologyActor {
  const { name, group, topic, state, consistency, idempotency, dependencies, retry, tables, messages } = actor
  const calls = Object.entries(dependencies).map(([dependency, { timeoutMs }]) => ({ dependency, timeoutMs }))
  return {
    index,
    name,
    group,
    topic,
    stateful: state !== undefined,
    stateVersion: state?.version ?? 0,
    consistency,
    idempotency,
    dependencies: Object.keys(dependencies),
    retry,
    tables,
    messages: Object.keys(messages),
    file,
    times: { handlerMs: actor.timeoutMs, longestCall: calls.sort((a, b) => b.timeoutMs - a.timeoutMs)[0] },
    actor,
  }
}

/** A group has one actor a topic, and one name means one actor's states. */
function refuseTwins(actors: readonly TopologyActor[]): void {
  const byTopic = new Map<string, TopologyActor>()
  const byName = new Map<string, TopologyActor>()
  for (const actor of actors) {
    const topic = JSON.stringify([actor.group, actor.topic])
    const name = JSON.stringify([actor.group, actor.name])
    const twin = byTopic.get(topic)
    if (twin !== undefined)
      throw two(actor, twin, `consume ${actor.topic} in group ${actor.group}: give one of them a group of its own`)
    const namesake = byName.get(name)
    if (namesake !== undefined)
      throw two(actor, namesake, `are called ${actor.name} in group ${actor.group}: rename one`)
    byTopic.set(topic, actor)
    byName.set(name, actor)
  }
}

function two(actor: TopologyActor, other: TopologyActor, both: string): TenantryError {
  return new TenantryError('TENANTRY_TWO_ACTORS', `${other.file} and ${actor.file} both ${both}`, {
    group: actor.group,
    files: [other.file, actor.file],
  })
}

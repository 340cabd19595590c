import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { z } from 'zod'
import { defineActor, isActor } from '../../actors/define-actor.ts'
import { checkTables, loadTopology } from '../../actors/topology.ts'
import { TenantryError } from '../../core/errors.ts'
import { test } from '../harness.ts'
import { anything } from '../schemas.ts'

const folder = (name: string) => join(import.meta.dirname, '../fixtures/actors', name)

function refusal(name: string): Promise<TenantryError> {
  return refusalOf(folder(name))
}

async function refusalOf(place: string): Promise<TenantryError> {
  try {
    await loadTopology(place)
  } catch (error) {
    if (error instanceof TenantryError) return error
    throw error
  }
  throw new Error(`${place} was loaded`)
}

test('actors are found by file, described, and numbered by path', async () => {
  const { actors } = await loadTopology(folder('worker-pool'))
  assert.equal(
    actors.map(({ index, group, topic, name, stateful, stateVersion, messages }) => [
      index,
      group,
      topic,
      name,
      stateful,
      stateVersion,
      messages,
    ]),
    [
      [0, 'chaos', 'chaos.v1', 'chaos.v1', false, 0, ['do']],
      [1, 'counter', 'counter.v1', 'counter.v1', true, 1, ['add']],
    ],
  )
  assert.match(actors[1]?.file ?? '', /counter\.ts$/)
})

test('one file is a topology, too', async () => {
  const { actors } = await loadTopology(join(folder('worker-pool'), 'counter.ts'))
  assert.equal(
    actors.map(({ group }) => group),
    ['counter'],
  )
})

test('two actors for one group and topic are refused with both files', async () => {
  const error = await refusal('twins')
  assert.is(error.code, 'TENANTRY_TWO_ACTORS')
  assert.match(error.message, /a\.ts and .*b\.ts both consume t\.v1 in group g/)
})

test('a file that cannot be loaded, or holds no actor, is named', async () => {
  const broken = await refusal('broken')
  assert.is(broken.code, 'TENANTRY_ACTOR_UNLOADABLE')
  assert.match(broken.message, /missing-module\.ts cannot be loaded: .*not-there/)
  assert.match((await refusal('none')).message, /plain\.ts is not an actor/)
})

test('the place in a file that throws as it is loaded is named, also of a file that it imports', async () => {
  const anywhere = mkdtempSync(join(tmpdir(), 'tenantry actors-'))
  try {
    writeFileSync(join(anywhere, '_thrower.ts'), 'const nothing = JSON.parse("null")\nexport default nothing.name\n')
    writeFileSync(join(anywhere, 'importer.ts'), "import './_thrower.ts'\n")
    const { message } = await refusalOf(join(anywhere, 'importer.ts'))
    assert.match(message, /importer\.ts cannot be loaded: .*name.* \(\/.* actors-.*_thrower\.ts:2:\d+\)$/s)
    writeFileSync(join(anywhere, 'wrong.ts'), 'export default {\n  receive() {\n    ctx.insert(\n  },\n}\n')
    if (process.versions['bun'] === undefined)
      assert.match((await refusalOf(join(anywhere, 'wrong.ts'))).message, /cannot be loaded: .* \(.*wrong\.ts:\d+\)$/s)
  } finally {
    rmSync(anywhere, { recursive: true })
  }
})

test('a folder that is not there is said, and one that cannot be read', async () => {
  assert.is((await refusal('nowhere')).code, 'TENANTRY_ACTORS_NOT_FOUND')
  const device = await refusalOf('/dev/null')
  assert.is(device.code, 'TENANTRY_ACTORS_NOT_FOUND')
  assert.match(device.message, /\/dev\/null cannot be read/)
})

test('a declared table that does not exist fails the start with the actor’s file and the nearest name', () => {
  const actor = defineActor({ group: 'g', topic: 't', messages: { go: anything }, tables: ['campaings'], receive() {} })
  const topology = {
    actors: [
      {
        index: 0,
        name: 'a',
        group: 'g',
        topic: 't',
        stateful: false,
        stateVersion: 0,
        consistency: 'pipelined' as const,
        idempotency: 'offset' as const,
        dependencies: [],
        retry: {},
        tables: actor.tables,
        messages: [],
        file: '/x/a.ts',
        times: { handlerMs: undefined, longestCall: undefined },
      },
    ],
  }
  const catalog = { tables: [{ name: 'public.campaigns', columns: [], uniques: [], references: [] }] }
  assert.throws(() => checkTables(topology, catalog), /a\.ts: .*campaings.*did you mean campaigns/)
})

test('a definition that cannot work is refused, naming the part', () => {
  const good = { group: 'g', topic: 't', messages: { go: anything }, receive() {} }
  assert.ok(isActor(defineActor(good)))
  assert.ok(isActor(defineActor({ ...good, state: { version: 1, schema: z.coerce.date(), initial: new Date(0) } })))
  const wrong: readonly [changes: object, message: RegExp][] = [
    [{ recieve() {} }, /recieve is not known \(did you mean receive\?\)/],
    [{ group: '' }, /group/],
    [{ topic: 'a b' }, /topic/],
    [{ group: 'a/b' }, /group must be 1 to 128 letters/],
    [{ topic: 'größe' }, /topic must be 1 to 249 letters/],
    [{ topic: '..' }, /topic must be/],
    [{ name: 'x\n' }, /name/],
    [{ messages: undefined }, /messages must be an object/],
    [{ messages: [anything] }, /messages must be an object/],
    [{ messages: { go: null } }, /messages\['go'\] is not a Standard Schema/],
    [{ messages: {} }, /messages is empty/],
    [{ messages: { '@2': anything } }, /type is empty/],
    [{ messages: { go: {} } }, /messages\['go'\] is not a Standard Schema/],
    [{ receive: undefined }, /receive must be a function/],
    [{ dependencies: { api: { timeoutMs: 0 } } }, /dependencies\.api\.timeoutMs/],
    [{ dependencies: { api: null } }, /dependencies\.api\.timeoutMs/],
    [{ dependencies: { api: { timeoutMs: '5' } } }, /dependencies\.api\.timeoutMs/],
    [{ dependencies: null }, /dependencies must be an object/],
    [{ dependencies: { '': { timeoutMs: 5 } } }, /a name in dependencies/],
    [{ dependencies: { 'a\n': { timeoutMs: 5 } } }, /a name in dependencies/],
    [{ dependencies: Object.fromEntries(Array.from({ length: 31 }, (_, i) => [i, { timeoutMs: 5 }])) }, /30 at most/],
    [{ tables: 'campaigns' }, /tables must be a list/],
    [{ tables: ['a', 7] }, /tables must be a list/],
    [{ state: null }, /state must be an object/],
    [{ state: { version: 1, schema: anything, initial: 1, migrate: {} } }, /state\.migrate/],
    [{ state: { version: 0, schema: anything, initial: 1 } }, /state\.version/],
    [{ state: { version: 1, schema: {}, initial: 1 } }, /state\.schema/],
    [{ state: { version: 1, schema: anything } }, /state\.initial/],
    [{ state: { version: 1, schema: anything, initial: new Map() } }, /state\.initial .*Map has no JSON form/],
    [{ state: { version: 1, schema: z.object({ at: z.date() }), initial: { at: new Date(0) } } }, /schema at at$/],
    [{ state: { version: 1, schema: z.object({ n: z.bigint() }), initial: { n: 0n } } }, /schema at n$/],
    [{ consistency: 'eventual' }, /consistency/],
    [{ idempotency: 'never' }, /idempotency/],
    [{ timeoutMs: 0 }, /timeoutMs must be between/],
    [{ timeoutMs: '30s' }, /timeoutMs must be between/],
  ]
  for (const [changes, message] of wrong)
    assert.throws(() => Reflect.apply(defineActor, undefined, [{ ...good, ...changes }]), message)
  assert.throws(() => void Reflect.apply(defineActor, undefined, []), /definition must be an object/)
})

// Bun has no such hook: there a folder needs packages of its own.
if (process.versions['bun'] === undefined)
  test('a folder without packages of its own has those of tenantry', async () => {
    const anywhere = mkdtempSync(join(tmpdir(), 'tenantry-actors-'))
    try {
      writeFileSync(
        join(anywhere, 'a.ts'),
        `import { defineActor } from 'tenantry'
import { z } from 'zod'
export default defineActor({ group: 'g', topic: 't', messages: { a: z.object({}) }, receive() {} })`,
      )
      assert.is((await loadTopology(anywhere)).actors[0]?.topic, 't')
      const other = join(anywhere, 'b.ts')
      writeFileSync(other, `import 'uvu'`)
      assert.match((await refusalOf(other)).message, /Cannot find package 'uvu'/)
    } finally {
      rmSync(anywhere, { recursive: true })
    }
  })

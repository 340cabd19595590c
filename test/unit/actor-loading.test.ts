// runtimes: node, bun
import { execFileSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { systemClock, withDeadline } from '../../core/clock.ts'
import { loadConfig } from '../../core/config/load.ts'
import { codeOf, messageOf, TenantryError } from '../../core/errors.ts'
import { silentLog } from '../../core/log.ts'
import { systemRandom } from '../../core/random.ts'
import { loadActors } from '../../supervisors/actor-loading.ts'
import { Daemon } from '../../supervisors/daemon.ts'
import { after, test } from '../harness.ts'
import { eventually } from '../services.ts'

const folder = mkdtempSync(join(tmpdir(), 'tenantry-loading-'))
const file = join(folder, 'actor.js')
after(() => rmSync(folder, { recursive: true }))

const own = new URL('../../actors/define-actor.ts', import.meta.url).href
const loading = (text: string, limitMs?: number) => {
  writeFileSync(file, text)
  const limit = limitMs === undefined ? {} : { limitMs }
  return loadActors(folder, { clock: systemClock, environment: { GROUP: 'g' }, ...limit })
}

async function reason(text: string, limitMs?: number): Promise<string> {
  const error = await loading(text, limitMs).catch((thrown: unknown) => thrown)
  if (!(error instanceof TenantryError)) throw error
  assert.is(error.code, 'TENANTRY_ACTOR_UNLOADABLE')
  assert.is(error.facts['file'], file)
  return error.message
}

test('a file that loops or waits for ever as it is loaded is given up, and named', async () => {
  for (const text of ['while (true);', 'setInterval(() => {}, 1_000)\nawait new Promise(() => {})'])
    assert.match(await reason(text, 2_000), /actor\.js cannot be loaded: it is not done after 2 s/)
})

test('a file that waits for the operating system is given up although its thread does not end, and its end is told', async () => {
  const pipe = join(folder, 'pipe')
  execFileSync('mkfifo', [pipe])
  // For as long as this is open, the call does not return.
  const held = openSync(pipe, 'r+')
  writeFileSync(file, `import { readFileSync } from 'node:fs'\nreadFileSync(${JSON.stringify(pipe)})`)
  const end = Promise.withResolvers<void>()
  const loaded = loadActors(folder, { clock: systemClock, environment: {}, limitMs: 2_000, ended: () => end.resolve() })
  const given = await withDeadline(
    systemClock,
    loaded.then(() => 'loaded', messageOf),
    20_000,
  )
  closeSync(held)
  assert.match(given ?? 'not given up', /cannot be loaded: it is not done after 2 s/)
  await end.promise
})

test('a daemon counts the thread that loads its actors among those that it cannot end', async () => {
  const flag = join(folder, 'flag')
  writeFileSync(file, `import { existsSync } from 'node:fs'\nwhile (!existsSync(${JSON.stringify(flag)}));`)
  const flags = [
    { key: 'actors.folder', value: folder, flag: '--set' },
    { key: 'http.enabled', value: 'false', flag: '--set' },
  ]
  const { config } = loadConfig({ env: {}, cwd: folder, needs: [], flags })
  const daemon = new Daemon({
    config,
    actorsEnvironment: {},
    clock: systemClock,
    random: systemRandom,
    version: '0',
    log: silentLog,
    failed: () => {},
  })
  const started = daemon.start().then(() => '', codeOf)
  await eventually(() => daemon.lingering === 1, { what: 'the thread' })
  writeFileSync(flag, '')
  assert.is(await started, 'TENANTRY_ACTOR_UNLOADABLE')
  assert.is(daemon.lingering, 0)
  await daemon.stop()
})

test('what a file throws, or ends, is its own thread', async () => {
  assert.match(await reason('throw new Error("of mine")'), /of mine/)
  assert.match(await reason('process.exit(0)'), /it ends its thread/)
  const later = 'setTimeout(() => { throw new Error("of mine") }, 1)\nawait new Promise(() => {})'
  assert.match(await reason(later), /of mine/)
})

test('what is known of actors comes out of the thread, which has the environment of the threads that run them', async () => {
  const schema = `{ '~standard': { version: 1, vendor: 'own', validate: (value) => ({ value }) } }`
  const dependencies = `{ mail: { timeoutMs: 1 }, api: { timeoutMs: 3 }, sms: { timeoutMs: 2 } }`
  const { actors } = await loading(`import { defineActor } from ${JSON.stringify(own)}
setInterval(() => {}, 1_000)
export default defineActor({
  group: process.env.GROUP, topic: 't', messages: { a: ${schema} }, dependencies: ${dependencies}, timeoutMs: 5,
  retry: { delaysMs: [7] }, receive() {},
})`)
  const [actor] = actors
  assert.is(actor?.group, 'g')
  assert.equal(actor?.dependencies, ['mail', 'api', 'sms'])
  assert.equal(actor?.retry.delaysMs, [7])
  assert.equal(actor?.times, { handlerMs: 5, longestCall: { dependency: 'api', timeoutMs: 3 } })
})

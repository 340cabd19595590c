// runtimes: node, bun
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { systemClock } from '../../core/clock.ts'
import { TenantryError } from '../../core/errors.ts'
import { loadActors } from '../../supervisors/actor-loading.ts'
import { after, test } from '../harness.ts'

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

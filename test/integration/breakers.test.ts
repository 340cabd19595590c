import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { z } from 'zod'
import type { PostgresLane } from '../../core/postgres/lane.ts'
import type { BreakerRow } from '../../core/postgres/transactions.ts'
import { writeActor } from '../actor-folder.ts'
import { after, before, test } from '../harness.ts'
import { LaneStage } from '../postgres/lane-stage.ts'
import { type CliResult, runCli } from '../spawn-cli.ts'

// What operators see of breakers and ask of them, through the command line and a real database.

let folder = ''
let stage: LaneStage
let lane: PostgresLane

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tenantry-breakers-'))
  stage = await LaneStage.create(async () => {})
  lane = await stage.lane()
})

after(async () => {
  rmSync(folder, { recursive: true, force: true })
  await stage.end()
})

function run(...args: readonly string[]): Promise<CliResult> {
  return runCli(['breakers', ...args], { cwd: folder, env: { DATABASE_URL: stage.url } })
}

async function listed(...args: readonly string[]) {
  const { code, stdout, stderr } = await run('list', '--json', ...args)
  assert.is(code, 0, stderr)
  const schema = z.array(
    z.strictObject({
      group: z.string(),
      topic: z.string().nullable(),
      partition: z.number().nullable(),
      actor: z.string(),
      tenant: z.string().nullable(),
      dependency: z.string(),
      state: z.enum(['open', 'half-open', 'tripped']),
      failures: z.number(),
      successes: z.number(),
      openedAt: z.iso.datetime(),
      probeAt: z.iso.datetime(),
      updatedAt: z.iso.datetime(),
      reason: z.string().nullable(),
    }),
  )
  return schema.parse(JSON.parse(stdout))
}

const of = ['--group', 'g', '--actor', 'a', '--dependency', 'api']

test('while all are closed there is nothing to list', async () => {
  const { code, stdout, stderr } = await run('list')
  assert.is(code, 0, stderr)
  assert.is(stdout, '')
  assert.match(stderr, /All breakers are closed/)
  assert.equal(await listed(), [])
})

test('what is open is listed, for people and for programs, and filters narrow it', async () => {
  const row: BreakerRow = {
    actor: 'a',
    tenant: 'acme\u001b[31m\n\u202eg  a  api  other  open',
    dependency: 'api',
    state: 'open',
    failures: 5,
    successes: 0,
    probeAt: Date.now() + 3_600_000,
  }
  const due: BreakerRow = { ...row, tenant: '', dependency: 'mail', probeAt: Date.now() - 1_000 }
  assert.is((await stage.breakers(lane, 0, [row, due])).kind, 'committed')
  const all = await listed()
  assert.equal(
    all.map(({ group, topic, partition, tenant, dependency, state, failures }) => ({
      group,
      topic,
      partition,
      tenant,
      dependency,
      state,
      failures,
    })),
    [
      { group: 'g', topic: 't', partition: 0, tenant: row.tenant, dependency: 'api', state: 'open', failures: 5 },
      { group: 'g', topic: 't', partition: 0, tenant: null, dependency: 'mail', state: 'half-open', failures: 5 },
    ],
  )
  assert.is((await listed('--dependency', 'mail')).length, 1)
  assert.is((await listed('--state', 'open')).length, 1)
  assert.is((await listed('--group', 'other')).length, 0)
  assert.is((await listed('--tenant', row.tenant)).length, 1)
  assert.is((await listed('--limit', '1')).length, 1)

  const { code, stdout, stderr } = await run('list')
  assert.is(code, 0, stderr)
  assert.match(stdout, /^GROUP +ACTOR +DEPENDENCY +TENANT/)
  assert.match(stdout, /\(all\) +half-open/)
  for (const active of ['\u001b', '\u202e'])
    assert.not.ok(stdout.includes(active), 'no tenant writes on a terminal what it likes')
  assert.is(stdout.trimEnd().split('\n').length, 3, 'nor a line that is not there')
})

test('a trip says who and why, is listed, and ends with a reset', async () => {
  const tripped = await run(
    'trip',
    ...of,
    '--tenant',
    'acme',
    '--for',
    '30m',
    '--reason',
    'they migrate',
    '--by',
    'ann',
  )
  assert.is(tripped.code, 0, tripped.stderr)
  assert.is(tripped.stdout, '')
  const [trip] = await listed('--state', 'tripped')
  assert.ok(trip)
  assert.equal([trip.tenant, trip.reason, trip.topic], ['acme', 'they migrate', null])
  assert.is(Math.round((Date.parse(trip.probeAt) - Date.parse(trip.openedAt)) / 60_000), 30)

  const reset = await run('reset', ...of, '--reason', 'done', '--json')
  assert.is(reset.code, 0, reset.stderr)
  assert.ok(z.strictObject({ id: z.number() }).parse(JSON.parse(reset.stdout)).id > 0)
  assert.equal(await listed('--state', 'tripped'), [])
  const requests = await stage.sql`
    select action, tenant_id, reason, requested_by = 'ann' as by_ann from sys.breaker_requests order by id`
  assert.equal(
    [...requests].map((one) => ({ ...one })),
    [
      { action: 'trip', tenant_id: 'acme', reason: 'they migrate', by_ann: true },
      { action: 'reset', tenant_id: '', reason: 'done', by_ann: false },
    ],
  )
})

test('names that cannot be checked, as the actors of the group are elsewhere, are taken with a warning', async () => {
  const { code, stderr } = await run('reset', ...of, '--reason', 'x', '--actor', 'elsewhere')
  assert.is(code, 0, stderr)
  assert.match(stderr, /could not be checked: There is no folder/)
})

test('actors that do not load in time keep nobody from asking', async () => {
  writeActor(folder, 'endless', `console.log('noise')\nsetInterval(() => {}, 1_000)\nwhile (Date.now() > 0);\n`)
  const { code, stdout, stderr } = await run('reset', ...of, '--reason', 'x', '--json')
  rmSync(join(folder, 'actors'), { recursive: true })
  assert.is(code, 0, stderr)
  assert.match(stdout, /^\{"id":\d+\}\n$/)
  assert.match(stderr, /could not be checked: .*endless\.\w+ cannot be loaded: it is not done after 10 s/)
})

test('what could not be meant is refused, and nothing is asked for', async () => {
  const cases: readonly (readonly [args: readonly string[], code: number, said: RegExp])[] = [
    [['trip', ...of], 2, /required option '--reason/],
    [['trip', ...of, '--reason', ' '], 2, /--reason must say why/],
    [['trip', ...of, '--reason', 'x', '--for', 'long'], 2, /--for wants a duration/],
    [['trip', ...of, '--reason', 'x', '--tenant', ''], 2, /--tenant must name one/],
    [['reset', ...of, '--reason', 'x', '--group', 'gg'], 2, /No group gg .*it has g\..*TENANTRY_BREAKER_GROUP/],
    [['trip', ...of, '--reason', 'x', '--actor', 'b'], 2, /Group g has no actor b.*it has a\..*TENANTRY_BREAKER_NAME/],
    [
      ['reset', ...of, '--reason', 'x', '--dependency', 'ap'],
      2,
      /Actor a declares no dependency ap \(did you mean api\?\): it has api, mail\..*TENANTRY_BREAKER_NAME/,
    ],
    [['list', '--limit', '0'], 2, /whole number/],
    [['list', '--state', 'closed'], 2, /Allowed choices/],
  ]
  writeActor(
    folder,
    'a',
    `import { defineActor } from 'tenantry'
import { z } from 'zod'
export default defineActor({
  group: 'g', topic: 't', name: 'a', dependencies: { api: { timeoutMs: 100 }, mail: { timeoutMs: 100 } },
  messages: { ping: z.object({}) },
  async receive() {},
})
`,
  )
  const count = async () => (await stage.sql`select from sys.breaker_requests`).length
  const before = await count()
  for (const [args, code, said] of cases) {
    const result = await run(...args)
    assert.is(result.code, code, `${args.join(' ')}: ${result.stderr}`)
    assert.match(result.stderr, said)
  }
  assert.is(await count(), before)
})

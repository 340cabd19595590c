import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { runSteps } from '../../bench/all.ts'
import { Journal } from '../../bench/journal.ts'
import { planOf, type Step } from '../../bench/plan.ts'
import { benchProgram } from '../../bench/program.ts'
import { readRuns } from '../../bench/raw-run.ts'
import { TenantryError } from '../../core/errors.ts'
import { test } from '../harness.ts'
import { rawRun } from '../fixtures/raw-runs.ts'

const steps: readonly Step[] = ['one', 'two', 'three'].flatMap((name) =>
  [1, 2].map((round) => ({ args: [name], round })),
)

async function inFolder(work: (file: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'tenantry-bench-test-'))
  try {
    await work(join(folder, 'runs.jsonl'))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function codeOf(error: unknown): string {
  return error instanceof TenantryError ? error.code : String(error)
}

/** Runs the steps with what is in the file, and returns which ones were run. */
async function call(file: string, fails: (step: Step) => boolean = () => false): Promise<readonly string[]> {
  const ran: string[] = []
  const journal = new Journal(file)
  const known = () => journal.runsOf(steps).length
  let told = known()
  await runSteps({
    steps,
    journal,
    say() {},
    added() {
      assert.is(known(), ++told)
    },
    async run(step) {
      ran.push(`${step.args.join(' ')} ${step.round}`)
      if (fails(step)) throw new Error('planted')
      return JSON.stringify([rawRun({ scenario: step.args.join(' ') })])
    },
  }).catch((error: unknown) => ran.push(codeOf(error)))
  assert.is(known(), told)
  return ran
}

test('a call that was broken off goes on where it stopped, and a finished one runs nothing', () =>
  inFolder(async (file) => {
    const all = await call(file)
    assert.is(all.length, 6)
    const lines = readFileSync(file, 'utf8').split('\n')
    // The third step's line was being written.
    writeFileSync(file, `${lines.slice(0, 2).join('\n')}\n${lines[2]?.slice(0, 40)}`)
    assert.equal(await call(file), all.slice(2))
    assert.equal(await call(file), [])
    assert.equal(
      readRuns(file).map(({ scenario }) => scenario),
      ['one', 'one', 'two', 'two', 'three', 'three'],
    )
  }))

test('a step that fails keeps the others from nothing, and is tried again', () =>
  inFolder(async (file) => {
    const ran = await call(file, ({ args, round }) => args[0] === 'two' && round === 1)
    assert.equal(ran, ['one 1', 'one 2', 'two 1', 'two 2', 'three 1', 'three 2', 'TENANTRY_BENCH_UNFINISHED'])
    assert.equal(await call(file), ['two 1'])
  }))

test('a report of some steps has no runs of others, which an earlier call has made', () =>
  inFolder(async (file) => {
    await call(file)
    const scenarios = (some: readonly Step[]) => new Journal(file).runsOf(some).map(({ scenario }) => scenario)
    assert.equal(scenarios(steps.slice(2, 5)), ['two', 'two', 'three'])
    assert.equal(scenarios([{ args: ['one', '--quick'], round: 1 }]), [])
  }))

test('a journal with a line of somebody else is refused, and left alone', () =>
  inFolder(async (file) => {
    await call(file)
    appendFileSync(file, 'something else\n')
    const before = readFileSync(file, 'utf8')
    assert.throws(
      () => new Journal(file),
      (error: unknown) => codeOf(error) === 'TENANTRY_BENCH_JOURNAL',
    )
    assert.is(readFileSync(file, 'utf8'), before)
  }))

test('every step of a plan is one that the bench takes', async () => {
  for (const { args } of [true, false].flatMap((quick) => planOf(quick))) {
    // It must get as far as to refuse what no plan has.
    const refused = await benchProgram()
      .parseAsync([...args, '--on', 'nothing'], { from: 'user' })
      .then(() => 'nothing was refused', String)
    assert.match(refused, '--on is of confluent', args.join(' '))
  }
})

test('no two steps of a plan are the same, and the quick one has every command', () => {
  for (const quick of [false, true]) {
    const names = planOf(quick).map((step) => JSON.stringify(step))
    assert.is(new Set(names).size, names.length)
  }
  const commands = (quick: boolean) => new Set(planOf(quick).map(({ args }) => args[0]))
  assert.equal(
    [...commands(false)].filter((name) => !commands(true).has(name)),
    ['tenants'],
  )
})

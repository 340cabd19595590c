import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { test } from '../harness.ts'
import { parsed, reduced, wholeOf, written } from './reduction.ts'
import { type Schedule, scheduleOf } from './schedule.ts'
import { shrink } from './shrink.ts'

/** The first schedule with so many strikes and hazards that there is something to leave out. */
function large(): Schedule {
  for (let seed = 1; ; seed++) {
    const schedule = scheduleOf(String(seed))
    if (schedule.strikes.length >= 4 && Object.keys(schedule.hazards).length >= 4 && schedule.options.tenants >= 8)
      return schedule
  }
}

test('what has nothing to do with the failure goes, and what it needs stays', async () => {
  const schedule = large()
  const [, second, , fourth] = schedule.strikes
  const [hazard = 'none'] = Object.keys(schedule.hazards)
  const { reduction } = await shrink(schedule, async ({ strikes, hazards, options }) => {
    const [a, b] = [second, fourth].map((one) => strikes.some((strike) => strike === one))
    return a === true && b === true && hazard in hazards && options.tenants >= 3
  })
  const small = reduced(schedule, reduction)
  assert.equal(small.strikes, [second, fourth])
  assert.equal(Object.keys(small.hazards), [hazard])
  assert.is(small.options.tenants, 3)
  assert.is(small.options.messages, 1)
  assert.is(small.options.killers, 0)
  assert.equal(small.options.outages, [])
})

test('a schedule that fails whatever is left out ends with nothing in it, within its tries', async () => {
  let ran = 0
  const { reduction, tries } = await shrink(large(), async () => ++ran > 0, 60)
  assert.equal(reduction.strikes, [])
  assert.equal(reduction.hazards, [])
  assert.is(ran, tries)
  assert.ok(tries <= 60)
})

test('a reduction that was written is read again', () => {
  const schedule = large()
  const whole = wholeOf(schedule)
  const some = { ...whole, strikes: whole.strikes.slice(1, 3), outages: [], sizes: { tenants: 2, killers: 0 } }
  assert.equal(parsed(written(whole), schedule), whole)
  assert.equal(parsed(written(some), schedule), some)
  for (const wrong of ['strikes=x', 'hazards=no such hazard', 'tenants=0', 'tenants=', 'colour=3', 'strikes'])
    assert.is(parsed(wrong, schedule), null, wrong)
})

test(
  'a planted fault is found, shrunk, and found again in what is left',
  () => {
    const runner = join(import.meta.dirname, 'run-mutant.ts')
    const name = 'the stale run: a decision of an earlier run is accepted'
    const run = (...more: string[]) =>
      execFileSync(process.execPath, [runner, name, '1000', ...more], { encoding: 'utf8', timeout: 280_000 })
    const found: unknown = JSON.parse(run('--shrink'))
    assert.ok(typeof found === 'object' && found !== null && 'reduction' in found && 'after' in found)
    const { reduction, after } = found
    assert.type(reduction, 'string')
    const schedule = scheduleOf(String(after))
    const left = parsed(String(reduction), schedule)
    assert.ok(left !== null)
    assert.ok(
      left.strikes.length + left.hazards.length < schedule.strikes.length + Object.keys(schedule.hazards).length,
    )
    const again: unknown = JSON.parse(run('--seed', String(after), '--reduce', String(reduction)))
    assert.ok(typeof again === 'object' && again !== null && 'rule' in again && 'rule' in found)
    assert.is(again.rule, found.rule)
  },
  { timeoutMs: 300_000 },
)

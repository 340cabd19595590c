import * as assert from 'uvu/assert'
import { Feeder } from '../chaos/feeder.ts'
import { advice, unlessAborted, within } from '../chaos/patience.ts'
import { Plan } from '../chaos/plan.ts'
import { exitCodeOf } from '../../cli/exit.ts'
import { TenantryError } from '../../core/errors.ts'
import { test } from '../harness.ts'
import { eventually } from '../services.ts'

// What ends a run of chaos in the middle of anything.

const never = new Promise<string>(() => {})

test('a load that no broker takes is given up when asked', async () => {
  const feeder = new Feeder(
    { kafka: '127.0.0.1:1', topic: 'none', plan: new Plan('s', { copies: true }), from: 0 },
    100,
  )
  await within(30_000, feeder.abandon())
  assert.is(feeder.sent, 0)
})

test('whoever waits is told when the run is over, before or meanwhile, and else gets what came', async () => {
  const over = new AbortController()
  assert.is(await unlessAborted(Promise.resolve('done'), over.signal), 'done')
  const waiting = unlessAborted(never, over.signal)
  over.abort(new Error('over'))
  for (const one of [waiting, unlessAborted(never, over.signal)])
    assert.match(await one.catch((error: unknown) => String(error)), 'over')
})

test('what takes too long is not waited for', async () => {
  assert.is(await within(10_000, Promise.resolve('done')), 'done')
  assert.match(await within(1, never).catch((error: unknown) => String(error)), 'not done within')
})

test('a deadline that was missed has a code and advice, and is not told as a bug', async () => {
  const late = await eventually(() => false, { deadlineMs: 1 }).catch((error: unknown) => error)
  assert.instance(late, TenantryError)
  assert.is(exitCodeOf(late), 1)
  assert.match(advice(late) ?? '', '--rate')
  assert.is(advice(new Error('another')), undefined)
})

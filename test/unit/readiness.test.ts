import * as assert from 'uvu/assert'
import type { Facts } from '../../core/errors.ts'
import { Readiness } from '../../supervisors/readiness.ts'
import { test } from '../harness.ts'

function readiness() {
  const logged: unknown[] = []
  const write = (event: string, { reason }: Facts) => void logged.push([event, reason])
  const log = { debug: write, info: write, warn: write, error: write }
  return { logged, told: new Readiness(log, () => {}) }
}

test('a trouble is logged once for each reason, however often they take turns, and anew when it comes again', () => {
  const { logged, told } = readiness()
  for (const broker of [1, 2, 3, 1, 2, 3]) told.trouble('kafka.g', `no connection to ${broker}`)
  assert.equal(told.reasons([]), ['kafka.g: no connection to 3'])
  told.trouble('kafka.g', null)
  told.trouble('kafka.g', null)
  told.trouble('kafka.g', 'no connection to 1')
  assert.equal(logged, [
    ['trouble', 'no connection to 1'],
    ['trouble', 'no connection to 2'],
    ['trouble', 'no connection to 3'],
    ['trouble.ended', undefined],
    ['trouble', 'no connection to 1'],
  ])
})

test('a trouble with a new reason every time is logged ten times', () => {
  const { logged, told } = readiness()
  for (let offset = 0; offset < 100; offset++) told.trouble('postgres', `at ${offset}`)
  assert.is(logged.length, 10)
  assert.equal(told.reasons([]), ['postgres: at 99'])
})

// runtimes: node, bun
import * as assert from 'uvu/assert'
import { isIsolation } from '../../bench/beside-calm.ts'
import { sicknesses } from '../../bench/sick-tenant.ts'
import { test } from '../harness.ts'

test('every kind of sick tenant has its place beside the calm run, at low rates and high ones', () => {
  for (const rate of [100, 3_000, 10_000, 100_000])
    for (const { name } of sicknesses(rate)) assert.ok(isIsolation(name), `${name}, at ${rate} a second`)
})

// runtimes: node
import * as assert from 'uvu/assert'
import { steps } from '../../tools/check/steps.ts'
import { test } from '../harness.ts'

for (const step of steps) {
  test(`nothing is wrong with the code's ${step.name}`, async () => {
    assert.is(await step.run(), '')
  })
}

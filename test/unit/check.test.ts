// runtimes: node
// timeout: 600 s
import * as assert from 'uvu/assert'
import { steps } from '../../tools/check/steps.ts'
import { test } from '../harness.ts'

for (const step of steps) {
  // All of the code, on a machine that may run the daemons of other tests beside it.
  test(
    `nothing is wrong with the code's ${step.name}`,
    async () => {
      assert.is(await step.run(), '')
    },
    { timeoutMs: 300_000 },
  )
}

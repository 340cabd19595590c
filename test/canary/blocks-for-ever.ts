import { test } from '../harness.ts'

test('never gives the thread back', () => {
  for (;;);
})

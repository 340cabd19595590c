import { test } from '../harness.ts'

test('leaves in the middle, as if all were well', () => {
  process.exit(0)
})

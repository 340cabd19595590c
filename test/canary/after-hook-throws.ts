import { after, test } from '../harness.ts'

after(() => {
  throw new Error('the hook throws')
})

test('passes by itself', () => {})

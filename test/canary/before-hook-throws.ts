import { before, test } from '../harness.ts'

before(() => {
  throw new Error('the hook throws')
})

test('never gets that far', () => {})

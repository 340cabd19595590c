import { test } from '../harness.ts'

test('is never reached', () => {})

await Promise.reject(new Error('the file itself fails'))

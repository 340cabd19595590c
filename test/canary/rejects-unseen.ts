import { test } from '../harness.ts'

test('fails where nobody waits', async () => {
  void Promise.reject(new Error('lost'))
  await new Promise((resolve) => setTimeout(resolve, 50))
})

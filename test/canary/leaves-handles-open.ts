import { createServer } from 'node:net'
import { test } from '../harness.ts'

await new Promise((resolve) => setTimeout(resolve, 20))

test('leaves a server and a timer open', async () => {
  setInterval(() => {}, 1_000)
  await new Promise<void>((resolve) => createServer().listen(0, '127.0.0.1', resolve))
})

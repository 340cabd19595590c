// runtimes: node
import { Worker } from 'node:worker_threads'
import * as assert from 'uvu/assert'
import { WorkerUtilisation } from '../../supervisors/worker-utilisation.ts'
import { after, before, test } from '../harness.ts'
import { eventually } from '../services.ts'

const busyHalf = `
  const { parentPort } = require('node:worker_threads')
  setInterval(() => { const until = performance.now() + 20; while (performance.now() < until); }, 40)
  parentPort.on('message', () => {})
`
const idle = `require('node:worker_threads').parentPort.on('message', () => {})`
let threads: readonly Worker[] = []

before(() => {
  threads = [busyHalf, idle].map((code) => new Worker(code, { eval: true }))
})

after(() => Promise.all(threads.map((thread) => thread.terminate())))

test('a busy thread is told from an idle one', async () => {
  const utilisation = new WorkerUtilisation()
  await eventually(
    () => {
      const [busy = 0, quiet = 1] = utilisation.read(threads)
      return busy > 0.2 && busy <= 1 && quiet < 0.1
    },
    { every: 200 },
  )
  assert.equal(utilisation.read([]), [])
})

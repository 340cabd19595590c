// Loaded into a daemon before everything else (node --expose-gc --import): on SIGUSR2 every thread collects its garbage
// and says what is left, and the sum goes to the file that BENCH_HEAP names.
import { renameSync, writeFileSync } from 'node:fs'
import { BroadcastChannel, isMainThread } from 'node:worker_threads'

const requests = new BroadcastChannel('bench-heap-requests')
const answers = new BroadcastChannel('bench-heap-answers')
requests.unref()
answers.unref()

/** Time for all threads to answer. */
const patienceMs = 3_000

function heapUsed(): number {
  // Twice: what the first has freed may hold on to more.
  globalThis.gc?.()
  globalThis.gc?.()
  const { heapUsed: heap, external } = process.memoryUsage()
  return heap + (isMainThread ? external : 0)
}

if (isMainThread) {
  process.on('SIGUSR2', () => {
    let sum = 0
    answers.onmessage = ({ data }: { data: unknown }) => {
      if (typeof data === 'number') sum += data
    }
    requests.postMessage('collect')
    sum += heapUsed()
    setTimeout(() => {
      const file = process.env['BENCH_HEAP'] ?? ''
      writeFileSync(`${file}.tmp`, String(sum))
      renameSync(`${file}.tmp`, file)
    }, patienceMs)
  })
} else {
  requests.onmessage = () => answers.postMessage(heapUsed())
}

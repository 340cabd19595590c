import { parentPort, workerData } from 'node:worker_threads'
import { messageOf, TenantryError } from '../core/errors.ts'
import type { FromLoading } from './loading-messages.ts'
import { loadTopology } from './topology.ts'

// A thread of its own, as users' modules may do anything when they are loaded: write to the output, wait, never end.

const tell = (message: FromLoading) => parentPort?.postMessage(message)

// Standard output carries data, or the daemon's log. Bun's console does not write by the stream.
process.stdout.write = process.stderr.write.bind(process.stderr)
const { error } = console
Object.assign(console, { log: error, info: error, debug: error })

const folder: unknown = workerData
try {
  const { actors } = await loadTopology(String(folder), (file) => tell({ kind: 'began', file }))
  const known = actors.map((one) => {
    const { actor: _, ...facts } = one
    return facts
  })
  tell({ kind: 'loaded', actors: known })
} catch (thrown) {
  const { code, facts } = thrown instanceof TenantryError ? thrown : { code: '', facts: {} }
  tell({ kind: 'failed', code, facts, message: messageOf(thrown) })
}

import { parentPort, workerData } from 'node:worker_threads'
import { loadTopology } from '../../actors/topology.ts'
import { messageOf } from '../../core/errors.ts'

// A thread of its own, as users' modules may do anything when they are loaded: write to the output, wait, never end.

const folder: unknown = workerData
try {
  const { actors } = await loadTopology(typeof folder === 'string' ? folder : '')
  parentPort?.postMessage({
    actors: actors.map(({ group, name, dependencies }) => ({ group, name, dependencies: [...dependencies] })),
  })
} catch (error) {
  parentPort?.postMessage({ failed: messageOf(error) })
}

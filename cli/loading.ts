import { loadTopology, type Topology } from '../actors/topology.ts'
import { TenantryError } from '../core/errors.ts'
import { exitCode } from './exit.ts'
import { tellError } from './output.ts'

/**
 * Loads actors on the thread of a command that prints data. What their files print meanwhile is none, and a file that ends
 * the process, or lets it end (Node) by waiting for what never comes, has not been loaded: the process ends with 1 and says so.
 */
export async function loadActors(folder: string, asJson: boolean): Promise<Topology> {
  let loading = folder
  const ended = () => {
    const what = `${loading} cannot be loaded: it ends the process, or waits for something that never comes`
    tellError(new TenantryError('TENANTRY_ACTOR_UNLOADABLE', what, { file: loading }), asJson)
    process.exitCode = exitCode('failed')
  }
  process.once('exit', ended)
  const restore = divertOutput()
  try {
    return await loadTopology(folder, (file) => (loading = file))
  } finally {
    restore()
    process.off('exit', ended)
  }
}

/** Has what is printed go to standard error, until the function is called that it returns. */
export function divertOutput(): () => void {
  const write = process.stdout.write.bind(process.stdout)
  process.stdout.write = process.stderr.write.bind(process.stderr)
  // Bun's console does not write by the stream.
  const { log, info, debug, error } = console
  Object.assign(console, { log: error, info: error, debug: error })
  return () => {
    process.stdout.write = write
    Object.assign(console, { log, info, debug })
  }
}

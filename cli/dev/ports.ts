import { createServer } from 'node:net'

/**
 * Free TCP ports of the loopback, all different. They lie below the range from which the system takes the local ports
 * of outgoing connections: a client that keeps connecting to a stopped server's port there may end up connected to
 * itself, and the server could not come back on its port.
 */
export async function freePorts(count: number): Promise<number[]> {
  const found = new Set<number>()
  for (let tries = 0; found.size < count && tries < 1_000; tries++) {
    const port = 20_000 + Math.floor(Math.random() * 12_000)
    if (!found.has(port) && (await isFree(port))) found.add(port)
  }
  return [...found]
}

/** Whether a server could listen on a port of the loopback now. */
export function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}

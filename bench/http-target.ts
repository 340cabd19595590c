import { createServer, type Server } from 'node:http'
import { TenantryError } from '../core/errors.ts'

/** The HTTP server that handlers call: it keeps the body and answers at once. */
export class HttpTarget {
  readonly #server: Server
  readonly #url: string
  readonly #bodies: Buffer[]

  private constructor(server: Server, url: string, bodies: Buffer[]) {
    this.#server = server
    this.#url = url
    this.#bodies = bodies
  }

  static async start(): Promise<HttpTarget> {
    const bodies: Buffer[] = []
    const server = createServer((request, response) => {
      const parts: Buffer[] = []
      request
        .on('data', (part: Buffer) => parts.push(part))
        .once('end', () => {
          bodies.push(Buffer.concat(parts))
          response.writeHead(204).end()
        })
    })
    server.keepAliveTimeout = 60_000
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(0, '127.0.0.1', resolve)
    })
    const address = server.address()
    if (address === null || typeof address === 'string')
      throw new TenantryError('TENANTRY_BENCH_HTTP', 'The HTTP server of the bench has no port.')
    return new HttpTarget(server, `http://127.0.0.1:${address.port}/`, bodies)
  }

  get url(): string {
    return this.#url
  }

  /** What came since it was asked last, in its order. */
  take(): readonly Buffer[] {
    return this.#bodies.splice(0)
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}

import { createServer, type Server } from 'node:http'
import { TenantryError } from '../core/errors.ts'

/** The HTTP server that handlers call: it reads the body and answers at once. */
export class HttpTarget {
  readonly #server: Server
  readonly #url: string

  private constructor(server: Server, url: string) {
    this.#server = server
    this.#url = url
  }

  static async start(): Promise<HttpTarget> {
    const server = createServer((request, response) => {
      request.resume().once('end', () => response.writeHead(204).end())
    })
    server.keepAliveTimeout = 60_000
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(0, '127.0.0.1', resolve)
    })
    const address = server.address()
    if (address === null || typeof address === 'string')
      throw new TenantryError('TENANTRY_BENCH_HTTP', 'The HTTP server of the bench has no port.')
    return new HttpTarget(server, `http://127.0.0.1:${address.port}/`)
  }

  get url(): string {
    return this.#url
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}

import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket, connect } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { Conversation, type Moment } from './conversation.ts'

/**
 * Stands between daemons and PostgreSQL and understands enough of what passes to stop a lane's connection at a chosen
 * moment of a commit. So a daemon is killed exactly there, with no hook in it.
 */
export class WireProxy {
  readonly #server: Server
  readonly #database: URL
  readonly #sockets = new Set<Socket>()
  #armed: { readonly moment: Moment; readonly hit: () => void } | undefined
  /** Answers to lanes take so much longer. */
  delayMs = 0

  private constructor(database: URL) {
    this.#database = database
    this.#server = createServer((client) => this.#serve(client))
  }

  static async before(database: string): Promise<WireProxy> {
    const proxy = new WireProxy(new URL(database))
    proxy.#server.listen(0, '127.0.0.1')
    await once(proxy.#server, 'listening')
    return proxy
  }

  /** The database's address through the proxy. */
  get url(): string {
    const url = new URL(this.#database)
    const address = this.#server.address()
    if (address === null || typeof address === 'string') throw new Error('the proxy does not listen')
    url.host = `127.0.0.1:${(address satisfies AddressInfo).port}`
    return url.href
  }

  /** Resolves when a lane has reached `moment`; its connection stands still from then on, the others go on. */
  async reached(moment: Moment, deadlineMs = 30_000): Promise<void> {
    const hit = Promise.withResolvers<void>()
    this.#armed = { moment, hit: hit.resolve }
    const late = pause(deadlineMs, undefined, { ref: false }).then(() => {
      throw new Error(`no lane has reached "${moment}" within ${deadlineMs / 1_000} s`)
    })
    await Promise.race([hit.promise, late])
  }

  /** Cuts every connection. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  async close(): Promise<void> {
    this.cut()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #serve(client: Socket): void {
    const server = connect({ host: this.#database.hostname, port: Number(this.#database.port), noDelay: true })
    client.setNoDelay(true)
    const conversation = new Conversation({
      toServer: (bytes) => server.write(bytes),
      toClient: (bytes) => this.#answer(client, bytes, conversation.isLane),
      moment: () => this.#armed?.moment,
      stopped: () => {
        this.#armed?.hit()
        this.#armed = undefined
      },
    })
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(from)
      from.on('data', (bytes: Buffer) => (from === client ? conversation.asked(bytes) : conversation.answered(bytes)))
      from.on('error', () => {}) // followed by close
      from.on('close', () => {
        this.#sockets.delete(from)
        to.destroy()
      })
    }
  }

  #answer(client: Socket, bytes: Buffer, isLane: boolean): void {
    if (!isLane || this.delayMs === 0) client.write(bytes)
    else setTimeout(() => client.write(bytes), this.delayMs)
  }
}

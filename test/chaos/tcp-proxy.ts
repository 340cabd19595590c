import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'

/** What a proxy does with bytes. */
export type Weather =
  /** Passes them on. */
  | { readonly kind: 'fair' }
  /** Passes them on so much later, in order. */
  | { readonly kind: 'slow'; readonly delayMs: number }
  /** Keeps them until the weather changes, as a network does that loses packets and sends them again. */
  | { readonly kind: 'held'; readonly direction: 'both' | 'answers' }
  /** Now and then keeps a piece for a while, and seldom ends a connection: what is left of a bad line under TCP. */
  | { readonly kind: 'lossy'; readonly chance: () => number }
  /** Ends every new connection at once. */
  | { readonly kind: 'refusing' }

/** A piece is held up, and a connection is lost, with these probabilities in lossy weather. */
const lossy = { stall: 0.05, stallMs: 400, reset: 0.001 } as const
/** No more is read from one end while so many bytes wait for the other. */
const maxWaitingBytes = 4 * 1024 * 1024

/** Stands between a client and one server and treats their connections as networks do. */
export class TcpProxy {
  readonly #server: Server
  readonly #connections = new Set<Connection>()
  #target: { readonly host: string; readonly port: number } | undefined
  #weather: Weather = { kind: 'fair' }
  /** Connections that clients have opened so far. */
  opened = 0

  private constructor() {
    this.#server = createServer((client) => this.#serve(client))
  }

  /** Listens; nobody gets through before `lead`. */
  static async open(): Promise<TcpProxy> {
    const proxy = new TcpProxy()
    proxy.#server.listen(0, '127.0.0.1')
    await once(proxy.#server, 'listening')
    return proxy
  }

  get port(): number {
    const address = this.#server.address()
    if (address === null || typeof address === 'string') throw new Error('the proxy does not listen')
    return address.port
  }

  get weather(): Weather {
    return this.#weather
  }

  set weather(weather: Weather) {
    this.#weather = weather
    if (weather.kind === 'refusing') this.cut()
    for (const connection of this.#connections) connection.pump()
  }

  /** Says where connections lead to. */
  lead(host: string, port: number): void {
    this.#target = { host, port }
  }

  /** Ends every connection that there is. */
  cut(): void {
    for (const connection of [...this.#connections]) connection.reset()
  }

  /** Every connection that there is stays open and never brings anything again: its other end has forgotten it. */
  deaden(): void {
    for (const connection of this.#connections) connection.deaden()
  }

  async close(): Promise<void> {
    this.cut()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #serve(client: Socket): void {
    this.opened++
    client.on('error', () => {}) // followed by close
    if (this.#target === undefined || this.#weather.kind === 'refusing') {
      client.resetAndDestroy()
      return
    }
    const server = connect({ ...this.#target, noDelay: true })
    client.setNoDelay(true)
    const connection = new Connection(client, server, () => this.#weather)
    this.#connections.add(connection)
    connection.closed = () => this.#connections.delete(connection)
  }
}

/** A client's connection and ours to the server. */
class Connection {
  readonly #ends: readonly [client: Socket, server: Socket]
  readonly #pipes: readonly [Pipe, Pipe]
  #dead = false
  closed = () => {}

  constructor(client: Socket, server: Socket, weather: () => Weather) {
    this.#ends = [client, server]
    const lost = () => this.reset()
    this.#pipes = [
      new Pipe(client, server, 'questions', weather, lost),
      new Pipe(server, client, 'answers', weather, lost),
    ]
    for (const [own, other] of [
      [client, server],
      [server, client],
    ] as const) {
      own.on('error', () => {}) // followed by close
      own.on('close', () => {
        // Of a forgotten connection neither end hears that the other has gone.
        if (!this.#dead) other.destroy()
        if (client.destroyed && server.destroyed) this.closed()
      })
    }
  }

  pump(): void {
    for (const pipe of this.#pipes) pipe.pump()
  }

  deaden(): void {
    this.#dead = true
    for (const pipe of this.#pipes) pipe.deaden()
  }

  reset(): void {
    for (const end of this.#ends) end.resetAndDestroy()
  }
}

/** One direction of a connection. */
class Pipe {
  readonly #from: Socket
  readonly #to: Socket
  readonly #direction: 'questions' | 'answers'
  readonly #weather: () => Weather
  readonly #lost: () => void
  #waiting: { readonly bytes: Buffer; readonly at: number }[] = []
  #waitingBytes = 0
  #timer: NodeJS.Timeout | undefined
  #dead = false

  constructor(from: Socket, to: Socket, direction: 'questions' | 'answers', weather: () => Weather, lost: () => void) {
    this.#from = from
    this.#to = to
    this.#direction = direction
    this.#weather = weather
    this.#lost = lost
    from.on('data', (bytes: Buffer) => this.#take(bytes))
    to.on('drain', () => this.#balance())
    to.on('close', () => clearTimeout(this.#timer))
  }

  deaden(): void {
    this.#dead = true
    this.#waiting = []
    this.#from.resume()
  }

  /** Passes on what is due. */
  pump(): void {
    if (this.#dead || this.#held) return
    const now = performance.now()
    const slow = this.#weather().kind === 'slow' || this.#weather().kind === 'lossy'
    for (let next = this.#waiting[0]; next !== undefined && (!slow || next.at <= now); next = this.#waiting[0]) {
      this.#waiting.shift()
      this.#waitingBytes -= next.bytes.length
      this.#to.write(next.bytes)
    }
    this.#balance()
    clearTimeout(this.#timer)
    const [first] = this.#waiting
    if (first !== undefined) this.#timer = setTimeout(() => this.pump(), Math.max(0, first.at - now))
  }

  get #held(): boolean {
    const weather = this.#weather()
    return weather.kind === 'held' && (weather.direction === 'both' || this.#direction === 'answers')
  }

  #take(bytes: Buffer): void {
    if (this.#dead) return
    const now = performance.now()
    this.#waiting.push({ bytes, at: now + this.#delayMs() })
    this.#waitingBytes += bytes.length
    this.pump()
  }

  #delayMs(): number {
    const weather = this.#weather()
    if (weather.kind === 'slow') return weather.delayMs
    if (weather.kind !== 'lossy') return 0
    if (weather.chance() < lossy.reset) setImmediate(this.#lost)
    return weather.chance() < lossy.stall ? weather.chance() * lossy.stallMs : 0
  }

  #balance(): void {
    const full = this.#waitingBytes > maxWaitingBytes || this.#to.writableNeedDrain
    if (full) this.#from.pause()
    else this.#from.resume()
  }
}

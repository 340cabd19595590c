import { createServer, type Server } from 'node:http'
import { isIP } from 'node:net'
import { getRequestListener } from '@hono/node-server'
import { Hono } from 'hono'
import { errorOf, messageOf, TenantryError } from '../core/errors.ts'
import type { Lifecycle } from '../core/lifecycle.ts'
import type { Log } from '../core/log.ts'
import { type StuckQuery, type StuckReport, stuckDefaults, stuckMaxLimit } from '../core/stuck-report.ts'
import { redactText } from '../core/redact.ts'

export type HttpServerOptions = {
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  /** Names that a request may give as its Host besides localhost and IP addresses; `*` allows all. */
  readonly allowedHosts: readonly string[]
  readonly ready: () => { readonly ready: boolean; readonly reasons: readonly string[] }
  /** False when only a restart can help. Never because a server elsewhere is away. */
  readonly live: () => boolean
  /** The metrics in Prometheus' text format. */
  readonly metrics: () => Promise<string>
  readonly stuck: (query: StuckQuery) => StuckReport
  readonly log: Log
}

const maxHeaderBytes = 16 * 1024
const headersTimeoutMs = 5_000
const requestTimeoutMs = 10_000
const keepAliveTimeoutMs = 5_000
const maxConnections = 128

/**
 * /health/live, /health/ready, /metrics and /stuck, on Node and Bun. Answers GET and HEAD only and reads no bodies; headers,
 * waiting times and connections are bounded, so that whoever reaches the port cannot hold the daemon up.
 */
export class HttpServer implements Lifecycle {
  readonly #options: HttpServerOptions
  #server: Server | undefined
  #starting: Promise<void> | undefined
  #stopping: Promise<void> | undefined
  #port = 0

  constructor(options: HttpServerOptions) {
    this.#options = options
  }

  /** `http://127.0.0.1:9464`; the real port once it has started. */
  get url(): string {
    const { host, port } = this.#options
    return `http://${isIP(host) === 6 ? `[${host}]` : host}:${this.#port === 0 ? port : this.#port}`
  }

  /** Rejects with TENANTRY_HTTP_PORT_TAKEN or TENANTRY_HTTP_CANNOT_LISTEN. */
  start(): Promise<void> {
    if (this.#stopping) return Promise.resolve()
    this.#starting ??= this.#listen()
    return this.#starting
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#close()
    return this.#stopping
  }

  #listen(): Promise<void> {
    const { host, port, log } = this.#options
    const answer = getRequestListener(routes(this.#options).fetch)
    const server = createServer(
      {
        maxHeaderSize: maxHeaderBytes,
        headersTimeout: headersTimeoutMs,
        requestTimeout: requestTimeoutMs,
        keepAliveTimeout: keepAliveTimeoutMs,
        connectionsCheckingInterval: 1_000,
      },
      (incoming, outgoing) => void answer(incoming, outgoing),
    )
    server.maxConnections = maxConnections
    this.#server = server
    return new Promise((resolve, reject) => {
      const refuse = (error: Error) => reject(cannotListen(error, host, port))
      server.once('error', refuse)
      server.listen(port, host, () => {
        server.off('error', refuse)
        server.on('error', (error: Error) =>
          log.warn('http.error', { reason: messageOf(error) }, 'The HTTP server met an error.'),
        )
        const address = server.address()
        this.#port = typeof address === 'object' && address !== null ? address.port : port
        log.info('http.listening', { url: this.url }, 'Health and metrics are served.')
        resolve()
      })
    })
  }

  async #close(): Promise<void> {
    await this.#starting?.catch(() => {})
    const server = this.#server
    if (!server?.listening) return
    await new Promise<void>((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })
  }
}

function routes({ host, allowedHosts, ready, live, metrics, stuck, log }: HttpServerOptions): Hono {
  const app = new Hono()
  const allowed = new Set([host, 'localhost', ...allowedHosts].map((name) => name.toLowerCase()))

  app.use(async (context, next) => {
    context.header('cache-control', 'no-store')
    context.header('x-content-type-options', 'nosniff')
    if (!allowed.has('*') && !isAllowedHost(context.req.header('host'), allowed)) {
      return context.json({ error: 'this name is not one of http.allowedHosts' }, 421)
    }
    if (context.req.method !== 'GET' && context.req.method !== 'HEAD') {
      context.header('allow', 'GET, HEAD')
      context.header('connection', 'close')
      return context.json({ error: 'only GET and HEAD' }, 405)
    }
    return next()
  })
  app.get('/health/live', (context) => {
    const alive = live()
    return context.json({ live: alive }, alive ? 200 : 503)
  })
  app.get('/health/ready', (context) => {
    const state = ready()
    return context.json({ ready: state.ready, reasons: state.reasons.map(redactText) }, state.ready ? 200 : 503)
  })
  app.get('/metrics', async (context) =>
    context.text(await metrics(), 200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }),
  )
  app.get('/stuck', (context) => {
    const query = stuckQuery(context.req.query())
    return typeof query === 'string' ? context.json({ error: query }, 400) : context.json(stuck(query))
  })
  app.notFound((context) => context.json({ error: 'there is /health/live, /health/ready, /metrics and /stuck' }, 404))
  app.onError((error, context) => {
    log.error(
      'http.failed',
      { path: context.req.path.slice(0, 64), reason: messageOf(error) },
      'A request could not be answered.',
    )
    return context.json({ error: 'internal error' }, 500)
  })
  return app
}

/** What is asked for, or what is wrong with the question. */
function stuckQuery(given: Readonly<Record<string, string>>): StuckQuery | string {
  const { group, tenant, limit, longerThanMs, ...others } = given
  const [other] = Object.keys(others)
  if (other !== undefined) return 'there are group, tenant, limit and longerThanMs'
  for (const value of [limit, longerThanMs])
    if (value !== undefined && !/^\d{1,12}$/.test(value)) return 'limit and longerThanMs want whole numbers'
  return {
    ...stuckDefaults,
    ...(group !== undefined && { group }),
    ...(tenant !== undefined && { tenant }),
    ...(limit !== undefined && { limit: Math.min(stuckMaxLimit, Math.max(1, Number(limit))) }),
    ...(longerThanMs !== undefined && { longerThanMs: Number(longerThanMs) }),
  }
}

/** A page in a browser that resolves its own name to this address still sends that name. */
function isAllowedHost(header: string | undefined, allowed: ReadonlySet<string>): boolean {
  if (header === undefined) return false
  const name = header.replace(/:\d*$/, '').toLowerCase()
  return allowed.has(name) || isIP(name.replace(/^\[(.*)\]$/, '$1')) !== 0
}

function cannotListen(error: Error, host: string, port: number): TenantryError {
  const code = 'code' in error ? error.code : undefined
  const facts = { host, port }
  if (code === 'EADDRINUSE') {
    return new TenantryError(
      'TENANTRY_HTTP_PORT_TAKEN',
      `Port ${port} at ${host} is taken by another process: set http.port (0 takes a free one), or end that process.`,
      facts,
    )
  }
  return new TenantryError(
    'TENANTRY_HTTP_CANNOT_LISTEN',
    `Cannot listen at ${host}:${port} (${errorOf(error).message}): set http.host and http.port.`,
    facts,
  )
}

import { type Socket, connect } from 'node:net'
import postgres from 'postgres'
import type { Clock } from '../clock.ts'
import { errorOf, TenantryError } from '../errors.ts'
import { explainRefusal, requireServer, type ServerFacts, serverFacts } from './server.ts'

export type LaneLimits = {
  readonly connectTimeoutMs: number
  /** Bound of one statement; 0: none. */
  readonly statementTimeoutMs: number
  readonly lockTimeoutMs: number
  /** PostgreSQL ends a transaction that takes longer, so that a frozen daemon holds nobody up. */
  readonly transactionTimeoutMs: number
}

/** What one use of a connection has and the others have not. */
export type Session = {
  readonly types?: Record<string, postgres.PostgresType>
  readonly settings?: Readonly<Record<string, string>>
}

/**
 * What a role or a database may have set otherwise. The fence compares what the last commit wrote after it has waited for a
 * lock, which a snapshot of before would not show; and values are read and written in these forms.
 */
const sessionSettings = {
  default_transaction_isolation: 'read committed',
  array_nulls: 'on',
  bytea_output: 'hex',
} as const

/** The same for sessions with no statements but our own, whose literals no order of day and month can turn. */
export const ownSettings = { ...sessionSettings, DateStyle: 'ISO' } as const

/** None is 24 days, PostgreSQL's longest: the driver leaves a 0 out, and what the role or the database has set would count. */
export function statementLimit(ms: number): number {
  return ms === 0 ? 2_147_483_647 : ms
}

/** A backend, told from a later one with the same process id: seconds since 1970 as text, as the driver cuts a time to milliseconds. */
export type Backend = { readonly pid: number; readonly startedAt: string }

/**
 * A connection of which there is only one: its client may open one socket and never a second, so nothing that was meant
 * for this transaction can go out over another connection (porsager/postgres#1216), and what is open when the socket
 * closes is known to be open (#1186: the driver's own promises may never settle).
 */
export class LaneConnection {
  readonly sql: postgres.Sql
  readonly backend: Backend
  readonly #socket: Socket
  /** To be called when the connection has gone. */
  readonly #listeners = new Set<(gone: Error) => void>()
  #gone: Error | null = null

  private constructor(sql: postgres.Sql, backend: Backend, socket: Socket, closed: Promise<never>) {
    this.sql = sql
    this.backend = backend
    this.#socket = socket
    closed.catch((error: unknown) => {
      const gone = errorOf(error)
      this.#gone = gone
      for (const listener of this.#listeners) listener(gone)
      this.#listeners.clear()
    })
  }

  /** Rejects when the server cannot be reached, in time, or refuses us. */
  static async open(
    url: string,
    name: string,
    limits: LaneLimits,
    { types = {}, settings = {} }: Session = {},
  ): Promise<LaneConnection> {
    const gone = Promise.withResolvers<never>()
    gone.promise.catch(() => {})
    let socket: Socket | undefined
    // A variable, as the driver's types know neither `socket` nor `max_pipeline`.
    const options = {
      // Statements sent before the driver waits for answers: more than a commit has.
      max_pipeline: 1_000_000,
      max: 1,
      max_lifetime: null,
      idle_timeout: 0,
      connect_timeout: limits.connectTimeoutMs / 1_000,
      fetch_types: false,
      types,
      onnotice() {},
      socket: async ({ host, port, path }: SocketOptions) => {
        if (socket !== undefined) throw new TenantryError('TENANTRY_LANE_REUSED', 'a lane opens one connection only')
        const opened = await connectSocket(host, port, path, limits.connectTimeoutMs)
        socket = opened
        // Also between the driver's own time limit, which ends with the start-up, and the answer that we wait for.
        opened.setTimeout(limits.connectTimeoutMs, () => {
          gone.reject(
            new TenantryError('TENANTRY_POSTGRES_TIMEOUT', `PostgreSQL at ${host[0]}:${port[0]} does not answer`),
          )
          opened.destroy()
        })
        socket.once('close', () =>
          gone.reject(new TenantryError('TENANTRY_LANE_CLOSED', 'the connection to PostgreSQL was closed')),
        )
        return socket
      },
      connection: {
        ...sessionSettings,
        application_name: name,
        default_transaction_read_only: true,
        // Arrays of another length are no reason for another plan: left to itself, the server plans every commit anew.
        plan_cache_mode: 'force_generic_plan',
        statement_timeout: statementLimit(limits.statementTimeoutMs),
        lock_timeout: limits.lockTimeoutMs,
        idle_in_transaction_session_timeout: limits.transactionTimeoutMs,
        ...settings,
      },
    }
    const sql = postgres(url, options)
    // Times are read in this form; set so, the database's order of day and month stays, for actors' own statements.
    // A server that is too old for transaction_timeout would refuse it at the connection, and not say what it is.
    const asked = sql<(ServerFacts & { pid: number; started_at: string })[]>`
      select pid, extract(epoch from backend_start)::text as started_at, ${serverFacts(sql)},
        set_config('datestyle', 'ISO', false),
        case when current_setting('server_version_num')::integer >= 170000
          then set_config('transaction_timeout', ${String(limits.transactionTimeoutMs)}, false) end
      from pg_stat_activity where pid = pg_backend_pid()`
    try {
      const [own] = await Promise.race([asked, gone.promise])
      if (own === undefined || socket === undefined)
        throw new TenantryError('TENANTRY_LANE_CLOSED', 'PostgreSQL does not say which backend serves the lane')
      requireServer(own)
      socket.setTimeout(0)
      return new LaneConnection(sql, { pid: own.pid, startedAt: own.started_at }, socket, gone.promise)
    } catch (error) {
      asked.catch(() => {})
      socket?.destroy()
      throw explainRefusal(error)
    }
  }

  /**
   * What `send` sends leaves in one or two writes: the driver writes each statement by itself, which was a sixth of the
   * supervisor's thread when commits are small.
   */
  together<T>(send: () => T): T {
    this.#socket.cork()
    // The driver sends in a microtask.
    setImmediate(() => this.#socket.uncork())
    return send()
  }

  /** Calls `listener` once, when the connection has gone, or now if it has. Returns how to call it off. */
  onceGone(listener: (gone: Error) => void): () => void {
    if (this.#gone !== null) listener(this.#gone)
    else this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /**
   * The answer to what was sent. Rejects with the server's error, when the connection has gone, or as `late` after `ms`.
   * Not a race with a promise of the connection's: that would keep every answer for as long as the connection is there.
   */
  answer<T>(asked: PromiseLike<T>, clock: Clock, ms: number, late: () => TenantryError): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    const timer = clock.after(ms, () => reject(late()))
    const callOff = this.onceGone(reject)
    asked.then(resolve, reject)
    return promise.finally(() => {
      timer.cancel()
      callOff()
    })
  }

  /** Cuts the connection at once. Its backend may go on with what it has received. */
  destroy(): void {
    this.#socket.destroy()
  }

  /** Ends it in good order. */
  async end(): Promise<void> {
    await this.sql.end({ timeout: 1 })
    this.#socket.destroy()
  }
}

/** What the driver gives the function that opens its socket; its own types do not have it. */
export type SocketOptions = {
  readonly host: readonly string[]
  readonly port: readonly number[]
  readonly path: string | false
}

/** The driver stops sending when a socket says that it is full, and a pipeline that stops costs a round trip a statement. */
const largeBuffer = { writableHighWaterMark: 256 * 1024 * 1024 }

/** A socket to the first of these that takes one, for the driver's option `socket`. */
export async function connectSocket(
  hosts: readonly string[],
  ports: readonly number[],
  path: string | false,
  timeoutMs: number,
): Promise<Socket> {
  for (const [i, host] of hosts.entries()) {
    try {
      return await connected(host, ports[i] ?? 5432, path, timeoutMs)
    } catch (error) {
      if (i === hosts.length - 1) throw error
    }
  }
  throw new TenantryError('TENANTRY_POSTGRES_ADDRESS', 'the address of PostgreSQL names no host: set postgres.url')
}

function connected(host: string, port: number, path: string | false, timeoutMs: number): Promise<Socket> {
  const common = { noDelay: true, keepAlive: true, ...largeBuffer }
  const socket = path === false ? connect({ host, port, ...common }) : connect({ path, ...common })
  return new Promise((resolve, reject) => {
    const failed = (error: Error) => {
      socket.destroy()
      reject(error)
    }
    socket.setTimeout(timeoutMs, () =>
      failed(new TenantryError('TENANTRY_POSTGRES_TIMEOUT', `PostgreSQL at ${host}:${port} does not answer`)),
    )
    socket.once('error', failed)
    socket.once('connect', () => {
      socket.setTimeout(0)
      socket.off('error', failed)
      // The driver verifies certificates against this name, and names both in its errors.
      Object.assign(socket, { host, port })
      resolve(socket)
    })
  })
}

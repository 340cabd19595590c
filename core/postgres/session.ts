import type { Socket } from 'node:net'
import postgres from 'postgres'
import { systemClock, type Timer } from '../clock.ts'
import { messageOf, TenantryError } from '../errors.ts'
import { connectSocket, LaneConnection, ownSettings, type SocketOptions, statementLimit } from './lane-connection.ts'
import { explainRefusal, requireServer, type ServerFacts, serverFacts } from './server.ts'

export type SessionOptions = {
  /** Shown in pg_stat_activity. */
  readonly name: string
  /** What one statement may take; 0 for as long as it likes. */
  readonly statementMs: number
  readonly lockTimeoutMs?: number
  readonly patience?: Patience
}

/** How often a session looks whether PostgreSQL is still there, how long it waits for that, and how often in vain. */
export type Patience = { readonly everyMs: number; readonly answerMs: number; readonly times: number }

const usual: Patience = { everyMs: 5_000, answerMs: 10_000, times: 2 }
const connectMs = 10_000

/** What a command's statements may take that are not known to be long ones. */
export const shortStatementMs = 300_000

/**
 * Uses one connection for as long as a command takes. The driver itself waits for ever for a server that has connected and
 * then freezes, and how long a statement may take says nothing, as one may take hours: so another connection looks, now
 * and then, whether anybody is there. Throws TENANTRY_POSTGRES_SILENT when nobody is, and when a backend still works on a
 * statement that PostgreSQL should have ended long ago; and what `requireServer` throws.
 */
export async function withSession<T>(
  url: string,
  { name, statementMs, lockTimeoutMs = 0, patience = usual }: SessionOptions,
  use: (sql: postgres.Sql) => Promise<T>,
): Promise<T> {
  const sockets = new Set<Socket>()
  // A variable, as the driver's types know no `socket`.
  const options = {
    max: 1,
    onnotice() {},
    connect_timeout: connectMs / 1_000,
    // What a frozen server leaves open would keep the process from ending.
    socket: async ({ host, port, path }: SocketOptions) => {
      const socket = await connectSocket(host, port, path, connectMs)
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
      return socket
    },
    connection: {
      ...ownSettings,
      application_name: name,
      statement_timeout: statementLimit(statementMs),
      ...(lockTimeoutMs > 0 && { lock_timeout: lockTimeoutMs }),
    },
  }
  const sql = postgres(url, options)
  const silence = Promise.withResolvers<never>()
  const watch = new Watch(url, { name, statementMs, patience })
  watch.start(async (reason) => {
    await sql.end({ timeout: 0 })
    for (const socket of sockets) socket.destroy()
    silence.reject(reason)
  })
  const work = async () => {
    const [own] = await sql<(ServerFacts & { pid: number })[]>`select pg_backend_pid() as pid, ${serverFacts(sql)}`
    if (own !== undefined) requireServer(own)
    watch.pid = own?.pid
    return use(sql)
  }
  try {
    return await Promise.race([work(), silence.promise])
  } catch (error) {
    // What the work has to say for itself, such as how far it came, is worth more.
    throw error instanceof TenantryError ? error : (watch.silent ?? explainRefusal(error))
  } finally {
    watch.stop()
    await sql.end({ timeout: 5 })
    for (const socket of sockets) socket.destroy()
  }
}

class Watch {
  readonly #url: string
  readonly #options: Required<Pick<SessionOptions, 'name' | 'statementMs' | 'patience'>>
  #timer: Timer | undefined
  #stopped = false
  #inVain = 0
  /** The session's backend, once it is known. */
  pid: number | undefined
  /** Why it was given up. */
  silent: TenantryError | undefined

  constructor(url: string, options: Required<Pick<SessionOptions, 'name' | 'statementMs' | 'patience'>>) {
    this.#url = url
    this.#options = options
  }

  /** `gone` is called once, if ever. */
  start(gone: (reason: TenantryError) => Promise<void>): void {
    this.#timer = systemClock.after(this.#options.patience.everyMs, () => void this.#look(gone))
  }

  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
  }

  async #look(gone: (reason: TenantryError) => Promise<void>): Promise<void> {
    const reason = await this.#asked()
    if (this.#stopped) return
    this.#inVain = reason === undefined ? 0 : this.#inVain + 1
    if (reason === undefined || this.#inVain < this.#options.patience.times) return this.start(gone)
    this.silent = new TenantryError(
      'TENANTRY_POSTGRES_SILENT',
      `PostgreSQL has stopped to answer: ${reason}. What was under way may have been done or not: look, before you run it again.`,
    )
    await gone(this.silent)
  }

  /** Why nothing more is to be expected, if so. */
  async #asked(): Promise<string | undefined> {
    const { name, statementMs, patience } = this.#options
    const { answerMs } = patience
    const limits = { connectTimeoutMs: answerMs, statementTimeoutMs: 0, lockTimeoutMs: 0, transactionTimeoutMs: 0 }
    try {
      const connection = await LaneConnection.open(this.#url, `${name} watch`, limits)
      try {
        if (statementMs === 0 || this.pid === undefined) return undefined
        const late = () => new TenantryError('TENANTRY_POSTGRES_TIMEOUT', 'it does not say what its backends do')
        const asked = connection.sql`
          select from pg_stat_activity
          where pid = ${this.pid} and state = 'active'
            and clock_timestamp() - query_start > make_interval(secs => ${(statementMs + answerMs) / 1_000})`
        const frozen = await connection.answer(asked, systemClock, answerMs, late)
        return frozen.length > 0 ? `backend ${this.pid} has been at one statement for longer than it may` : undefined
      } finally {
        connection.destroy()
      }
    } catch (error) {
      // Whoever refuses a connection is there: too many of them, or none for this purpose.
      return error instanceof Error && error.name === 'PostgresError' ? undefined : messageOf(error)
    }
  }
}

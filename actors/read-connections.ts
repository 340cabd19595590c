import type postgres from 'postgres'
import { backOffMs, type Clock, sleep } from '../core/clock.ts'
import { codeOf, errorOf, messageOf, TenantryError } from '../core/errors.ts'
import { LaneConnection, type LaneLimits } from '../core/postgres/lane-connection.ts'
import { blameOf, isServerError } from '../core/postgres/sqlstate.ts'
import { ReadTurns } from './read-turns.ts'
import { readValues } from './read-values.ts'

export type ReadConnectionsOptions = {
  readonly url: string
  readonly clock: Clock
  /** A read that PostgreSQL has not answered for so long, however often it was sent, fails. 10 minutes when left out. */
  readonly giveUpMs?: number
}

/** Reads that run at once; more wait for their tenant's turn. */
const connections = 2

const limits: LaneLimits = {
  connectTimeoutMs: 10_000,
  statementTimeoutMs: 30_000,
  lockTimeoutMs: 30_000,
  transactionTimeoutMs: 45_000,
}

/** Longer than PostgreSQL itself lets a read take: its host or the network has gone. */
const answerDeadlineMs = 60_000

const retryMs = { first: 20, most: 5_000 } as const

type Slot = { connection: LaneConnection | undefined }

/** PostgreSQL was away, or what is read has changed: nothing is known of the read, and reading again does no harm. */
type Attempt<T> = { readonly rows: T } | { readonly away: Error }

/**
 * A thread's connections for reading, opened when the first read comes. Each read is a transaction of its own that
 * cannot write, knows its tenant as `app.tenant_id`, and is rolled back, settings included. It goes out as one pipeline
 * over a connection that its client cannot open anew: a transaction of the driver's own sends a rollback to the closed
 * socket, which ends the thread.
 *
 * A connection that breaks, or a server that restarts, is not the reader's failure: it reads again, with back-off.
 */
export class ReadConnections {
  readonly #options: ReadConnectionsOptions
  readonly #free: Slot[] = Array.from({ length: connections }, () => ({ connection: undefined }))
  readonly #slots: readonly Slot[] = [...this.#free]
  readonly #waiting = new ReadTurns<(slot: Slot) => void>()
  readonly #closing = new AbortController()

  constructor(options: ReadConnectionsOptions) {
    this.#options = options
  }

  /** Rejects with what PostgreSQL says of the statement, or with TENANTRY_DATABASE_AWAY. */
  async read<T extends readonly object[]>(
    tenant: string,
    send: (sql: postgres.Sql) => PromiseLike<T>,
    giveUpMs = this.#options.giveUpMs ?? 600_000,
  ): Promise<T> {
    const { clock } = this.#options
    const from = clock.monotonic()
    for (let failures = 0; ; failures++) {
      const attempt = await this.#inTurn(tenant, (slot) => this.#attempt(slot, tenant, send))
      if ('rows' in attempt) return attempt.rows
      const forMs = Math.round(clock.monotonic() - from)
      if (forMs >= giveUpMs || this.#closing.signal.aborted) {
        throw new TenantryError(
          'TENANTRY_DATABASE_AWAY',
          `PostgreSQL could not be read from for ${forMs} ms: ${messageOf(attempt.away)}`,
          { forMs },
          { cause: attempt.away },
        )
      }
      await sleep(clock, backOffMs(failures + 1, retryMs), this.#closing.signal)
    }
  }

  /** Ends the connections; what is being read fails. */
  async close(): Promise<void> {
    this.#closing.abort(new TenantryError('TENANTRY_DATABASE_AWAY', 'the thread that read has been told to end'))
    await Promise.all(this.#slots.map(async ({ connection }) => connection?.end()))
  }

  async #inTurn<T>(tenant: string, work: (slot: Slot) => Promise<T>): Promise<T> {
    const slot = this.#free.pop() ?? (await new Promise<Slot>((resolve) => this.#waiting.push(tenant, resolve)))
    try {
      return await work(slot)
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#free.push(slot)
      else next(slot)
    }
  }

  async #attempt<T extends readonly object[]>(
    slot: Slot,
    tenant: string,
    send: (sql: postgres.Sql) => PromiseLike<T>,
  ): Promise<Attempt<T>> {
    let connection: LaneConnection
    try {
      connection = slot.connection ?? (await this.#open(slot))
    } catch (error) {
      return { away: errorOf(error) }
    }
    const { sql } = connection
    const steps = [
      sql`begin read only`,
      sql`select set_config('app.tenant_id', ${tenant}, true)`,
      send(sql),
      sql`rollback`,
    ] as const
    try {
      const answers = connection.together(() => Promise.allSettled(steps))
      const [begun, named, read] = await connection.answer(answers, this.#options.clock, answerDeadlineMs, silent)
      for (const step of [begun, named]) if (step.status === 'rejected') throw step.reason
      const refused = refusedAtFirst(steps[2])
      if (refused !== undefined) return { away: refused }
      if (read.status === 'rejected') throw read.reason
      return { rows: read.value }
    } catch (error) {
      if (!isAway(error)) throw error
      connection.destroy()
      slot.connection = undefined
      return { away: errorOf(error) }
    }
  }

  async #open(slot: Slot): Promise<LaneConnection> {
    this.#closing.signal.throwIfAborted()
    const connection = await LaneConnection.open(this.#options.url, 'tenantry reader', limits, {
      types: readValues,
      // A query of an actor's own is planned by what it asks for.
      settings: { plan_cache_mode: 'auto' },
    })
    slot.connection = connection
    connection.onceGone(() => {
      if (slot.connection === connection) slot.connection = undefined
    })
    return connection
  }
}

function silent(): TenantryError {
  return new TenantryError('TENANTRY_LANE_SILENT', 'PostgreSQL did not answer a read in time')
}

/**
 * Why the driver sent the statement a second time, by itself, as it does where the server refuses one that was prepared
 * before a table changed: that was after the rollback, so in no transaction and for no tenant.
 */
function refusedAtFirst(statement: object): Error | undefined {
  const refused: unknown = Reflect.get(statement, 'retried')
  return refused instanceof Error ? refused : undefined
}

/** Whether the infrastructure failed and not the statement: the server says so, or nobody has answered. */
function isAway(error: unknown): boolean {
  const code = codeOf(error)
  if (!isServerError(error)) return /^(?:CONNECTION_|CONNECT_|TENANTRY_LANE_|E[A-Z_]+$)/.test(code)
  // To a commit this says that the server is a standby; to a read, that it would write.
  if (code === '25006') return false
  const blame = blameOf(code)
  return blame === 'infrastructure' || blame === 'again'
}

import type postgres from 'postgres'
import type { Clock, Timer } from '../clock.ts'
import { TenantryError } from '../errors.ts'
import { Fifo } from '../fifo.ts'
import { LaneConnection, type LaneLimits } from './lane-connection.ts'

/** Sends one statement, and gives its rows. Any client of the driver's is one, too. */
export type Ask = <T extends readonly object[] = postgres.Row[]>(
  text: TemplateStringsArray,
  ...values: readonly postgres.ParameterOrFragment<never>[]
) => Promise<T>

export type ControlOptions = {
  readonly url: string
  /** Shown in pg_stat_activity. */
  readonly name: string
  readonly limits: Omit<LaneLimits, 'statementTimeoutMs'>
  readonly clock: Clock
}

/** Statements that run at once; more wait for their turn. */
const connections = 4
/** A connection that nobody has used for so long is ended: most of the time one is enough. */
const idleMs = 60_000

type Slot = { connection: LaneConnection | undefined; idle: Timer | undefined }

/**
 * What does not go through a lane: taking over, looking up, upkeep. One statement at a time on each connection, none in a
 * transaction of ours.
 *
 * Not over the driver's own pool: when a connection ends before the server has said a word (a proxy in front of a server
 * that is away), the driver connects anew at once, hundreds of times a second, and the statement never fails; and on a
 * connection whose other end has gone without a sign, a statement waits for ever.
 */
export class Control {
  readonly #options: ControlOptions
  readonly #free: Slot[] = Array.from({ length: connections }, () => ({ connection: undefined, idle: undefined }))
  readonly #slots: readonly Slot[] = [...this.#free]
  readonly #waiting = new Fifo<(slot: Slot) => void>()
  #closed = false

  constructor(options: ControlOptions) {
    this.#options = options
  }

  /**
   * Statements that must be answered within `deadlineMs`, the time for a connection not included. They reject with what
   * PostgreSQL says, with what keeps us from connecting, or with TENANTRY_POSTGRES_SILENT; nothing is tried again.
   */
  asking(deadlineMs: number): Ask {
    return (text, ...values) => this.#inTurn((slot) => this.#send(slot, deadlineMs, (sql) => sql(text, ...values)))
  }

  /** Ends the connections; what is under way rejects. */
  async close(): Promise<void> {
    this.#closed = true
    await Promise.all(this.#slots.map((slot) => this.#end(slot)))
  }

  async #inTurn<T>(work: (slot: Slot) => Promise<T>): Promise<T> {
    const slot = this.#free.pop() ?? (await new Promise<Slot>((resolve) => this.#waiting.push(resolve)))
    slot.idle?.cancel()
    try {
      return await work(slot)
    } finally {
      const next = this.#waiting.shift()
      if (next !== undefined) next(slot)
      else {
        this.#free.push(slot)
        slot.idle = this.#options.clock.after(idleMs, () => void this.#end(slot))
      }
    }
  }

  async #end(slot: Slot): Promise<void> {
    const { connection } = slot
    slot.idle?.cancel()
    // A statement that comes while it ends would be refused: it goes over a new one.
    slot.connection = undefined
    await connection?.end()
  }

  async #send<T>(slot: Slot, deadlineMs: number, send: (sql: postgres.Sql) => PromiseLike<T>): Promise<T> {
    const connection = slot.connection ?? (await this.#open(slot))
    return connection.answer(send(connection.sql), this.#options.clock, deadlineMs, () => {
      // Whatever becomes of the statement, this connection is not to be trusted.
      slot.connection = undefined
      connection.destroy()
      return new TenantryError('TENANTRY_POSTGRES_SILENT', 'PostgreSQL did not answer in time', { deadlineMs })
    })
  }

  async #open(slot: Slot): Promise<LaneConnection> {
    if (this.#closed) throw new TenantryError('TENANTRY_LANE_CLOSED', 'the connections to PostgreSQL have been closed')
    const { url, name, limits } = this.#options
    const connection = await LaneConnection.open(
      url,
      name,
      { ...limits, statementTimeoutMs: 0 },
      // Each statement is its own transaction, and most of them write; a function is planned by what it is given.
      { settings: { default_transaction_read_only: 'off', plan_cache_mode: 'auto' } },
    )
    slot.connection = connection
    connection.onceGone(() => {
      if (slot.connection === connection) slot.connection = undefined
    })
    return connection
  }
}

import postgres from 'postgres'
import type { Catalog } from '../core/catalog.ts'
import type { Clock } from '../core/clock.ts'
import type { Config } from '../core/config/schema.ts'
import type { Log } from '../core/log.ts'
import { readCatalog } from '../core/postgres/catalog.ts'
import { PostgresLane } from '../core/postgres/lane.ts'
import { PostgresLedger } from '../core/postgres/ledger.ts'
import { requireSchema } from '../core/postgres/migrate.ts'
import type { Ledger } from '../core/postgres/transactions.ts'
import { Upkeep } from '../core/postgres/upkeep.ts'
import type { Random } from '../core/random.ts'

export type DatabaseOptions = {
  readonly config: Config
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

/** All of the daemon's connections to PostgreSQL: the lanes, and one small client for everything else. */
export class Database {
  /** Errors that waiting does not mend. */
  static readonly finalCodes: ReadonlySet<string> = new Set([
    'TENANTRY_SCHEMA_OLD',
    'TENANTRY_SCHEMA_NEWER',
    'TENANTRY_SCHEMA_CHANGED',
  ])

  readonly #options: DatabaseOptions
  readonly #control: postgres.Sql
  readonly #upkeep: Upkeep
  readonly ledger: Ledger
  catalog: Catalog = { tables: [] }
  lanes: readonly PostgresLane[] = []

  constructor(options: DatabaseOptions) {
    this.#options = options
    const { config, clock, random, log } = options
    const { url, applicationName, connectTimeoutMs, lockTimeoutMs, transactionTimeoutMs } = config.postgres
    this.#control = postgres(url, {
      max: 4,
      idle_timeout: 60,
      connect_timeout: connectTimeoutMs / 1_000,
      onnotice() {},
      connection: {
        application_name: `${applicationName} control`,
        lock_timeout: lockTimeoutMs,
        transaction_timeout: transactionTimeoutMs,
      },
    })
    this.ledger = new PostgresLedger({ control: this.#control, random, frozenAfterMs: lockTimeoutMs })
    this.#upkeep = new Upkeep({ control: this.#control, clock, log, ...config.retention })
  }

  /** Looks whether everything is there that the daemon needs, and reads the catalog. Rejects with what is missing. */
  async open(): Promise<void> {
    const { config, clock, log } = this.#options
    await requireSchema(this.#control)
    this.catalog = await readCatalog(this.#control)
    await this.#upkeep.start()
    const { postgres: settings, commit, traceability } = config
    this.lanes = Array.from(
      { length: commit.lanes },
      (_, lane) =>
        new PostgresLane({
          url: settings.url,
          name: `${settings.applicationName} lane ${lane}`,
          control: this.#control,
          catalog: this.catalog,
          traceability,
          limits: settings,
          answerDeadlineMs: commit.answerDeadlineMs,
          clock,
          log,
        }),
    )
  }

  async close(): Promise<void> {
    await this.#upkeep.stop()
    await Promise.all(this.lanes.map((lane) => lane.close()))
    await this.#control.end({ timeout: 5 })
  }
}

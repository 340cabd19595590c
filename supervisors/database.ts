import type { Catalog } from '../core/catalog.ts'
import { type Clock, steadyTime } from '../core/clock.ts'
import type { Config } from '../core/config/schema.ts'
import type { Log } from '../core/log.ts'
import { readCatalog } from '../core/postgres/catalog.ts'
import { type Ask, Control } from '../core/postgres/control.ts'
import { PostgresLane } from '../core/postgres/lane.ts'
import { PostgresLedger } from '../core/postgres/ledger.ts'
import { requireSchema } from '../core/postgres/migrate.ts'
import type { Ledger } from '../core/postgres/ownership.ts'
import { serverTime } from '../core/postgres/server-time.ts'
import { Upkeep } from '../core/postgres/upkeep.ts'
import type { Random } from '../core/random.ts'
import { CatalogWatch } from './catalog-watch.ts'

export type DatabaseOptions = {
  readonly config: Config
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

/** All of the daemon's connections to PostgreSQL: the lanes, and a few for everything else. */
export class Database {
  /** Errors that waiting does not mend. */
  static readonly finalCodes: ReadonlySet<string> = new Set([
    'TENANTRY_DATABASE_ENCODING',
    'TENANTRY_POSTGRES_VERSION',
    'TENANTRY_POSTGRES_POOLED',
    'TENANTRY_SCHEMA_OLD',
    'TENANTRY_SCHEMA_NEWER',
    'TENANTRY_SCHEMA_CHANGED',
  ])

  readonly #options: DatabaseOptions
  readonly #control: Control
  readonly #ask: Ask
  readonly #upkeep: Upkeep
  #tables: CatalogWatch | undefined
  readonly ledger: Ledger
  catalog: Catalog = { tables: [] }
  lanes: readonly PostgresLane[] = []
  /** The server's clock as it was when this was opened, and goes on since. */
  serverTime: () => number

  constructor(options: DatabaseOptions) {
    this.#options = options
    const { config, clock, random, log } = options
    this.serverTime = steadyTime(clock, clock.now())
    const { commit } = config
    const { url, applicationName, lockTimeoutMs, transactionTimeoutMs } = config.postgres
    this.#control = new Control({ url, name: `${applicationName} control`, limits: config.postgres, clock })
    this.#ask = this.#control.asking(commit.answerDeadlineMs)
    this.ledger = new PostgresLedger({ control: this.#ask, random, frozenAfterMs: lockTimeoutMs })
    // PostgreSQL itself ends what takes longer than a transaction may.
    const patient = this.#control.asking(transactionTimeoutMs + commit.answerDeadlineMs)
    this.#upkeep = new Upkeep({ control: patient, clock, log, groups: Object.keys(config.groups), ...config.retention })
  }

  /** Looks whether everything is there that the daemon needs, and reads the catalog. Rejects with what is missing. */
  async open(): Promise<void> {
    const { config, clock, log } = this.#options
    await requireSchema(this.#ask)
    this.serverTime = steadyTime(clock, await serverTime(this.#ask))
    this.catalog = await readCatalog(this.#ask)
    await this.#upkeep.start()
    const { postgres: settings, commit, traceability, deadLetters } = config
    this.lanes = Array.from(
      { length: commit.lanes },
      (_, lane) =>
        new PostgresLane({
          url: settings.url,
          name: `${settings.applicationName} lane ${lane}`,
          control: this.#ask,
          catalog: this.catalog,
          traceability,
          deadLetterTopic: deadLetters.topic,
          limits: settings,
          answerDeadlineMs: commit.answerDeadlineMs,
          clock,
          log,
        }),
    )
  }

  /** Looks again at the tables, when it is told to and every minute; `changed` hears of it once the lanes know them. */
  watchCatalog(changed: (catalog: Catalog) => void): CatalogWatch {
    const { clock, log } = this.#options
    this.#tables = new CatalogWatch(this.catalog, {
      clock,
      log,
      read: () => readCatalog(this.#ask),
      changed: (catalog) => {
        for (const lane of this.lanes) lane.useCatalog(catalog)
        changed(catalog)
      },
    })
    return this.#tables
  }

  async close(): Promise<void> {
    this.#tables?.stop()
    await this.#upkeep.stop()
    await Promise.all(this.lanes.map((lane) => lane.close()))
    await this.#control.close()
  }
}

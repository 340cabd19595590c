import type { Catalog } from '../core/catalog.ts'
import type { Clock, Timer } from '../core/clock.ts'
import type { Log } from '../core/log.ts'
import type { TableWatch } from './judgement.ts'

export type CatalogWatchOptions = {
  readonly clock: Clock
  readonly log: Log
  readonly read: () => Promise<Catalog>
  /** The tables are not what they were. */
  readonly changed: (catalog: Catalog) => void
}

/**
 * Soonest after the last time that the catalog is read again, and as a multiple of how long that took: whoever is still
 * without his table asks again later.
 */
const pauseMs = 50
const pauseFactor = 10

/** Looked at all the same: a column that is text now and was jsonb refuses nothing, and is given what it should not be. */
const everyMs = 60_000

/** Tables named in the log, at most. */
const maxNamed = 20

/**
 * The tables as they were when they were last looked at. A daemon that starts in the midst of a migration, and one that
 * runs through it, sees what is there afterwards: it is read again as soon as effects met something that is not there, and
 * every minute.
 */
export class CatalogWatch implements TableWatch {
  readonly #options: CatalogWatchOptions
  #catalog: Catalog
  #reading = false
  lookedAt = Number.NEGATIVE_INFINITY
  toldAt = Number.NEGATIVE_INFINITY
  #nextAt = Number.NEGATIVE_INFINITY
  #timer: Timer

  constructor(catalog: Catalog, options: CatalogWatchOptions) {
    this.#catalog = catalog
    this.#options = options
    this.#timer = this.#lookLater()
  }

  stop(): void {
    this.#timer.cancel()
  }

  /** Reads the catalog again, if that is not under way and was not just done. */
  lookAgain(): void {
    const { clock } = this.#options
    const began = clock.monotonic()
    if (this.#reading || began < this.#nextAt) return
    this.#reading = true
    // Where it cannot be read, PostgreSQL is away: that is said elsewhere, and who is without his table asks again.
    void this.#look(began)
      .catch(() => {})
      .then(() => {
        this.#reading = false
        const now = clock.monotonic()
        this.#nextAt = now + Math.max(pauseMs, pauseFactor * (now - began))
      })
  }

  #lookLater(): Timer {
    return this.#options.clock.after(everyMs, () => {
      this.#timer = this.#lookLater()
      this.lookAgain()
    })
  }

  async #look(began: number): Promise<void> {
    const { clock, log, read, changed } = this.#options
    const catalog = await read()
    const tables = differing(this.#catalog, catalog)
    if (tables.length > 0) {
      this.#catalog = catalog
      log.info(
        'catalog.changed',
        { tables: tables.slice(0, maxNamed), count: tables.length },
        'Tables that effects may touch have changed since they were last looked at; the daemon goes on with them as they are.',
      )
      changed(catalog)
    }
    this.lookedAt = began
    this.toldAt = clock.monotonic()
  }
}

function differing(before: Catalog, after: Catalog): string[] {
  const texts = ({ tables }: Catalog) => new Map(tables.map((table) => [table.name, JSON.stringify(table)]))
  const [old, now] = [texts(before), texts(after)]
  return [...new Set([...old.keys(), ...now.keys()])].filter((name) => old.get(name) !== now.get(name))
}
